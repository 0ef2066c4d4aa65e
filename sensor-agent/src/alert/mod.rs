//! Reports → alerts: rolled up, written to the store, to the alert file and to live listeners, in this order, by one
//! thread. No engine ever waits for a disk: reports wait in a bounded queue, and what does not fit is counted.

mod backlog;
mod community;
pub(crate) mod eve;
mod file;
mod interfaces;
pub(crate) mod listing;
mod output;
mod rollup;
pub(crate) mod traffic;

pub(crate) use output::{Figures, Live, Output, Setup};
