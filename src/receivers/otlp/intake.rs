//! From decoded bytes to the pipeline, the same for both protocols, with the counts.

use super::body::{Budget, Share};
use super::refusal::Refusal;
use bytes::Bytes;
use muxbridge_core::{Batch, BuildContext, Consumer, Counter, Limits, Origin, Refused, Signal, names};
use muxbridge_pdata::wire::Problem;
use std::sync::Arc;

/// What is counted, made before the first request.
#[derive(Clone)]
pub(super) struct Tally {
    signals: [SignalTally; 3],
    cx: BuildContext,
}

#[derive(Clone)]
struct SignalTally {
    received: Counter,
    busy: Counter,
    not_configured: Counter,
}

impl Tally {
    pub(super) fn new(cx: &BuildContext) -> Self {
        let signals = Signal::ALL.map(|signal| {
            let signal = ("signal", signal.as_str());
            SignalTally {
                received: cx.counter(names::RECEIVED, &[signal]),
                busy: cx.counter(names::REFUSED, &[signal, ("reason", "busy")]),
                not_configured: cx.counter(names::REFUSED, &[signal, ("reason", "not_configured")]),
            }
        });
        Tally { signals, cx: cx.clone() }
    }

    fn of(&self, signal: Signal) -> &SignalTally {
        &self.signals[match signal {
            Signal::Traces => 0,
            Signal::Metrics => 1,
            Signal::Logs => 2,
        }]
    }

    /// Counts a request, connection or handshake that came to nothing.
    pub(super) fn bad_request(&self, reason: &'static str) {
        self.cx.counter(names::BAD_REQUESTS, &[("reason", reason)]).add(1);
    }
}

/// Takes requests for the pipeline.
pub(super) struct Intake {
    next: Arc<dyn Consumer>,
    origin: Arc<Origin>,
    budget: Budget,
    tally: Tally,
}

impl Intake {
    pub(super) fn new(next: Arc<dyn Consumer>, receiver: &str, budget: Budget, tally: Tally) -> Self {
        let origin = Arc::new(Origin { receiver: receiver.to_owned() });
        Intake { next, origin, budget, tally }
    }

    pub(super) fn share(&self) -> Share {
        self.budget.share()
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Counts why a request is answered with an error.
    pub(super) fn count(&self, refusal: &Refusal) {
        if let Some(reason) = refusal.reason() {
            self.tally.bad_request(reason);
        }
    }

    /// Hands a request to the pipeline. `Ok` may be acknowledged. A request without items is taken and goes nowhere.
    pub(super) async fn accept(&self, signal: Signal, otlp: Bytes) -> Result<(), Refusal> {
        let batch =
            Batch::new(signal, otlp, self.origin.clone(), Limits::default()).map_err(|error| match error
                .problem
            {
                Problem::Items => Refusal::TooLarge(error.to_string()),
                _ => Refusal::Invalid(error.to_string()),
            })?;
        let items = batch.items() as u64;
        if items == 0 {
            return Ok(());
        }
        let tally = self.tally.of(signal);
        match self.next.consume(batch).await {
            Ok(()) => {
                tally.received.add(items);
                Ok(())
            }
            Err(Refused::Busy { retry_after }) => {
                tally.busy.add(items);
                Err(Refusal::Busy(retry_after))
            }
            Err(Refused::NotConfigured) => {
                tally.not_configured.add(items);
                Err(Refusal::NotConfigured(signal))
            }
        }
    }
}
