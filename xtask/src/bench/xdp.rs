//! What a packet costs in the XDP program, run by the kernel itself on lists of four sizes. The measuring code is an ignored test of the
//! agent, which alone can fill the lists; this builds it for speed and shows what it prints. Debian's xdp-filter is measured beside it.

use anyhow::Result;

use crate::packages::{self, Needed};
use crate::step;

/// Options of the measurement.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Only the list with this many addresses: 0, 1000, 100000 or 1000000.
    #[arg(long)]
    addresses: Option<u64>,
}

const MEASUREMENT: &str = "kernel::program_tests::speed::speed";

const PEER: [Needed; 1] =
    [Needed { file: "/usr/sbin/xdp-filter", package: "xdp-tools", why: "the filter to compare with" }];

pub(super) fn run(options: &Options) -> Result<()> {
    if let Err(error) = packages::ensure(&PEER, 10) {
        step::say(&format!("measured without xdp-filter: {error:#}"));
    }
    let list = options.addresses.map(|addresses| addresses.to_string());
    let variables: Vec<_> = list.iter().map(|list| ("SENSOR_BENCH_LIST", list.as_str())).collect();
    super::measurement(MEASUREMENT, &variables)
}
