//! The contracts of Muxbridge: what a batch is, and what receivers, processors and exporters promise each other.
//!
//! An exporter outside the tree needs this crate, [`pdata`](muxbridge_pdata) to read batches, and perhaps
//! `muxbridge-kit` for HTTP. Nothing here knows an async runtime; futures are those of the standard library.

mod batch;
mod clock;
pub mod config;
mod counters;
mod error;
mod exporter;
mod factory;
mod preview;
mod processor;
mod receiver;
mod sockets;
mod stop;

pub use batch::{Batch, Origin};
pub use clock::Clock;
pub use counters::{Counter, Counters, Sample, names};
pub use error::{BoxError, BuildError, Delivered, ExportError, Refused, UNAUTHORIZED_PAUSE};
pub use exporter::{BuildContext, DynExporter, Exporter, ExporterKind, Needs, TemporalityNeed};
pub use factory::{
    ErasedExporter, ErasedProcessor, ErasedReceiver, ExporterFactory, ProcessorFactory, ReceiverFactory,
    RunReceiver,
};
pub use muxbridge_pdata::{Limits, Signal, WireError};
pub use preview::Preview;
pub use processor::{Holding, Processor, ProcessorKind};
pub use receiver::{Consumer, Receiver, ReceiverKind};
pub use sockets::Sockets;
pub use stop::Stop;

/// A boxed future, for the places where a trait object stands between two components.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
