//! HTTP/1: heads, bodies, and the pairing of requests with responses. [`reader`] is the entry point: bytes of one
//! direction in, calls of a [`reader::Sink`] out.

pub mod anomaly;
pub mod embedded;
pub mod fields;
pub mod framing;
pub mod head;
pub mod message;
pub mod reader;
pub mod start;

mod chunked;
mod pending;
mod readings;
mod seek;
#[cfg(test)]
mod tests;
