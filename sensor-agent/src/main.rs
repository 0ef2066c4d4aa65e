//! The service around the engine: kernel, pipeline, blocklist, alerts, API and command line.

mod agent;
mod alert;
mod api;
mod attribution;
mod benign;
mod blocklist;
mod cli;
mod clock;
mod config;
mod detection;
mod doctor;
mod duration;
mod import;
mod install;
mod judge;
mod kernel;
mod pipeline;
mod printable;
mod proposal;
mod replay;
mod request;
mod sampling;
mod shared;
mod store;
mod target;
mod tend;
mod token_keys;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
