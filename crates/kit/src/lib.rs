//! What exporters share, so that each of them is an encoder and a few lines.

mod clients;
pub mod compress;
mod connect;
pub mod delta;
mod gather;
pub mod grpc;
pub mod headers;
pub mod http;
pub mod status;
pub mod tls;
pub mod watch;
pub mod worker;
