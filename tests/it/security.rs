//! What `docs/security.md` promises, each promise with the tests that would fail if it were broken. The numbers are those
//! of the list there.

mod access;
mod canary;
mod conformance;
mod kit;
mod slow;
