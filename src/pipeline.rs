//! Configuration to running tasks: receivers, processors, a fanout, and for each destination a queue with retry.
//!
//! Each worker is a thread with a runtime of its own. It has its own listeners and processors, so that a batch stays
//! on the core that read it until it is queued for its destinations.
//!
//! With a data directory the queues are in logs on the disk, and an acknowledgement waits for them: `journal` has the logs,
//! `tail` the place of one destination in one, `sums` what deltas are made from.

mod circuit;
pub(crate) mod dead;
mod delivery;
mod entry;
pub(crate) mod graph;
pub(crate) mod journal;
mod keeper;
mod lane;
mod room;
pub(crate) mod settings;
mod sums;
pub(crate) mod tail;
pub(crate) mod tap;

pub(crate) use delivery::Health;
pub(crate) use entry::process;

/// The file system of the log's own tests, which loses what was not synced.
#[cfg(test)]
#[path = "../crates/seglog/tests/it/model.rs"]
#[allow(dead_code, reason = "the tests of the log use the rest")]
mod model;
#[cfg(test)]
mod tests;
