//! Holds spans until their trace is complete, has waited long enough, or must make room.

use super::chains::{Chain, Chains};
use super::held::{Group, Held, Requests, SpanId, service, span_id};
use super::open::{State, Ticket, Traces, Wait};
use crate::translate::spans::{Role, SCOPE};
use bytes::Bytes;
use foldhash::fast::RandomState;
use muxbridge_core::{Batch, Holding};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{ResourceItems, ScopeItems, SpanKind};
use muxbridge_pdata::wire::Fields;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Traces that left are remembered, so that late spans are known as such; so many of them.
const REMEMBERED: usize = 16_384;
/// Spans of other scopes that are remembered for one trace, because they may be the parent of a held span.
const NEIGHBOURS: usize = 64;

/// The bounds. Durations are explained at [`super`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "documented as the options of the same names")]
pub struct Limits {
    pub quiet: Duration,
    pub idle: Duration,
    pub max_hold: Duration,
    pub trace_spans: usize,
    pub spans: usize,
    pub bytes: usize,
}

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
    requests: &'a Requests,
    chains: &'a Chains,
    spans: Chain,
    /// Why they leave.
    pub why: Why,
    /// Whether `http.request` is below a SERVER span of the same service that is not ModelMuxer's.
    pub below_server: bool,
}

impl<'a> Leaving<'a> {
    /// Body, resource and scope of each, in the order of arrival; there is at least one.
    pub fn spans(&self) -> impl Iterator<Item = (&'a [u8], &'a Arc<Group>)> {
        let requests = self.requests;
        self.chains.iter(self.spans).map(|held| requests.get(&held.place))
    }
}

/// What is known of a trace id.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// Where the trace is.
    Open(usize),
    Left,
}

/// Assembles traces.
#[derive(Debug)]
pub struct Assembler {
    limits: Limits,
    /// Open traces, and those that left and are remembered: one look-up for a span, not two. Senders choose trace ids,
    /// so the hash is seeded at random. Nothing depends on the order of the map.
    known: HashMap<u128, Known, RandomState>,
    left: VecDeque<u128>,
    traces: Traces,
    chains: Chains,
    spans: usize,
    requests: Requests,
    last_group: Option<Arc<Group>>,
    /// Open traces whose `http.request` has a parent that may be a span of another scope.
    outer_parents: usize,
    touched: Vec<Ticket>,
    ids: Vec<SpanId>,
}

