//! An append-only log of checksummed records in segments, with group commit and a cursor for each reader.
//!
//! See the README of this crate for the format and the guarantees.

mod commit;
mod cursors;
pub mod format;
mod index;
mod log;
mod options;
mod reader;
mod recent;
mod recover;
mod scan;
mod survey;
mod ticket;
pub mod vfs;
mod writer;

pub use format::Position;
pub use index::{CursorStatus, Losses, Stats};
pub use log::{Changed, Log, Start};
pub use options::{Committer, Durability, Error, Numbers, Options};
pub use reader::{Read, Reader, Record};
pub use recover::Recovery;
pub use survey::{CursorSurvey, SegmentSurvey, Survey, survey};
pub use ticket::{Append, Group, Receipt, Ticket};
