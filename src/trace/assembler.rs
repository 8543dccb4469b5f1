//! Holds spans until their trace is complete, has waited long enough, or must make room.

use super::chains::{Chain, Chains};
use super::held::{Group, Held, Requests, SpanId, service, span_id};
use super::leaving::{Late, Leaving, Place, Why};
use super::left::Left;
use super::open::{State, Ticket, Traces, Wait, judge};
use super::ours::{is_ours, is_root, number, without_ours};
use crate::translate::spans::{Members, Role};
use bytes::Bytes;
use foldhash::fast::RandomState;
use muxbridge_core::{Batch, Holding};
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{ResourceItems, ScopeItems, SpanIds, SpanKind};
use muxbridge_pdata::wire::Fields;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Spans of other scopes that are remembered for one trace, because they may be the parent of a held span.
const NEIGHBOURS: usize = 64;

/// Spans whose traces are looked up before the first of them is taken.
const AHEAD: usize = 128;

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

/// Spans of a request that are taken next.
#[derive(Default)]
struct Ahead<'a> {
    spans: Vec<&'a [u8]>,
    /// Where in `spans` another trace begins.
    ends: Vec<usize>,
    ids: Vec<u128>,
}

/// Assembles traces.
#[derive(Debug)]
pub struct Assembler {
    limits: Limits,
    /// Where each open trace is. Senders choose trace ids, so the hash is seeded at random. Nothing depends on the order
    /// of the map.
    open: HashMap<u128, usize, RandomState>,
    left: Left,
    traces: Traces,
    chains: Chains,
    spans: usize,
    requests: Requests,
    last_group: Option<Arc<Group>>,
    /// Open traces whose `http.request` has a parent that may be a span of another scope.
    outer_parents: usize,
    touched: Vec<Ticket>,
    ids: Vec<SpanId>,
    run: Vec<Held>,
    /// The room that the spans of the last trace were read into.
    room: Members<'static>,
}

impl Assembler {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Assembler {
            limits,
            open: HashMap::default(),
            left: Left::new(),
            traces: Traces::default(),
            chains: Chains::default(),
            spans: 0,
            requests: Requests::default(),
            last_group: None,
            outer_parents: 0,
            touched: Vec::new(),
            ids: Vec::new(),
            run: Vec::new(),
            room: Members::default(),
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
        // Most requests are all ours or not at all.
        let (request, others) = self.read(&batch, now, leave);
        let ours = request.is_some();
        if others && (ours || self.outer_parents > 0) {
            self.note_neighbours(&batch);
        }
        self.settle(now, request, leave);
        request.into_iter().for_each(|request| self.requests.release(request, 1));
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

