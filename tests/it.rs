//! The one integration-test binary; a module for each subject.

#[path = "it/structure.rs"]
mod structure;
