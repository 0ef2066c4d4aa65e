//! The service.
mod kernel;
fn main() {}
mod pipeline;
