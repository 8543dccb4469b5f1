//! Configuration to running tasks: receivers, processors, a fanout, and for each destination a queue with retry.
//!
//! Each worker is a thread with a runtime of its own. It has its own listeners and processors, so that a batch stays
//! on the core that read it until it is queued for its destinations.

mod circuit;
mod delivery;
mod entry;
pub(crate) mod graph;
mod lane;
pub(crate) mod settings;
pub(crate) mod tap;

pub(crate) use delivery::Health;
pub(crate) use entry::process;

#[cfg(test)]
mod tests;
