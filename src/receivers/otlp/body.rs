//! Reads a request body under a limit, a deadline and the budget of bytes in flight.

use super::inflate::{Encoding, Inflate};
use super::refusal::Refusal;
use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a whole body may take.
pub(super) const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// After this time a body must have come at [`MIN_RATE`] on average.
const RATE_FREE: Duration = Duration::from_secs(5);
/// Bytes in a second.
const MIN_RATE: u64 = 1024;

/// The bytes that may be in flight at once.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    free: Arc<AtomicUsize>,
    total: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Budget { free: Arc::new(AtomicUsize::new(bytes)), total: bytes }
    }

    /// A share of nothing, to grow.
    pub(super) fn share(&self) -> Share {
        Share { budget: self.clone(), held: 0 }
    }

    /// How many bytes are free.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.free.load(Ordering::Relaxed)
    }
}

/// What one request holds of the budget; given back when dropped.
pub(super) struct Share {
    budget: Budget,
    held: usize,
}

impl Share {
    /// Holds at least `bytes`.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.held);
        let take = |free: usize| free.checked_sub(more);
        match self.budget.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => {
                self.held += more;
                Ok(())
            }
            Err(_) => Err(self.no_room(bytes)),
        }
    }

    /// Whether so many bytes would fit now: what would not is refused before it is read. Nothing is held, or senders who
    /// announce much and send nothing would hold everything.
    pub(super) fn fits(&self, bytes: usize) -> Result<(), Refusal> {
        let free = self.held + self.budget.free.load(Ordering::Relaxed);
        if bytes <= free { Ok(()) } else { Err(self.no_room(bytes)) }
    }

    /// What could not fit if it were alone must not be asked to come back.
    fn no_room(&self, bytes: usize) -> Refusal {
        let total = self.budget.total;
        if bytes <= total {
            return Refusal::NoRoom;
        }
        Refusal::TooLarge(format!(
            "the request takes more than {total} bytes, all that may be in flight at once"
        ))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.held, Ordering::Relaxed);
    }
}

/// The data of a body, piece by piece.
pub(super) struct Pieces<B> {
    body: B,
    left: usize,
    limit: usize,
    read: u64,
    started: Instant,
}

impl<B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin> Pieces<B> {
    /// At most `limit` bytes.
    pub(super) fn new(body: B, limit: usize) -> Self {
        Pieces { body, left: limit, limit, read: 0, started: Instant::now() }
    }

    /// The next piece, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let frame = match timeout_at(self.deadline(), self.body.frame()).await {
                Err(_) => return Err(Refusal::TooSlow),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(Refusal::Aborted(error.to_string())),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(piece) = frame.into_data() else { continue };
            self.read += piece.len() as u64;
            self.left = self
                .left
                .checked_sub(piece.len())
                .ok_or_else(|| Refusal::TooLarge(format!("the request is over {} bytes", self.limit)))?;
            return Ok(Some(piece));
        }
    }

    /// Reads on without keeping anything, so that the sender gets to see our answer before the connection closes.
    pub(super) async fn discard(mut self, most: usize, within: Duration) {
        let until = Instant::now() + within;
        let mut left = most;
        while left > 0 {
            match timeout_at(until, self.body.frame()).await {
                Ok(Some(Ok(frame))) => left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len)),
                _ => return,
            }
        }
    }

    /// The rate is part of the deadline: what has been read buys time.
    fn deadline(&self) -> Instant {
        let earned = RATE_FREE + Duration::from_secs(self.read / MIN_RATE);
        self.started + earned.min(BODY_DEADLINE)
    }
}

/// Reads and decompresses a whole body of the `expected` length. `limit` counts before and after decompression.
pub(super) async fn read<B>(
    pieces: &mut Pieces<B>,
    encoding: Encoding,
    limit: usize,
    expected: usize,
    share: &mut Share,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let mut inflate = Inflate::new(encoding, limit, expected)?;
    while let Some(piece) = pieces.next().await? {
        inflate.push(piece)?;
        share.grow_to(inflate.len())?;
    }
    inflate.finish()
}

/// A whole answer: some bytes, then perhaps trailers.
pub(super) struct Answer {
    pub(super) data: Bytes,
    pub(super) trailers: Option<http::HeaderMap>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::task::Poll::Ready(Some(Ok(http_body::Frame::data(data))));
        }
        std::task::Poll::Ready(self.trailers.take().map(|t| Ok(http_body::Frame::trailers(t))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.data.len() as u64)
    }
}
