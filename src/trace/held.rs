//! Spans that wait for their trace, where they came from, and how much memory that keeps alive.

use crate::translate::spans::{Member, Members, Role};
use bytes::Bytes;
use muxbridge_core::{Holding, Origin};
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{AnyValue, ResourceItems, ScopeItems, Span, StatusCode};
use muxbridge_pdata::wire::Fields;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// A span id, in whatever order the machine has its bytes: ids are only compared.
pub(super) type SpanId = u64;

/// The id of a span, if it is one.
pub(super) fn span_id(bytes: &[u8]) -> Option<SpanId> {
    bytes.try_into().ok().map(u64::from_ne_bytes)
}

/// What spans of one resource and one scope share.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// Where they came in.
    pub origin: Arc<Origin>,
    /// All fields of `ResourceSpans` but its scopes, as they stood on the wire.
    pub resource: Vec<u8>,
    /// All fields of `ScopeSpans` but its spans, as they stood on the wire.
    pub scope: Vec<u8>,
    /// `service.name`, empty if there is none.
    pub service: Vec<u8>,
}

impl Group {
    pub(super) fn of(origin: &Arc<Origin>, resource: &ResourceItems<'_>, scope: &ScopeItems<'_>) -> Self {
        Group {
            origin: origin.clone(),
            resource: without(resource.raw(), field::resource_items::SCOPES),
            scope: without(scope.raw(), field::scope_items::ITEMS),
            service: service(resource).to_vec(),
        }
    }
}

/// The service that a resource names.
pub(super) fn service<'a>(resource: &ResourceItems<'a>) -> &'a [u8] {
    let name = resource.resource.attribute(b"service.name").and_then(|v| v.as_str());
    name.unwrap_or_default().as_bytes()
}

/// The fields of `message` but those with this number.
fn without(message: &[u8], number: u32) -> Vec<u8> {
    let mut kept = Vec::new();
    for f in Fields::new(message).filter(|f| f.number != number) {
        kept.extend_from_slice(f.raw);
    }
    kept
}

/// One span that waits: where it is in the request that brought it, and what decides when its trace is complete.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) place: Place,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) role: Role,
    pub(super) start: u64,
    /// That there will be no call: the policy blocked the request, or the router found no model.
    pub(super) rejected: bool,
}

/// Where a span is. Numbers, not references: counting references for each span is a fifth of the cost of holding it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) request: usize,
    group: usize,
    pub(super) body: Range<usize>,
}

impl Held {
    /// Reads no more of a span than is needed while it waits: the rest is read when its trace leaves.
    pub(super) fn read(place: Place, raw: &[u8]) -> (&[u8], Self) {
        let span = Span::read(raw);
        let held = Held::new(place, &span, Role::of(span.name), || span.attribute(b"blocked"));
        (span.trace_id, held)
    }

    /// What is needed of a span that was read already.
    pub(super) fn of(place: Place, members: &Members<'_>, member: &Member<'_>) -> Self {
        Held::new(place, &member.span, member.role, || members.attribute(member, "blocked"))
    }

    fn new<'a>(
        place: Place,
        span: &Span<'a>,
        role: Role,
        blocked: impl FnOnce() -> Option<AnyValue<'a>>,
    ) -> Self {
        let rejected = match role {
            Role::Policy => blocked().and_then(|v| v.as_bool()).unwrap_or(false),
            Role::Router => span.status.code == StatusCode::Error,
            _ => false,
        };
        let id = span_id(span.span_id).unwrap_or_default();
        Held { place, id, parent: span_id(span.parent_span_id), role, start: span.start, rejected }
    }
}

/// The requests that held spans are parts of, or what is left of them: a span keeps all of it in memory.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// By number, which is used again when nothing refers to a request any more.
    list: Vec<Request>,
    free: Vec<usize>,
    /// Numbers of those that are referred to, in the order in which they came in.
    live: BTreeMap<u64, usize>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Request {
    order: u64,
    arrived: Instant,
    otlp: Bytes,
    groups: Vec<Arc<Group>>,
    references: usize,
}

impl Requests {
    /// Bytes kept in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A request that is referred to once, by the caller. For spans there is [`Requests::hold`].
    pub(super) fn open(&mut self, otlp: &Bytes, arrived: Instant) -> usize {
        self.bytes += otlp.len();
        let order = self.next;
        self.next += 1;
        let request = Request { order, arrived, otlp: otlp.clone(), groups: Vec::new(), references: 1 };
        let number = match self.free.pop() {
            Some(number) => {
                self.list[number] = request;
                number
            }
            None => {
                self.list.push(request);
                self.list.len() - 1
            }
        };
        self.live.insert(order, number);
        number
    }

    /// Adds the resource and scope of the spans that are placed next.
    pub(super) fn add_group(&mut self, number: usize, group: Arc<Group>) {
        self.list[number].groups.push(group);
    }

    /// The place of a span, whose body `raw` is a part of this request, in the group that was added last.
    pub(super) fn place(&self, number: usize, raw: &[u8]) -> Place {
        let request = &self.list[number];
        let start = (raw.as_ptr() as usize).saturating_sub(request.otlp.as_ptr() as usize);
        Place { request: number, group: request.groups.len() - 1, body: start..start + raw.len() }
    }

    /// The body of a span, and its resource and scope.
    pub(super) fn get(&self, place: &Place) -> (&[u8], &Arc<Group>) {
        let request = &self.list[place.request];
        (&request.otlp[place.body.clone()], &request.groups[place.group])
    }

    /// One span more refers to a request.
    pub(super) fn hold(&mut self, number: usize) {
        self.list[number].references += 1;
    }

    /// Whether spans of `held` bytes are less than half of their request.
    pub(super) fn is_mostly_done(&self, number: usize, held: usize) -> bool {
        held < self.list[number].otlp.len() / 2
    }

    /// Copies the body of a span to the end of `kept`, and places it there.
    pub(super) fn copy(&self, place: &mut Place, kept: &mut Vec<u8>) {
        let start = kept.len();
        kept.extend_from_slice(&self.list[place.request].otlp[place.body.clone()]);
        place.body = start..kept.len();
    }

    /// Keeps these bytes of a request instead of all of it.
    pub(super) fn keep_only(&mut self, number: usize, kept: Vec<u8>) {
        let request = &mut self.list[number];
        self.bytes = self.bytes - request.otlp.len() + kept.len();
        request.otlp = kept.into();
    }

    /// `count` fewer refer to a request.
    pub(super) fn release(&mut self, number: usize, count: usize) {
        let request = &mut self.list[number];
        request.references -= count;
        if request.references == 0 {
            self.bytes -= request.otlp.len();
            (request.otlp, request.groups) = (Bytes::new(), Vec::new());
            self.live.remove(&request.order);
            self.free.push(number);
        }
    }

    /// The oldest and the newest one that spans are held of.
    pub(super) fn holding(&self) -> Option<Holding> {
        let ((_, oldest), (_, newest)) = (self.live.first_key_value()?, self.live.last_key_value()?);
        Some(Holding { oldest: self.list[*oldest].arrived, newest: self.list[*newest].arrived })
    }
}
