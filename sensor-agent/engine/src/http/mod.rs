//! HTTP/1: heads, bodies, and the pairing of requests with responses. [`reader`] is the entry point: bytes of one
//! direction in, calls of a [`reader::Sink`] out. What a connection becomes after that is [`http2`] or [`websocket`].

pub mod anomaly;
pub mod client;
pub mod embedded;
pub mod fields;
pub mod framing;
pub mod head;
pub mod http2;
pub mod listener;
pub mod message;
pub mod oddity;
pub mod reader;
pub mod start;
pub mod websocket;

mod chunked;
mod pending;
mod readings;
mod seek;
#[cfg(test)]
mod tests;
