//! Open traces: how far each has got, and when each leaves.

use super::chains::Chain;
use super::held::{Held, SpanId};
use crate::translate::spans::Role;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Fewer spans than this are compared one by one; more are sorted first.
const FEW: usize = 24;

/// How far a trace has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// From the first span to the last one, in the order in which ModelMuxer exports them.
    Whole,
    /// Nothing refers to a span that is not there, but the first ones may be missing.
    Complete,
    CallUnderWay,
    SpanMissing,
    NoRoot,
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: u128,
    pub(super) spans: Chain,
    /// Spans of other scopes: id, and whether it is a SERVER.
    pub(super) neighbours: Vec<(SpanId, bool)>,
    pub(super) age: u64,
    pub(super) first: Instant,
    pub(super) due: Instant,
    pub(super) state: State,
    pub(super) touched: bool,
    pub(super) has_outer_parent: bool,
}

/// How far a trace with these spans has got.
pub(super) fn judge<'h>(
    spans: impl Iterator<Item = &'h Held> + Clone,
    neighbours: &[(SpanId, bool)],
    ids: &mut Vec<SpanId>,
) -> State {
    let find = |role| spans.clone().find(|s| s.role == role);
    if find(Role::Root).is_none() {
        return State::NoRoot;
    }
    ids.clear();
    ids.extend(spans.clone().map(|s| s.id));
    ids.extend(neighbours.iter().map(|(id, _)| *id));
    let few = ids.len() < FEW;
    if !few {
        ids.sort_unstable();
    }
    let known = |parent| if few { ids.contains(parent) } else { ids.binary_search(parent).is_ok() };
    if !spans.clone().filter_map(|s| s.parent.as_ref()).all(known) {
        return State::SpanMissing;
    }
    if spans.clone().any(|s| s.rejected) {
        return State::Whole;
    }
    let router = find(Role::Router);
    // A call before the decision only classifies the prompt.
    let decided = router.map_or(0, |r| r.start);
    let called = spans.clone().any(|s| s.role.is_call() && s.start >= decided);
    match (called, router, find(Role::Policy)) {
        (true, None, None) | (false, None, None) => State::Complete,
        (true, _, _) => State::Whole,
        (false, Some(_), _) => State::CallUnderWay,
        // The model was named by the client: either a stream still runs, or the request was rejected without a trace.
        (false, None, Some(_)) => State::SpanMissing,
    }
}

/// A trace by its place in [`Traces`] and its age, which tells it from one that has the place later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    pub(super) age: u64,
    pub(super) slot: usize,
}

/// The open traces, by age and by the time when they leave.
///
/// Time only moves forward, so what is put at the end of a queue with a fixed wait is due after everything before it:
/// three queues do what a sorted map would do for ten times the cost. What has changed its mind or left stays in a queue
/// and is passed over; a queue that is full of that is cleaned.
#[derive(Debug, Default)]
pub(super) struct Traces {
    slots: Vec<Open>,
    free: Vec<usize>,
    next_age: u64,
    /// All of them, the oldest first; also when each has been held for the longest time allowed.
    by_age: VecDeque<Ticket>,
    /// Those that leave before that unless another span comes: one queue for each wait.
    waiting: [VecDeque<(Instant, Ticket)>; 2],
    due: Vec<(Instant, Ticket)>,
}

/// A queue of waits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    Quiet,
    Idle,
}

impl Traces {
    fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Opens one without spans, which leaves at `due`.
    pub(super) fn open(&mut self, id: u128, now: Instant, due: Instant) -> usize {
        let slot = self.free.pop().unwrap_or(self.slots.len());
        let ticket = Ticket { age: self.next_age, slot };
        self.next_age += 1;
        let open = Open {
            id,
            spans: Chain::default(),
            neighbours: Vec::new(),
            age: ticket.age,
            first: now,
            due,
            state: State::NoRoot,
            touched: false,
            has_outer_parent: false,
        };
        match self.slots.get_mut(slot) {
            Some(place) => *place = open,
            None => self.slots.push(open),
        }
        self.by_age.push_back(ticket);
        if self.by_age.len() > crowded(self.count()) {
            let slots = &self.slots;
            self.by_age.retain(|ticket| slots[ticket.slot].age == ticket.age);
        }
        slot
    }

    pub(super) fn at(&mut self, slot: usize) -> &mut Open {
        &mut self.slots[slot]
    }

    /// The trace of a ticket, if it has not left.
    pub(super) fn get(&mut self, ticket: Ticket) -> Option<&mut Open> {
        self.slots.get_mut(ticket.slot).filter(|open| open.age == ticket.age)
    }

