//! What the agent has set. Before it has, nothing is recorded.

use aya_ebpf::{macros::map, maps::Array};
use sensor_common::settings::TapSettings;

#[map]
static TAP_SETTINGS: Array<TapSettings> = Array::with_max_entries(1, 0);

/// The settings in force.
#[inline(always)]
pub(crate) fn current() -> Option<&'static TapSettings> {
    TAP_SETTINGS.get(0)
}
