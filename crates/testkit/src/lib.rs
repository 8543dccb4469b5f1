//! For tests only: recorded telemetry, scripted servers, the contract of exporters, and prost as the oracle.
//!
//! What goes wrong here is a panic with the reason: it fails the test that caused it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod contract;
mod corpus;
pub mod dns;
mod grpc;
mod http;
pub mod newrelic;
pub mod oracle;
mod proxy;
mod serve;
pub mod tls;

pub use corpus::{batch, corpus, corpus_traces};
pub use grpc::{Call, GrpcReply, GrpcServer, retry_info};
pub use http::{Recorded, Reply, Server};
pub use proxy::{Line, Proxy};
pub use serve::gzip;