    /// Has a trace leave at `due`, unless more spans come. Calls for the same wait come in the order of time.
    pub(super) fn wait(&mut self, ticket: Ticket, wait: Wait, due: Instant) {
        let Some(open) = self.get(ticket) else { return };
        open.due = due;
        let crowded = crowded(self.count());
        let (slots, queue) = (&self.slots, &mut self.waiting[wait as usize]);
        if queue.len() > crowded {
            queue.retain(|(due, ticket)| is_valid(slots, *ticket, *due));
        }
        queue.push_back((due, ticket));
    }

    /// Takes one out.
    pub(super) fn close(&mut self, ticket: Ticket) -> Option<Open> {
        let open = self.get(ticket)?;
        // No trace has this age, so all tickets are void.
        let empty = Open { age: u64::MAX, spans: Chain::default(), neighbours: Vec::new(), ..*open };
        let closed = std::mem::replace(open, empty);
        self.free.push(ticket.slot);
        Some(closed)
    }

    /// The oldest one.
    pub(super) fn oldest(&mut self) -> Option<Ticket> {
        while let Some(ticket) = self.by_age.front().copied() {
            if self.get(ticket).is_some() {
                return Some(ticket);
            }
            self.by_age.pop_front();
        }
        None
    }

    /// Those that are due, by the time when they were and then by age, in a list to be given back.
    pub(super) fn due(&mut self, now: Instant, max_hold: Duration) -> Vec<(Instant, Ticket)> {
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        for queue in &mut self.waiting {
            while let Some((at, ticket)) = queue.front().copied() {
                let valid = is_valid(&self.slots, ticket, at);
                if valid && at > now {
                    break;
                }
                due.extend(valid.then_some((at, ticket)));
                queue.pop_front();
            }
        }
        while let Some(ticket) = self.oldest() {
            let open = self.at(ticket.slot);
            if open.first + max_hold > now {
                break;
            }
            due.push((open.due, ticket));
            self.by_age.pop_front();
        }
        due.sort_unstable();
        due
    }

    /// Takes the list of [`Traces::due`] back, so that the next one need not be allocated.
    pub(super) fn give_back(&mut self, due: Vec<(Instant, Ticket)>) {
        self.due = due;
    }
}

fn is_valid(slots: &[Open], ticket: Ticket, due: Instant) -> bool {
    let open = &slots[ticket.slot];
    open.age == ticket.age && open.due == due
}

/// A queue for `open` traces that is longer holds mostly what is not valid any more.
fn crowded(open: usize) -> usize {
    2 * open + 64
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(120);

    #[test]
    fn queues_stay_as_small_as_the_open_traces_whatever_left_before_and_changed_its_mind() {
        let start = Instant::now();
        let mut traces = Traces::default();
        // The oldest one stays, and with it everything behind it in its queue.
        let oldest = traces.open(0, start, start + HOLD);
        let oldest = Ticket { age: 0, slot: oldest };
        traces.wait(oldest, Wait::Idle, start + HOLD / 2);
        for n in 1..10_000 {
            let now = start + Duration::from_millis(n);
            let slot = traces.open(u128::from(n), now, now + HOLD);
            let ticket = Ticket { age: n, slot };
            traces.wait(ticket, Wait::Idle, now + HOLD / 2);
            traces.wait(ticket, Wait::Quiet, now + HOLD / 3);
            assert!(traces.close(ticket).is_some() && traces.close(ticket).is_none());
            let queues = [traces.by_age.len(), traces.waiting[0].len(), traces.waiting[1].len()];
            assert!(queues.into_iter().all(|n| n <= 80), "{queues:?}");
        }
        assert_eq!((traces.count(), traces.oldest()), (1, Some(oldest)));
        assert!(traces.slots.len() <= 2);
    }

    #[test]
    fn traces_are_due_by_their_last_wait_and_then_by_age() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut traces = Traces::default();
        let tickets: Vec<_> =
            (0..4u64).map(|age| Ticket { age, slot: traces.open(age.into(), start, start + HOLD) }).collect();
        traces.wait(tickets[2], Wait::Quiet, at(1));
        traces.wait(tickets[1], Wait::Quiet, at(1));
        traces.wait(tickets[0], Wait::Quiet, at(1));
        traces.wait(tickets[0], Wait::Idle, at(10));
        assert!(traces.due(start, HOLD).is_empty());
        assert_eq!(traces.due(at(1), HOLD), [(at(1), tickets[1]), (at(1), tickets[2])]);
        traces.close(tickets[1]);
        traces.close(tickets[2]);
        assert_eq!(traces.due(at(10), HOLD), [(at(10), tickets[0])]);
        traces.close(tickets[0]);
        assert_eq!(traces.due(at(119), HOLD), []);
        assert_eq!(traces.due(at(120), HOLD), [(start + HOLD, tickets[3])]);
    }
}
