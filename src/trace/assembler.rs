//! Holds spans until their trace is complete, has waited long enough, or must make room.

use super::held::{Group, Held, Requests, SpanId, service};
use crate::translate::spans::{Role, SCOPE};
use bytes::Bytes;
use muxbridge_core::{Batch, Holding};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{ResourceItems, ScopeItems, Span, SpanKind};
use muxbridge_pdata::wire::Fields;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

type TraceId = [u8; 16];

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
#[derive(Debug)]
pub struct Leaving {
    /// In the order of arrival; never empty.
    pub spans: Vec<Held>,
    /// Why they leave.
    pub why: Why,
    /// Whether `http.request` is below a SERVER span of the same service that is not ModelMuxer's.
    pub below_server: bool,
}

/// How far a trace has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Complete,
    CallUnderWay,
    SpanMissing,
    NoRoot,
}

#[derive(Debug)]
struct Open {
    spans: Vec<Held>,
    /// Spans of other scopes: id, and whether it is a SERVER.
    neighbours: Vec<(SpanId, bool)>,
    age: u64,
    first: Instant,
    due: Instant,
    state: State,
    touched: bool,
    has_outer_parent: bool,
}

/// Assembles traces.
#[derive(Debug)]
pub struct Assembler {
    limits: Limits,
    open: HashMap<TraceId, Open>,
    /// By the time when a trace leaves, then by age.
    due: BTreeMap<(Instant, u64), TraceId>,
    by_age: BTreeMap<u64, TraceId>,
    next_age: u64,
    spans: usize,
    requests: Requests,
    left: HashSet<TraceId>,
    left_order: VecDeque<TraceId>,
    last_group: Option<Arc<Group>>,
    /// Open traces whose `http.request` has a parent that may be a span of another scope.
    outer_parents: usize,
    touched: Vec<TraceId>,
    ids: Vec<SpanId>,
}

impl Assembler {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Assembler {
            limits,
            open: HashMap::new(),
            due: BTreeMap::new(),
            by_age: BTreeMap::new(),
            next_age: 0,
            spans: 0,
            requests: Requests::default(),
            left: HashSet::new(),
            left_order: VecDeque::new(),
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
    pub fn take(&mut self, batch: Batch, now: Instant, leave: &mut dyn FnMut(Leaving)) -> Option<Batch> {
        let ours = batch.resources().any(|r| r.scopes().any(|s| is_ours(&s)));
        if ours {
            self.hold(&batch, now, leave);
        }
        if ours || self.outer_parents > 0 {
            self.note_neighbours(&batch);
        }
        self.settle(now);
        while self.spans > self.limits.spans || self.requests.bytes() > self.limits.bytes {
            let Some((_, &oldest)) = self.by_age.first_key_value() else { break };
            self.release(oldest, Why::Full, leave);
        }
        self.tick(now, leave);
        if !ours {
            return Some(batch);
        }
        let rest = without_ours(batch.otlp());
        let origin = batch.origin().clone();
        (!rest.is_empty()).then(|| Batch::from_valid(batch.signal(), rest, origin))
    }

    /// Lets go of the traces that have waited long enough.
    pub fn tick(&mut self, now: Instant, leave: &mut dyn FnMut(Leaving)) {
        while let Some((&(due, _), &id)) = self.due.first_key_value()
            && due <= now
        {
            let expired = self.open.get(&id).is_some_and(|o| due >= o.first + self.limits.max_hold);
            self.release(id, if expired { Why::Expired } else { Why::Idle }, leave);
        }
    }

    /// Lets go of everything, the oldest first.
    pub fn flush(&mut self, leave: &mut dyn FnMut(Leaving)) {
        while let Some((_, &id)) = self.by_age.first_key_value() {
            self.release(id, Why::Shutdown, leave);
        }
    }

    fn hold(&mut self, batch: &Batch, now: Instant, leave: &mut dyn FnMut(Leaving)) {
        let request = self.requests.open(batch.otlp().len(), now);
        let mut late: Vec<(TraceId, Vec<Held>)> = Vec::new();
        let mut late_index: HashMap<TraceId, usize> = HashMap::new();
        for resource in batch.resources() {
            for scope in resource.scopes().filter(is_ours) {
                let group = self.group(batch, &resource, &scope);
                for raw in scope.items() {
                    let held = Held::new(batch.otlp().slice_ref(raw), group.clone(), request);
                    match <TraceId>::try_from(Span::read(raw).trace_id) {
                        Ok(id) if !self.left.contains(&id) => self.insert(id, held, now, leave),
                        Ok(id) => {
                            let at = *late_index.entry(id).or_insert(late.len());
                            if at == late.len() {
                                late.push((id, Vec::new()));
                            }
                            late[at].1.push(held);
                        }
                        // Without a trace id there is nothing to wait for.
                        Err(_) => late.push(([0; 16], vec![held])),
                    }
                }
            }
        }
        self.requests.release(request);
        for (_, spans) in late {
            leave(Leaving { spans, why: Why::Late, below_server: false });
        }
    }

