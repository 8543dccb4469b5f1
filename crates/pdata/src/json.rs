//! OTLP/JSON.
use crate::Signal;
use bytes::Bytes;

/// stub
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct JsonError {
    /// path
    pub path: String,
    /// problem
    pub problem: String,
}
/// stub
pub fn encode(_signal: Signal, _otlp: &[u8]) -> String {
    String::new()
}
/// stub
pub fn decode(_signal: Signal, _json: &[u8]) -> Result<Bytes, JsonError> {
    Ok(Bytes::new())
}
