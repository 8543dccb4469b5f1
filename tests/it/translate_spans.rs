//! Traces of ModelMuxer, recorded, against what the table says they become. Expected values are written by hand.

mod assembly;
mod kit;
mod recorded;
mod rows;