    /// Has whole traces leave and holds the other spans of ModelMuxer. The number of the request, if it has any, and
    /// whether it has anything else.
    fn read(
        &mut self,
        batch: &Batch,
        now: Instant,
        leave: &mut dyn FnMut(Leaving<'_>),
    ) -> (Option<usize>, bool) {
        let mut opened = None;
        let mut others = Fields::new(batch.otlp()).any(|f| f.number != field::REQUEST_RESOURCE);
        let mut late = Late::default();
        let mut ahead = Ahead::default();
        for resource in batch.resources() {
            let mut scopes = 0;
            for scope in resource.scopes() {
                scopes += 1;
                if !is_ours(&scope) {
                    others = true;
                    continue;
                }
                let request = *opened.get_or_insert_with(|| self.requests.open(batch.otlp(), now));
                let group = self.group(batch, &resource, &scope);
                self.requests.add_group(request, group.clone());
                let mut last = None;
                for raw in scope.items() {
                    let id = number(SpanIds::first_trace_id(raw));
                    let enough = if id == last { AHEAD + self.limits.trace_spans } else { AHEAD };
                    if ahead.spans.len() >= enough {
                        self.runs(&mut ahead, &group, request, now, &mut late, leave);
                    }
                    if id != last {
                        ahead.ends.push(ahead.spans.len());
                        ahead.ids.extend(id);
                        last = id;
                    }
                    ahead.spans.push(raw);
                }
                self.runs(&mut ahead, &group, request, now, &mut late, leave);
            }
            others |= scopes == 0;
        }
        for spans in late.chains {
            self.part(spans, Why::Late, false, leave);
        }
        (opened, others)
    }

    /// Takes spans that stand side by side in a request, those of the same trace together.
    ///
    /// First all traces are looked up, for what that brings into the caches: the misses of many then overlap, where one after
    /// the other takes a twentieth of the translation.
    fn runs(
        &mut self,
        ahead: &mut Ahead<'_>,
        group: &Arc<Group>,
        request: usize,
        now: Instant,
        late: &mut Late,
        leave: &mut dyn FnMut(Leaving<'_>),
    ) {
        for id in ahead.ids.drain(..) {
            std::hint::black_box(self.open.contains_key(&id) | self.left.contains(id));
        }
        let mut start = 0;
        ahead.ends.push(ahead.spans.len());
        for end in ahead.ends.drain(..) {
            for spans in ahead.spans[start..end].chunks(self.limits.trace_spans) {
                self.run(spans, group, request, now, late, leave);
            }
            start = end;
        }
        ahead.spans.clear();
    }

    /// Takes spans that stand side by side in a request and begin with the same trace id.
    fn run(
        &mut self,
        spans: &[&[u8]],
        group: &Arc<Group>,
        request: usize,
        now: Instant,
        late: &mut Late,
        leave: &mut dyn FnMut(Leaving<'_>),
    ) {
        if self.leaves_whole(spans, group, request, leave) {
            return;
        }
        for raw in spans {
            let (id, held) = Held::read(self.requests.place(request, raw), raw);
            self.hold(held, number(id), now, late, leave);
        }
    }

    /// Has a trace leave if it is all there: while it is in the caches, and without its request being kept in memory.
    fn leaves_whole(
        &mut self,
        spans: &[&[u8]],
        group: &Arc<Group>,
        request: usize,
        leave: &mut dyn FnMut(Leaving<'_>),
    ) -> bool {
        let Some(id) = spans.first().and_then(|raw| number(SpanIds::first_trace_id(raw))) else {
            return false;
        };
        // The root is the last one. Most that is not whole is told by one of these.
        if !spans.iter().rev().any(|raw| is_root(raw))
            || self.open.contains_key(&id)
            || self.left.contains(id)
        {
            return false;
        }
        let mut members = std::mem::take(&mut self.room).emptied();
        spans.iter().for_each(|raw| members.add(raw));
        let (requests, list) = (&self.requests, members.list());
        self.run.extend(list.iter().map(|m| Held::of(requests.place(request, m.span.raw()), &members, m)));
        let whole = judge(self.run.iter(), &[], &mut self.ids) == State::Whole
            && list.iter().all(|m| number(m.span.trace_id) == Some(id));
        self.run.clear();
        if whole {
            let (members, place) = (&members, Place::One(group));
            leave(Leaving { members, place, why: Why::Complete, below_server: false });
        }
        self.room = members.emptied();
        if whole {
            self.left.insert(id);
        }
        whole
    }

    fn hold(
        &mut self,
        held: Held,
        id: Option<u128>,
        now: Instant,
        late: &mut Late,
        leave: &mut dyn FnMut(Leaving<'_>),
    ) {
        self.requests.hold(held.place.request);
        // Without a trace id there is nothing to wait for.
        let Some(ticket) = id.and_then(|id| self.ticket(id, now)) else {
            let chain = late.chain(id);
            self.chains.push(chain, held);
            return;
        };
        self.insert(ticket, held);
        if self.traces.at(ticket.slot).spans.length >= self.limits.trace_spans {
            self.release(ticket, Why::Full, leave);
        }
    }

    fn group(&mut self, batch: &Batch, resource: &ResourceItems<'_>, scope: &ScopeItems<'_>) -> Arc<Group> {
        let group = Group::of(batch.origin(), resource, scope);
        match &self.last_group {
            Some(last) if **last == group => last.clone(),
            _ => self.last_group.insert(Arc::new(group)).clone(),
        }
    }

    /// The trace with this id, opened if it is new; `None` if it left.
    fn ticket(&mut self, id: u128, now: Instant) -> Option<Ticket> {
        let (traces, due) = (&mut self.traces, now + self.limits.max_hold);
        let slot = match self.open.entry(id) {
            Entry::Occupied(open) => *open.get(),
            Entry::Vacant(_) if self.left.contains(id) => return None,
            Entry::Vacant(new) => *new.insert(traces.open(id, now, due)),
        };
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
                    let Some(slot) = self.open.get(&u128::from_ne_bytes(id)) else { continue };
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

    /// Has each trace leave that is whole now, and decides anew when the others do that got a span.
    fn settle(&mut self, now: Instant, request: Option<usize>, leave: &mut dyn FnMut(Leaving<'_>)) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.retain(|ticket| {
            let ticket = *ticket;
            let Some(open) = self.traces.get(ticket) else { return false };
            open.touched = false;
            open.state = judge(self.chains.iter(open.spans), &open.neighbours, &mut self.ids);
            let last = open.first + self.limits.max_hold;
            let (wait, due) = match open.state {
                State::Whole => {
                    self.release(ticket, Why::Complete, leave);
                    return false;
                }
                State::Complete => (Wait::Quiet, now + self.limits.quiet),
                State::SpanMissing => (Wait::Idle, now + self.limits.idle),
                State::CallUnderWay | State::NoRoot => (Wait::Idle, last),
            };
            if due >= last {
                open.due = last;
            } else if due != open.due {
                self.traces.wait(ticket, wait, due);
            }
            true
        });
        request.into_iter().for_each(|request| self.shrink(request, &touched));
        touched.clear();
        self.touched = touched;
    }

    /// Copies what stays of a request, if that is little: streams and requests without a call wait in nearly every one,
    /// and would keep all of it in memory.
    fn shrink(&mut self, request: usize, stay: &[Ticket]) {
        let (traces, chains, requests) = (&mut self.traces, &mut self.chains, &mut self.requests);
        let mut each = |see: &mut dyn FnMut(&mut Held)| {
            for ticket in stay {
                let Some(open) = traces.get(*ticket) else { continue };
                chains.each(open.spans, |held| {
                    if held.place.request == request {
                        see(held);
                    }
                });
            }
        };
        let mut bytes = 0;
        each(&mut |held| bytes += held.place.body.len());
        if bytes > 0 && requests.is_mostly_done(request, bytes) {
            let mut kept = Vec::with_capacity(bytes);
            each(&mut |held| requests.copy(&mut held.place, &mut kept));
            requests.keep_only(request, kept);
        }
    }

    fn release(&mut self, ticket: Ticket, why: Why, leave: &mut dyn FnMut(Leaving<'_>)) {
        let Some(open) = self.traces.close(ticket) else { return };
        self.spans -= open.spans.length;
        self.outer_parents -= usize::from(open.has_outer_parent);
        self.open.remove(&open.id);
        self.left.insert(open.id);
        let below_server = !open.neighbours.is_empty() && {
            let mut roots = self.chains.iter(open.spans).filter(|s| s.role == Role::Root);
            roots.any(|s| s.parent.is_some_and(|parent| open.neighbours.contains(&(parent, true))))
        };
        let complete = matches!(open.state, State::Whole | State::Complete);
        let why = if complete && !open.touched { Why::Complete } else { why };
        self.part(open.spans, why, below_server, leave);
    }

    /// Has spans leave, and gives back the room that they took.
    fn part(&mut self, spans: Chain, why: Why, below_server: bool, leave: &mut dyn FnMut(Leaving<'_>)) {
        let (requests, chains) = (&self.requests, &self.chains);
        let mut members = std::mem::take(&mut self.room).emptied();
        chains.iter(spans).for_each(|held| members.add(requests.get(&held.place).0));
        let place = Place::Held(requests, chains, spans);
        leave(Leaving { members: &members, place, why, below_server });
        self.room = members.emptied();
        for held in self.chains.iter(spans) {
            self.requests.release(held.place.request, 1);
        }
        self.chains.free(spans);
    }
}
