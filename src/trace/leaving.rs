//! What leaves: spans of one trace, and why.

use super::chains::{Chain, Chains};
use super::held::{Group, Requests};
use crate::translate::spans::Members;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;

/// Why spans leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The trace is complete.
    Complete,
    /// Something is missing, and nothing came for a while.
    Idle,
    /// The trace was held for the longest time allowed.
    Expired,
    /// A bound was hit.
    Full,
    /// The program stops.
    Shutdown,
    /// The trace left before.
    Late,
}

impl Why {
    /// All of them.
    pub const ALL: [Why; 6] = [Why::Complete, Why::Idle, Why::Expired, Why::Full, Why::Shutdown, Why::Late];

    /// Its name as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Complete => "complete",
            Why::Idle => "idle",
            Why::Expired => "expired",
            Why::Full => "full",
            Why::Shutdown => "shutdown",
            Why::Late => "late",
        }
    }
}

/// Spans of one trace that leave together.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'a> {
    /// The spans, in the order of arrival; there is at least one.
    pub members: &'a Members<'a>,
    pub(super) place: Place<'a>,
    /// Why they leave.
    pub why: Why,
    /// Whether `http.request` is below a SERVER span of the same service that is not ModelMuxer's.
    pub below_server: bool,
}

/// Where spans that leave were.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// Side by side in a request.
    One(&'a Arc<Group>),
    Held(&'a Requests, &'a Chains, Chain),
}

impl<'a> Leaving<'a> {
    /// Resource and scope of each of the spans.
    pub fn groups(&self) -> impl Iterator<Item = &'a Arc<Group>> {
        let (one, held) = match self.place {
            Place::One(group) => (Some(group), None),
            Place::Held(requests, chains, spans) => {
                (None, Some(chains.iter(spans).map(|held| requests.get(&held.place).1)))
            }
        };
        let one = one.into_iter().flat_map(|group| std::iter::repeat_n(group, self.members.list().len()));
        one.chain(held.into_iter().flatten())
    }
}

/// Spans that came too late, or have no trace to wait for.
#[derive(Default)]
pub(super) struct Late {
    pub(super) chains: Vec<Chain>,
    by_id: HashMap<u128, usize, RandomState>,
}

impl Late {
    /// The chain of this trace; without one, a new one.
    pub(super) fn chain(&mut self, id: Option<u128>) -> &mut Chain {
        let new = self.chains.len();
        let at = id.map_or(new, |id| *self.by_id.entry(id).or_insert(new));
        if at == new {
            self.chains.push(Chain::default());
        }
        &mut self.chains[at]
    }
}
