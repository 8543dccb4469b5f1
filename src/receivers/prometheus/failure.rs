//! Why a scrape failed, and what to do about it.

use super::endpoint::{Endpoint, MODELMUXER_PATH};
use crate::prometheus::PageError;
use std::fmt;

/// What went wrong; the label `reason` of the counter of failed scrapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The file with the password or token cannot be read.
    Credentials,
    /// The name has no address.
    Resolve,
    /// The name leads only to addresses that are never connected to.
    Address,
    /// Nothing listens at the address.
    Refused,
    /// No connection for another cause.
    Connect,
    Tls,
    /// The connection broke, or what came was not HTTP.
    Transport,
    Timeout,
    Unauthorized,
    Status(u16),
    Redirect,
    /// Compressed in a way that was not offered, or broken.
    Encoding,
    TooLarge,
    Parse,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Reason::Credentials => "credentials",
            Reason::Resolve => "resolve",
            Reason::Address => "address",
            Reason::Refused | Reason::Connect => "connect",
            Reason::Tls => "tls",
            Reason::Transport => "transport",
            Reason::Timeout => "timeout",
            Reason::Unauthorized => "status_401",
            Reason::Status(_) => "status",
            Reason::Redirect => "redirect",
            Reason::Encoding => "encoding",
            Reason::TooLarge => "too_large",
            Reason::Parse => "parse",
        }
    }
}

/// A failed scrape. Its text holds nothing secret: no user information, no query, no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    text: String,
}

impl Failure {
    pub(super) fn new(reason: Reason, text: impl fmt::Display) -> Self {
        Failure { reason, text: text.to_string() }
    }

    /// What the operator can do.
    pub(super) fn advice(&self, endpoint: &Endpoint) -> String {
        let wrapped = endpoint.path.trim_end_matches('/') == "/metrics";
        match self.reason {
            Reason::Unauthorized if wrapped => format!(
                "if this is ModelMuxer, scrape {MODELMUXER_PATH}, which needs no key; its /metrics needs one and wraps \
                 the page in JSON; else set authorization or basic_auth"
            ),
            Reason::Unauthorized => "set authorization or basic_auth, or correct what they say".to_owned(),
            Reason::Status(403) => "the credentials do not allow this page".to_owned(),
            Reason::Status(404) => format!("correct the path; ModelMuxer's page is {MODELMUXER_PATH}"),
            Reason::Status(500..) => "the target itself failed; its log says why".to_owned(),
            Reason::Status(_) => "a page comes with status 200; correct the endpoint".to_owned(),
            Reason::Redirect => {
                "write the final address as the endpoint; redirects are not followed, because the \
                                 request may hold credentials"
                    .to_owned()
            }
            Reason::Refused => format!(
                "start ModelMuxer at {}, or name the right address (MODELMUXER_URL, or the endpoint in the file)",
                endpoint.instance()
            ),
            Reason::Connect => "check the address, and whether the network lets us through".to_owned(),
            Reason::Resolve | Reason::Address => "correct the host of the endpoint".to_owned(),
            Reason::Tls => {
                "set tls.ca_file for a private authority, or http:// if the target has no TLS".to_owned()
            }
            Reason::Timeout => "raise timeout (and interval), or look why the target is slow".to_owned(),
            Reason::TooLarge => {
                "raise max_body_bytes or max_samples, or let the target expose less".to_owned()
            }
            Reason::Parse => format!(
                "correct the endpoint if this is no page of metrics; ModelMuxer's is {MODELMUXER_PATH}"
            ),
            Reason::Credentials => "correct password_file or credentials_file".to_owned(),
            Reason::Transport | Reason::Encoding => {
                "look at the log of the target and of proxies before it".to_owned()
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<PageError> for Failure {
    fn from(error: PageError) -> Self {
        let reason = if error.too_large { Reason::TooLarge } else { Reason::Parse };
        Failure::new(reason, format_args!("the page cannot be used: {error}"))
    }
}
