//! The service around the engine: kernel, pipeline, blocklist, alerts, API and command line.

mod blocklist;
mod config;
mod detection;
mod duration;
mod kernel;
mod printable;
mod target;

fn main() {}
