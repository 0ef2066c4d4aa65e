//! The pure core of the sensor. Records and time go in, commands come out; the same code runs live, on a capture,
//! in tests and under the fuzzer. It knows no file, socket, thread or clock, and it is deterministic.
//!
//! Modules stand in the order of the data, and each imports only those above it.
#![forbid(unsafe_code)]

mod bytes;
pub mod time;

pub mod capture;

pub mod flow;
pub mod stream;

pub mod field;
pub mod http;

pub mod body;

pub mod finding;

pub mod facts;

pub mod served;
pub mod token;

pub mod rule;

pub mod detect;

pub mod actor;

pub mod policy;

pub mod engine;

#[doc(hidden)]
pub mod fuzzing;
