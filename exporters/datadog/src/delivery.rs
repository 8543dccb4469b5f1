//! Pieces to an endpoint: packed into requests, halved when they are too large, and never sent twice.

use crate::encode::parts::{Body, Frame, Limit, Parts};
use muxbridge_core::{Delivered, ExportError};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sends the body of one request.
pub(crate) trait Post {
    /// Sends a body that holds this many pieces.
    fn post(&self, body: Body, pieces: usize) -> impl Future<Output = Result<(), ExportError>> + Send;

    /// What is known of the sizes that are taken there.
    fn size(&self) -> &TakenSize;
}

/// The size of requests that a destination takes: what its limit is said to be, or less if it answered so.
///
/// A proxy before it may have a limit of its own; without this, every request would be refused there once. It is
/// forgotten with the process.
#[derive(Debug)]
pub(crate) struct TakenSize(AtomicUsize);

impl Default for TakenSize {
    fn default() -> Self {
        TakenSize(AtomicUsize::new(usize::MAX))
    }
}

impl TakenSize {
    /// No answer makes requests smaller than this; what is still refused is halved each time.
    const LEAST: usize = 64 << 10;

    fn limit(&self, limit: Limit) -> Limit {
        Limit { bytes: limit.bytes.min(self.0.load(Ordering::Relaxed)), ..limit }
    }

    /// A request of so many bytes was too large.
    fn refused(&self, bytes: usize) {
        self.0.fetch_min((bytes / 2).max(Self::LEAST), Ordering::Relaxed);
    }
}

/// How far the pieces of one kind got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Pieces that need no further request.
    pub(crate) pieces: usize,
    /// Items of pieces that were rejected.
    pub(crate) rejected: u64,
    /// Items of pieces that are too large alone.
    pub(crate) too_large: u64,
    /// Pieces of either kind.
    pub(crate) lost: u64,
    /// Why the last one was rejected.
    why: Option<(&'static str, String)>,
}

/// Sends all pieces that were not sent yet.
///
/// A request that is too large is halved until it fits, and later ones are smaller from the start; a piece that is too large alone is left out and counted, unless
/// there is no other, because then splitting the batch may help. A rejected request does not hold up the others.
///
/// # Errors
/// Retryable: `reached` says where to go on. Too large: there is one piece, and it is.
pub(crate) async fn deliver<P: Post>(
    post: &P,
    parts: &Parts,
    frame: &Frame,
    limit: Limit,
    reached: &mut Reached,
) -> Result<(), ExportError> {
    let mut ranges: VecDeque<_> = parts.pack(reached.pieces, frame, post.size().limit(limit)).into();
    while let Some(range) = ranges.pop_front() {
        let end = range.end;
        let items = parts.items(range.clone());
        let body = parts.body(frame, range.clone());
        let size = body.len();
        match post.post(body, range.len()).await {
            Ok(()) => {}
            Err(ExportError::TooLarge { .. }) if range.len() > 1 => {
                post.size().refused(size);
                let middle = range.start + range.len() / 2;
                ranges.push_front(middle..range.end);
                ranges.push_front(range.start..middle);
                continue;
            }
            Err(error @ ExportError::TooLarge { .. }) if parts.len() == 1 => return Err(error),
            Err(ExportError::TooLarge { source }) => {
                tracing::warn!(error = %source, "piece is too large for the destination");
                reached.too_large += items;
                reached.lost += 1;
            }
            Err(error @ ExportError::Retryable { .. }) => return Err(error),
            Err(ExportError::Permanent { reason, source }) => {
                reached.rejected += items;
                reached.lost += range.len() as u64;
                reached.why = Some((reason, source.to_string()));
            }
        }
        reached.pieces = end;
    }
    Ok(())
}

/// What became of the items of a batch: `all` in pieces of these kinds, and `omitted` that were left out before.
///
/// # Errors
/// Permanent if all of them were rejected.
pub(crate) fn outcome(reached: &[Reached], all: u64, omitted: u64) -> Result<Delivered, ExportError> {
    let rejected: u64 = reached.iter().map(|r| r.rejected).sum();
    let too_large: u64 = reached.iter().map(|r| r.too_large).sum();
    let why = reached.iter().rev().find_map(|r| r.why.clone());
    match why {
        Some((reason, message)) if rejected > 0 && rejected == all => {
            Err(ExportError::permanent(reason, message))
        }
        why => Ok(Delivered {
            rejected,
            omitted: omitted + too_large,
            message: why.map(|(_, message)| message).unwrap_or_default(),
        }),
    }
}
