//! HTTP/1: heads, bodies, and the pairing of requests with responses.

pub mod message;