    fn group(&mut self, batch: &Batch, resource: &ResourceItems<'_>, scope: &ScopeItems<'_>) -> Arc<Group> {
        let group = Group::of(batch.origin(), resource, scope);
        match &self.last_group {
            Some(last) if **last == group => last.clone(),
            _ => self.last_group.insert(Arc::new(group)).clone(),
        }
    }

    fn insert(&mut self, id: TraceId, held: Held, now: Instant, leave: &mut dyn FnMut(Leaving)) {
        let open = self.open.entry(id).or_insert_with(|| {
            let (age, due) = (self.next_age, now + self.limits.max_hold);
            self.next_age += 1;
            self.by_age.insert(age, id);
            self.due.insert((due, age), id);
            let (state, touched) = (State::NoRoot, false);
            let (spans, neighbours) = (Vec::new(), Vec::new());
            Open { spans, neighbours, age, first: now, due, state, touched, has_outer_parent: false }
        });
        if !open.touched {
            open.touched = true;
            self.touched.push(id);
        }
        if held.role == Role::Root && held.parent.is_some() && !open.has_outer_parent {
            open.has_outer_parent = true;
            self.outer_parents += 1;
        }
        self.requests.hold(held.request);
        self.spans += 1;
        open.spans.push(held);
        if open.spans.len() >= self.limits.trace_spans {
            self.release(id, Why::Full, leave);
        }
    }

    /// Remembers spans of other scopes that belong to open traces of the same service.
    fn note_neighbours(&mut self, batch: &Batch) {
        for resource in batch.resources() {
            let service = service(&resource);
            for scope in resource.scopes().filter(|s| !is_ours(s)) {
                for span in scope.spans() {
                    let Ok(id) = <TraceId>::try_from(span.trace_id) else { continue };
                    let Some(open) = self.open.get_mut(&id) else { continue };
                    let same = open.spans.first().is_some_and(|s| s.group.service == service);
                    if let Ok(span_id) = span.span_id.try_into()
                        && same
                        && open.neighbours.len() < NEIGHBOURS
                    {
                        open.neighbours.push((span_id, span.kind == SpanKind::Server));
                        if !open.touched {
                            open.touched = true;
                            self.touched.push(id);
                        }
                    }
                }
            }
        }
    }

    /// Decides anew when each trace leaves that got a span.
    fn settle(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.touched) {
            let Some(open) = self.open.get_mut(&id) else { continue };
            open.touched = false;
            open.state = open.judge(&mut self.ids);
            let last = open.first + self.limits.max_hold;
            let due = match open.state {
                State::Complete => last.min(now + self.limits.quiet),
                State::SpanMissing => last.min(now + self.limits.idle),
                State::CallUnderWay | State::NoRoot => last,
            };
            if due != open.due {
                self.due.remove(&(open.due, open.age));
                self.due.insert((due, open.age), id);
                open.due = due;
            }
        }
    }

    fn release(&mut self, id: TraceId, why: Why, leave: &mut dyn FnMut(Leaving)) {
        let Some(open) = self.open.remove(&id) else { return };
        self.due.remove(&(open.due, open.age));
        self.by_age.remove(&open.age);
        self.spans -= open.spans.len();
        self.outer_parents -= usize::from(open.has_outer_parent);
        for held in &open.spans {
            self.requests.release(held.request);
        }
        if self.left.insert(id) {
            self.left_order.push_back(id);
        }
        if self.left_order.len() > REMEMBERED
            && let Some(oldest) = self.left_order.pop_front()
        {
            self.left.remove(&oldest);
        }
        let parents = open.spans.iter().filter(|s| s.role == Role::Root).filter_map(|s| s.parent);
        let below_server = parents.into_iter().any(|parent| open.neighbours.contains(&(parent, true)));
        let why = if open.state == State::Complete && !open.touched { Why::Complete } else { why };
        leave(Leaving { spans: open.spans, why, below_server });
    }
}

impl Open {
    fn judge(&self, ids: &mut Vec<SpanId>) -> State {
        let find = |role| self.spans.iter().find(|s| s.role == role);
        if find(Role::Root).is_none() {
            return State::NoRoot;
        }
        ids.clear();
        ids.extend(self.spans.iter().map(|s| s.id));
        ids.extend(self.neighbours.iter().map(|(id, _)| *id));
        ids.sort_unstable();
        let parents = self.spans.iter().filter_map(|s| s.parent);
        if parents.into_iter().any(|parent| ids.binary_search(&parent).is_err()) {
            return State::SpanMissing;
        }
        if self.spans.iter().any(|s| s.rejected) {
            return State::Complete;
        }
        let router = find(Role::Router);
        // A call before the decision only classifies the prompt.
        let decided = router.map_or(0, |r| r.start);
        let called = self.spans.iter().any(|s| s.role.is_call() && s.start >= decided);
        match (called, router, find(Role::Policy)) {
            (true, _, _) | (false, None, None) => State::Complete,
            (false, Some(_), _) => State::CallUnderWay,
            // The model was named by the client: either a stream still runs, or the request was rejected without a trace.
            (false, None, Some(_)) => State::SpanMissing,
        }
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
