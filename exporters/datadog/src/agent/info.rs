//! What an Agent says of itself at `/info`, asked for now and then.

use bytes::Bytes;
use http::{Request, Uri};
use muxbridge_core::{BuildContext, Clock};
use muxbridge_kit::http::HttpClient;
use serde::Deserialize;
use std::sync::{Mutex, PoisonError};

/// How long an answer holds, in nanoseconds: an Agent may be replaced by a newer one.
const HOLDS: u64 = 300_000_000_000;
/// How long until an Agent that did not answer is asked again.
const AGAIN: u64 = 30_000_000_000;

/// What matters to us of it. The default is what every Agent can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Info {
    /// The paths that it serves.
    pub(crate) endpoints: Vec<String>,
    feature_flags: Vec<String>,
    /// Whether it reads the list `span_events`.
    pub(crate) span_events: bool,
    /// The attributes that tell what a client called.
    pub(crate) peer_tags: Vec<String>,
}

impl Info {
    /// Whether it serves a path.
    pub(crate) fn serves(&self, path: &str) -> bool {
        self.endpoints.iter().any(|known| known.trim_end_matches('/') == path.trim_end_matches('/'))
    }

    /// The longest resource that it keeps, in bytes.
    pub(crate) fn max_resource(&self) -> usize {
        let big = self.feature_flags.iter().any(|flag| flag == "big_resource");
        if big { 15_000 } else { crate::encode::MAX_RESOURCE }
    }
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    info: Info,
}

/// Asks and remembers.
pub(crate) struct Discovery {
    client: HttpClient,
    uri: Uri,
    clock: Clock,
    state: Mutex<State>,
}

impl Discovery {
    pub(crate) fn new(client: &HttpClient, uri: Uri, cx: &BuildContext) -> Self {
        Discovery { client: client.clone(), uri, clock: cx.clock.clone(), state: Mutex::default() }
    }

    pub(crate) async fn info(&self) -> Info {
        let now = self.clock.unix_nanos();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if now < state.next {
                return state.info.clone();
            }
            // Others go on with what was known, so that only one asks.
            state.next = now.saturating_add(AGAIN);
        }
        let asked = self.ask().await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(info) = asked {
            if info != state.info {
                tracing::info!(
                    endpoints = info.endpoints.len(),
                    span_events = info.span_events,
                    "agent discovered"
                );
            }
            *state = State { next: now.saturating_add(HOLDS), info };
        }
        state.info.clone()
    }

    /// `None` if it does not answer in time, or is so old that it does not know the path.
    async fn ask(&self) -> Option<Info> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.uri.clone();
        let response = self.client.send(request).await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        serde_json::from_slice(response.body()).ok()
    }
}
