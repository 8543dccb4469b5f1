//! stub

pub mod translate;
