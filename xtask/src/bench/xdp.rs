//! What a packet costs in the XDP program, run by the kernel itself on lists of four sizes. The measuring code is an ignored test of the
//! agent, which alone can fill the lists; this builds it for speed and shows what it prints.

use anyhow::Result;

/// Options of the measurement.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Only the list with this many addresses: 0, 1000, 100000 or 1000000.
    #[arg(long)]
    addresses: Option<u64>,
}

const MEASUREMENT: &str = "kernel::program_tests::speed::speed";

pub(super) fn run(options: &Options) -> Result<()> {
    let list = options.addresses.map(|addresses| addresses.to_string());
    let variables: Vec<_> = list.iter().map(|list| ("SENSOR_BENCH_LIST", list.as_str())).collect();
    super::measurement(MEASUREMENT, &variables)
}
