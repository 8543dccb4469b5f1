//! `google.rpc.Status` in protobuf and JSON: the body of every OTLP error.

use bytes::Bytes;
use muxbridge_pdata::Writer;
use serde_json::json;
use std::time::Duration;
use tonic::Code;

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
/// gRPC carries the message in a header, so it stays short whatever the sender wrote.
const LONGEST_MESSAGE: usize = 512;

/// The one detail that may stand in a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// How long to wait before the next try.
    RetryInfo(Duration),
    /// What is wrong with the request.
    BadRequest(String),
}

/// A `google.rpc.Status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RpcStatus {
    code: Code,
    message: String,
    detail: Option<Detail>,
}

impl RpcStatus {
    pub(super) fn new(code: Code, message: &str, detail: Option<Detail>) -> Self {
        let cut = |text: &str| text.chars().take(LONGEST_MESSAGE).collect::<String>();
        let detail = detail.map(|detail| match detail {
            Detail::BadRequest(text) => Detail::BadRequest(cut(&text)),
            other => other,
        });
        RpcStatus { code, message: cut(message), detail }
    }

    /// `Status { int32 code = 1; string message = 2; repeated Any details = 3; }`.
    pub(super) fn to_protobuf(&self) -> Bytes {
        let mut w = Writer::new();
        w.varint(1, self.code as u64);
        w.bytes_nonempty(2, self.message.as_bytes());
        if let Some(detail) = &self.detail {
            // Any { string type_url = 1; bytes value = 2; }
            w.message(3, |any| match detail {
                // RetryInfo { Duration retry_delay = 1; }; Duration { int64 seconds = 1; int32 nanos = 2; }
                Detail::RetryInfo(delay) => {
                    any.bytes(1, RETRY_INFO.as_bytes());
                    any.message(2, |info| {
                        info.message(1, |duration| {
                            duration.varint_nonzero(1, delay.as_secs());
                            duration.varint_nonzero(2, delay.subsec_nanos().into());
                        });
                    });
                }
                // BadRequest { repeated FieldViolation field_violations = 1; }
                // FieldViolation { string field = 1; string description = 2; }
                Detail::BadRequest(problem) => {
                    any.bytes(1, BAD_REQUEST.as_bytes());
                    any.message(2, |bad| bad.message(1, |violation| violation.bytes(2, problem.as_bytes())));
                }
            });
        }
        w.into_bytes()
    }

    /// The same in the JSON mapping of protobuf.
    pub(super) fn to_json(&self) -> Bytes {
        let mut status = json!({ "code": self.code as i32, "message": self.message });
        match &self.detail {
            Some(Detail::RetryInfo(delay)) => {
                let delay = format!("{}.{:09}s", delay.as_secs(), delay.subsec_nanos());
                status["details"] = json!([{ "@type": RETRY_INFO, "retryDelay": delay }]);
            }
            Some(Detail::BadRequest(problem)) => {
                let violations = json!([{ "description": problem }]);
                status["details"] = json!([{ "@type": BAD_REQUEST, "fieldViolations": violations }]);
            }
            None => {}
        }
        Bytes::from(status.to_string())
    }

    /// As a gRPC status. The details hold the whole status again, as gRPC wants it; without a detail there are none.
    pub(super) fn to_grpc(&self) -> tonic::Status {
        match self.detail {
            Some(_) => tonic::Status::with_details(self.code, self.message.clone(), self.to_protobuf()),
            None => tonic::Status::new(self.code, self.message.clone()),
        }
    }
}
