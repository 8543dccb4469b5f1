//! What this client tells the Agent about itself: the counts that Datadog's own clients send too.

use crate::encode::{Messages, Options};
use crate::transport::Transport;
use muxbridge_core::BuildContext;
use std::sync::{Mutex, PoisonError};

/// How often at most, in nanoseconds.
const INTERVAL: u64 = 10_000_000_000;

#[derive(Debug, Default)]
struct State {
    /// When the last lines were made.
    last: u64,
    /// Messages since then: metrics, events, service checks.
    messages: [u64; 3],
    /// The totals of the socket at that time.
    totals: [u64; 4],
}

/// Counts since the last time that they were told.
pub(crate) struct Telemetry {
    state: Mutex<State>,
    tail: String,
}

impl Telemetry {
    pub(crate) fn new(transport: &Transport, options: &Options, cx: &BuildContext) -> Self {
        let tail = format!(
            "|c|#client:muxbridge,client_version:{},client_transport:{}{}",
            env!("CARGO_PKG_VERSION"),
            transport.kind(),
            options.origin
        );
        let state = State { last: cx.clock.unix_nanos(), totals: transport.totals(), ..State::default() };
        Telemetry { state: Mutex::new(state), tail }
    }

    /// Counts messages that were handed to the socket's queue.
    pub(crate) fn sent(&self, metrics: u64, events: u64, checks: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (total, n) in state.messages.iter_mut().zip([metrics, events, checks]) {
            *total += n;
        }
    }

    /// The lines, if it is time for them; `totals` are those of the socket. They are not counted in themselves, but their packets are.
    pub(crate) fn due(&self, now: u64, totals: [u64; 4]) -> Option<Messages> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now < state.last.saturating_add(INTERVAL) {
            return None;
        }
        let since = |i: usize| totals[i].saturating_sub(state.totals[i]);
        let [metrics, events, checks] = state.messages;
        let mut lines = Messages::default();
        for (name, n) in [
            ("metrics", metrics),
            ("events", events),
            ("service_checks", checks),
            ("bytes_sent", since(2)),
            ("bytes_dropped", since(3)),
            // A full queue refuses a batch as a whole, and the batch is tried again: nothing is dropped there.
            ("bytes_dropped_queue", 0),
            ("bytes_dropped_writer", since(3)),
            ("packets_sent", since(0)),
            ("packets_dropped", since(1)),
            ("packets_dropped_queue", 0),
            ("packets_dropped_writer", since(1)),
        ] {
            lines.push(&format!("datadog.dogstatsd.client.{name}:{n}{}", self.tail));
        }
        *state = State { last: now, messages: [0; 3], totals };
        Some(lines)
    }
}
