//! Assembles the spans of one trace from several batches, under bounds, and has them translated when it is complete.
//!
//! Only spans of the scope `modelmuxer` are held; everything else passes at once. When a trace leaves:
//!
//! | what is known of it | it waits for | and leaves as |
//! |---|---|---|
//! | policy check or routing decision, root, all parents, and the call of the model or a reason why there is none | nothing | `complete` |
//! | root and all parents, but neither policy check nor routing decision | `quiet` without a new span | `complete` |
//! | root and a routing decision, but no call: a stream that still runs | the end of `max_hold` | `expired` |
//! | root, but a parent or the call is missing | `idle` without a new span | `idle` |
//! | no root | the end of `max_hold` | `expired` |
//!
//! ModelMuxer exports spans in the order in which they end, so when the root is there only what outlives it can be
//! missing: the call of a streamed response. What ends first is the policy check: a collector in between that lets one
//! request overtake another cannot have held back what ended between the two. A trace also leaves when a bound is hit, the oldest one first (`full`), and
//! at shutdown (`shutdown`). Spans that come after their trace left are translated on their own (`late`).

mod assembler;
mod chains;
mod held;
mod leaving;
mod left;
mod open;
mod options;
mod ours;
mod output;
mod translator;

pub use assembler::{Assembler, Limits};
pub use held::Group;
pub use leaving::{Leaving, Why};
pub use options::TraceOptions;
pub use translator::TraceTranslator;
