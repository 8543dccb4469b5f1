//! Which worker a thread is: what a worker has of its own needs no other core.

use std::cell::Cell;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// From now on the calling thread is the worker of this number, from 1.
pub fn enter(number: usize) {
    NUMBER.set(number);
}

/// The number of the worker that calls; 0: a thread that is none.
pub(crate) fn number() -> usize {
    NUMBER.get()
}
