//! Why a request is not taken, and what that is in HTTP, in gRPC and in our counters.

use super::status::{Detail, RpcStatus};
use http::StatusCode;
use muxbridge_core::Signal;
use std::time::Duration;
use tonic::Code;

/// No sender is asked to wait longer: one that gives up after a minute must get a second try.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The pipeline is full.
    Busy(Duration),
    /// The budget of bytes in flight is used up.
    NoRoom,
    /// No pipeline takes this signal.
    NotConfigured(Signal),
    /// The bytes are no such request.
    Invalid(String),
    /// Over a limit: sending it again as it is cannot help.
    TooLarge(String),
    /// The request did not arrive in time.
    TooSlow,
    /// The connection broke within the request.
    Aborted(String),
    /// No such path or gRPC method.
    NoSuchPath(String),
    /// Not a POST.
    Method,
    /// A content type that we do not read.
    MediaType(String),
    /// A compression that we do not read.
    Encoding(String),
    /// No credential, or a wrong one; what would be accepted, as `WWW-Authenticate` says it.
    Unauthenticated(&'static str),
    /// Our own fault.
    Internal,
}

impl Refusal {
    /// The label `reason` of the counter of bad requests; `None` for what the intake has counted by items.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Refusal::Busy(_) | Refusal::NotConfigured(_) => None,
            Refusal::NoRoom => Some("no_room"),
            Refusal::Invalid(_) => Some("invalid"),
            Refusal::TooLarge(_) => Some("too_large"),
            Refusal::TooSlow => Some("too_slow"),
            Refusal::Aborted(_) => Some("aborted"),
            Refusal::NoSuchPath(_) => Some("path"),
            Refusal::Method => Some("method"),
            Refusal::MediaType(_) => Some("content_type"),
            Refusal::Encoding(_) => Some("content_encoding"),
            Refusal::Unauthenticated(_) => Some("unauthenticated"),
            Refusal::Internal => Some("panic"),
        }
    }

    pub(super) fn http_status(&self) -> StatusCode {
        match self {
            Refusal::Busy(_) | Refusal::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::NotConfigured(_) | Refusal::NoSuchPath(_) => StatusCode::NOT_FOUND,
            Refusal::Invalid(_) | Refusal::Aborted(_) => StatusCode::BAD_REQUEST,
            Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::MediaType(_) | Refusal::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Refusal::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The codes are chosen by whether OTLP lets the sender try again: only the first two and `TooSlow` may.
    /// `RESOURCE_EXHAUSTED` stands without details, for with `RetryInfo` it would be retried.
    pub(super) fn rpc_status(&self) -> RpcStatus {
        let (code, detail) = match self {
            Refusal::Busy(_) | Refusal::NoRoom => {
                (Code::Unavailable, Some(Detail::RetryInfo(self.wait().unwrap_or(SHORTEST_WAIT))))
            }
            Refusal::NotConfigured(_)
            | Refusal::NoSuchPath(_)
            | Refusal::Method
            | Refusal::MediaType(_)
            | Refusal::Encoding(_) => (Code::Unimplemented, None),
            Refusal::Invalid(problem) => (Code::InvalidArgument, Some(Detail::BadRequest(problem.clone()))),
            Refusal::TooLarge(_) => (Code::ResourceExhausted, None),
            Refusal::TooSlow => (Code::DeadlineExceeded, None),
            Refusal::Aborted(_) => (Code::Cancelled, None),
            Refusal::Unauthenticated(_) => (Code::Unauthenticated, None),
            // Not to be retried: the same bytes would fail again.
            Refusal::Internal => (Code::Internal, None),
        };
        RpcStatus::new(code, &self.message(), detail)
    }

    /// How long the sender should wait, with up to a quarter more so that not all come back at once.
    pub(super) fn wait(&self) -> Option<Duration> {
        let asked = match self {
            Refusal::Busy(asked) => *asked,
            Refusal::NoRoom => SHORTEST_WAIT,
            _ => return None,
        };
        let asked = asked.clamp(SHORTEST_WAIT, LONGEST_WAIT);
        Some(asked.mul_f64(1.0 + fastrand::f64() / 4.0).min(LONGEST_WAIT))
    }

    fn message(&self) -> String {
        match self {
            Refusal::Busy(_) => "the queue is full; try again later".to_owned(),
            Refusal::NoRoom => "too many requests are in flight; try again later".to_owned(),
            Refusal::NotConfigured(signal) => format!("no pipeline takes {signal} from this receiver"),
            Refusal::Invalid(problem) => format!("not a valid request: {problem}"),
            Refusal::TooSlow => "the request did not arrive in time".to_owned(),
            Refusal::Aborted(problem) => format!("the request broke off: {problem}"),
            Refusal::Method => "only POST is served here".to_owned(),
            Refusal::Unauthenticated(_) => {
                "send a valid token or password in the header authorization".to_owned()
            }
            Refusal::Internal => "this request made the receiver fail; please report it".to_owned(),
            Refusal::TooLarge(text)
            | Refusal::NoSuchPath(text)
            | Refusal::MediaType(text)
            | Refusal::Encoding(text) => text.clone(),
        }
    }
}