impl Assembler {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Assembler {
            limits,
            known: HashMap::default(),
            left: VecDeque::new(),
            traces: Traces::default(),
            chains: Chains::default(),
            spans: 0,
            requests: Requests::default(),
            last_group: None,
            outer_parents: 0,
            touched: Vec::new(),
            ids: Vec::new(),
        }
    }

    /// How many spans are held.
    pub fn buffered(&self) -> usize {
        self.spans
    }

    /// How many bytes of requests the held spans keep in memory.
    pub fn buffered_bytes(&self) -> usize {
        self.requests.bytes()
    }

    /// The requests that held spans came in with.
    pub fn holds(&self) -> Option<Holding> {
        self.requests.holding()
    }

    /// Takes the spans of ModelMuxer out of a batch of traces and returns what is left of it: the batch itself, the
    /// same bytes, if it holds none.
    pub fn take(&mut self, batch: Batch, now: Instant, leave: &mut dyn FnMut(Leaving<'_>)) -> Option<Batch> {
        let ours = batch.resources().any(|r| r.scopes().any(|s| is_ours(&s)));
        // Most requests are all ours or not at all.
        let others = !ours || self.hold(&batch, now, leave);
        if others && (ours || self.outer_parents > 0) {
            self.note_neighbours(&batch);
        }
        self.settle(now);
        while self.spans > self.limits.spans || self.requests.bytes() > self.limits.bytes {
            let Some(oldest) = self.traces.oldest() else { break };
            self.release(oldest, Why::Full, leave);
        }
        self.tick(now, leave);
        if !ours {
            return Some(batch);
        }
        let rest = if others { without_ours(batch.otlp()) } else { Bytes::new() };
        let origin = batch.origin().clone();
        (!rest.is_empty()).then(|| Batch::from_valid(batch.signal(), rest, origin))
    }

    /// Lets go of the traces that have waited long enough.
    pub fn tick(&mut self, now: Instant, leave: &mut dyn FnMut(Leaving<'_>)) {
        let due = self.traces.due(now, self.limits.max_hold);
        for (at, ticket) in &due {
            let expired = self.traces.get(*ticket).is_some_and(|o| *at >= o.first + self.limits.max_hold);
            self.release(*ticket, if expired { Why::Expired } else { Why::Idle }, leave);
        }
        self.traces.give_back(due);
    }

    /// Lets go of everything, the oldest first.
    pub fn flush(&mut self, leave: &mut dyn FnMut(Leaving<'_>)) {
        while let Some(oldest) = self.traces.oldest() {
            self.release(oldest, Why::Shutdown, leave);
        }
    }

    /// Holds the spans of ModelMuxer. Whether the batch has anything else, too.
    fn hold(&mut self, batch: &Batch, now: Instant, leave: &mut dyn FnMut(Leaving<'_>)) -> bool {
        let request = self.requests.open(batch.otlp(), now);
        let mut others = Fields::new(batch.otlp()).any(|f| f.number != field::REQUEST_RESOURCE);
        let mut held = 0;
        let mut late: Vec<Chain> = Vec::new();
        let mut late_index: HashMap<u128, usize> = HashMap::new();
        // Spans of one trace mostly stand together.
        let mut last: Option<(u128, Ticket)> = None;
        for resource in batch.resources() {
            let mut scopes = 0;
            for scope in resource.scopes() {
                scopes += 1;
                if !is_ours(&scope) {
                    others = true;
                    continue;
                }
                let group = self.group(batch, &resource, &scope);
                self.requests.add_group(request, group);
                for raw in scope.items() {
                    let (trace_id, new) = Held::read(self.requests.place(request, raw), raw);
                    held += 1;
                    let Ok(id) = <[u8; 16]>::try_from(trace_id).map(u128::from_ne_bytes) else {
                        // Without a trace id there is nothing to wait for.
                        late.push(self.alone(new));
                        continue;
                    };
                    let open =
                        last.filter(|(other, ticket)| *other == id && self.traces.get(*ticket).is_some());
                    let Some((_, ticket)) = open.or_else(|| Some((id, self.ticket(id, now)?))) else {
                        let at = *late_index.entry(id).or_insert(late.len());
                        match late.get_mut(at) {
                            Some(chain) => self.chains.push(chain, new),
                            None => late.push(self.alone(new)),
                        }
                        continue;
                    };
                    last = Some((id, ticket));
                    self.insert(ticket, new);
                    if self.traces.at(ticket.slot).spans.length >= self.limits.trace_spans {
                        // Its spans are counted only below.
                        self.requests.hold(request, std::mem::take(&mut held));
                        self.release(ticket, Why::Full, leave);
                    }
                }
            }
            others |= scopes == 0;
        }
        self.requests.hold(request, held);
        self.requests.release(request, 1);
        for spans in late {
            self.part(spans, Why::Late, false, leave);
        }
        others
    }

    fn group(&mut self, batch: &Batch, resource: &ResourceItems<'_>, scope: &ScopeItems<'_>) -> Arc<Group> {
        let group = Group::of(batch.origin(), resource, scope);
        match &self.last_group {
            Some(last) if **last == group => last.clone(),
            _ => self.last_group.insert(Arc::new(group)).clone(),
        }
    }

    fn alone(&mut self, held: Held) -> Chain {
        let mut chain = Chain::default();
        self.chains.push(&mut chain, held);
        chain
    }

    /// The trace with this id, opened if it is new; `None` if it left.
    fn ticket(&mut self, id: u128, now: Instant) -> Option<Ticket> {
        let (traces, due) = (&mut self.traces, now + self.limits.max_hold);
        let known = *self.known.entry(id).or_insert_with(|| Known::Open(traces.open(id, now, due)));
        let Known::Open(slot) = known else { return None };
        Some(Ticket { age: self.traces.at(slot).age, slot })
    }

    fn insert(&mut self, ticket: Ticket, held: Held) {
        let open = self.traces.at(ticket.slot);
        if !open.touched {
            open.touched = true;
            self.touched.push(ticket);
        }
        if held.role == Role::Root && held.parent.is_some() && !open.has_outer_parent {
            open.has_outer_parent = true;
            self.outer_parents += 1;
        }
        self.spans += 1;
        self.chains.push(&mut open.spans, held);
    }

    /// Remembers spans of other scopes that belong to open traces of the same service.
    fn note_neighbours(&mut self, batch: &Batch) {
        for resource in batch.resources() {
            let service = service(&resource);
            for scope in resource.scopes().filter(|s| !is_ours(s)) {
                for span in scope.spans() {
                    let Ok(id) = <[u8; 16]>::try_from(span.trace_id) else { continue };
                    let Some(Known::Open(slot)) = self.known.get(&u128::from_ne_bytes(id)) else { continue };
                    let open = self.traces.at(*slot);
                    let first = self.chains.iter(open.spans).next();
                    let same = first.is_some_and(|s| self.requests.get(&s.place).1.service == service);
                    if let Some(span_id) = span_id(span.span_id)
                        && same
                        && open.neighbours.len() < NEIGHBOURS
                    {
                        open.neighbours.push((span_id, span.kind == SpanKind::Server));
                        if !open.touched {
                            open.touched = true;
                            self.touched.push(Ticket { age: open.age, slot: *slot });
                        }
                    }
                }
            }
        }
    }

    /// Decides anew when each trace leaves that got a span.
    fn settle(&mut self, now: Instant) {
        let mut touched = std::mem::take(&mut self.touched);
        for ticket in touched.drain(..) {
            let Some(open) = self.traces.get(ticket) else { continue };
            open.touched = false;
            open.state = open.judge(&self.chains, &mut self.ids);
            let last = open.first + self.limits.max_hold;
            let (wait, due) = match open.state {
                State::Complete => (Wait::Quiet, now + self.limits.quiet),
                State::SpanMissing => (Wait::Idle, now + self.limits.idle),
                State::CallUnderWay | State::NoRoot => (Wait::Idle, last),
            };
            if due >= last {
                open.due = last;
            } else if due != open.due {
                self.traces.wait(ticket, wait, due);
            }
        }
        self.touched = touched;
    }

    fn release(&mut self, ticket: Ticket, why: Why, leave: &mut dyn FnMut(Leaving<'_>)) {
        let Some(open) = self.traces.close(ticket) else { return };
        self.spans -= open.spans.length;
        self.outer_parents -= usize::from(open.has_outer_parent);
        self.known.insert(open.id, Known::Left);
        self.left.push_back(open.id);
        if self.left.len() > REMEMBERED
            && let Some(oldest) = self.left.pop_front()
        {
            self.known.remove(&oldest);
        }
        let below_server = !open.neighbours.is_empty() && {
            let mut roots = self.chains.iter(open.spans).filter(|s| s.role == Role::Root);
            roots.any(|s| s.parent.is_some_and(|parent| open.neighbours.contains(&(parent, true))))
        };
        let why = if open.state == State::Complete && !open.touched { Why::Complete } else { why };
        self.part(open.spans, why, below_server, leave);
    }

    /// Has spans leave, and gives back the room that they took.
    fn part(&mut self, spans: Chain, why: Why, below_server: bool, leave: &mut dyn FnMut(Leaving<'_>)) {
        let (requests, chains) = (&self.requests, &self.chains);
        leave(Leaving { requests, chains, spans, why, below_server });
        for held in self.chains.iter(spans) {
            self.requests.release(held.place.request, 1);
        }
        self.chains.free(spans);
    }
}

fn is_ours(scope: &ScopeItems<'_>) -> bool {
    scope.scope.name == SCOPE && scope.items().next().is_some()
}

/// A request without the scopes of ModelMuxer, and without the resources that had no other scope.
fn without_ours(request: &Bytes) -> Bytes {
    let mut w = Writer::new();
    for f in Fields::new(request) {
        let body = f.value.as_bytes();
        let resource = ResourceItems::read(body);
        if f.number != field::REQUEST_RESOURCE || !resource.scopes().any(|s| is_ours(&s)) {
            w.raw(f.raw);
            continue;
        }
        if resource.scopes().all(|s| is_ours(&s)) {
            continue;
        }
        w.message(f.number, |w| {
            for f in Fields::new(body) {
                let scope = f.number == field::resource_items::SCOPES;
                if !(scope && is_ours(&ScopeItems::read(f.value.as_bytes()))) {
                    w.raw(f.raw);
                }
            }
        });
    }
    w.into_bytes()
}
