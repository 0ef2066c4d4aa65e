//! HTTP/2 (RFC 9113): frames of one direction in, header fields and data of its streams out. Connections are recognised by
//! their preface, by an Upgrade that the server accepted, or, joined in the middle, by the look of their frames; what then
//! cannot be decoded is counted and named.

pub mod frame;
pub mod hpack;
pub mod message;

mod huffman;
mod table;

/// What follows the head `PRI * HTTP/2.0` of the connection preface (RFC 9113 section 3.4).
pub const PREFACE_REST: &[u8] = b"SM\r\n\r\n";
/// The whole connection preface.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
