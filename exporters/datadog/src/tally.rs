//! Counts what became of items and of what is sent beside them.

use crate::delivery::{Post, Reached, deliver};
use crate::encode::Counts;
use crate::encode::parts::{Frame, Limit, Parts};
use muxbridge_core::{BuildContext, ExportError, names};

/// Adds to our own counters.
pub(crate) struct Tally(BuildContext);

impl Tally {
    pub(crate) fn new(cx: &BuildContext) -> Self {
        Tally(cx.clone())
    }

    /// Items that are not sent, by reason.
    pub(crate) fn dropped(&self, signal: &str, counts: impl IntoIterator<Item = (&'static str, u64)>) {
        for (reason, n) in counts.into_iter().filter(|(_, n)| *n > 0) {
            self.0.counter(names::DROPPED, &[("signal", signal), ("reason", reason)]).add(n);
        }
    }

    /// What was changed, by reason.
    pub(crate) fn adjusted(&self, counts: impl IntoIterator<Item = (&'static str, u64)>) {
        for (reason, n) in counts.into_iter().filter(|(_, n)| *n > 0) {
            self.0.counter(names::ADJUSTED, &[("reason", reason)]).add(n);
        }
    }

    /// Items that were too large for the destination.
    pub(crate) fn too_large(&self, signal: &str, reached: &[Reached]) {
        self.dropped(signal, [("too_large", reached.iter().map(|r| r.too_large).sum())]);
    }

    /// What became of the spans of a batch, called once for it.
    pub(crate) fn spans(&self, counts: &Counts, reached: &[Reached]) {
        self.dropped("traces", counts.dropped());
        self.adjusted(counts.adjusted());
        self.too_large("traces", reached);
    }

    /// Sends what belongs to a batch but is none of its items. What is lost of it is counted under a signal of its own.
    ///
    /// # Errors
    /// Only retryable ones.
    pub(crate) async fn beside<P: Post>(
        &self,
        signal: &'static str,
        post: &P,
        parts: &Parts,
        frame: &Frame,
        limit: Limit,
        reached: &mut Reached,
    ) -> Result<(), ExportError> {
        let before = reached.lost;
        let result = deliver(post, parts, frame, limit, reached).await;
        let mut lost = reached.lost - before;
        let result = match result {
            Err(error @ ExportError::Retryable { .. }) => Err(error),
            Err(error) => {
                tracing::warn!(signal, %error, "not delivered");
                lost += 1;
                reached.pieces = parts.len();
                Ok(())
            }
            Ok(()) => Ok(()),
        };
        self.dropped(signal, [("rejected", lost)]);
        result
    }
}
