//! The service around the engine: kernel, pipeline, blocklist, alerts, API and command line.

mod alert;
mod api;
mod blocklist;
mod clock;
mod config;
mod detection;
mod duration;
mod kernel;
mod printable;
mod shared;
mod store;
mod target;

fn main() {}
