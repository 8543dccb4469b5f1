//! A span that waits for its trace, where it came from, and how much memory that keeps alive.

use crate::translate::spans::Role;
use bytes::Bytes;
use muxbridge_core::{Holding, Origin};
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{ResourceItems, ScopeItems, Span, StatusCode};
use muxbridge_pdata::wire::Fields;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// A span id.
pub(super) type SpanId = [u8; 8];

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

/// One span that waits. Its bytes are a slice of the request that brought it.
#[derive(Clone, Debug)]
pub struct Held {
    /// The body of the `Span`.
    pub raw: Bytes,
    /// Its resource and scope.
    pub group: Arc<Group>,
    pub(super) request: u64,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) role: Role,
    pub(super) start: u64,
    /// That there will be no call: the policy blocked the request, or the router found no model.
    pub(super) rejected: bool,
}

impl Held {
    pub(super) fn new(raw: Bytes, group: Arc<Group>, request: u64) -> Self {
        let span = Span::read(&raw);
        let role = Role::of(span.name);
        let rejected = match role {
            Role::Policy => span.attribute(b"blocked").and_then(|v| v.as_bool()).unwrap_or(false),
            Role::Router => span.status.code == StatusCode::Error,
            _ => false,
        };
        let id = span.span_id.try_into().unwrap_or_default();
        let parent = span.parent_span_id.try_into().ok();
        let start = span.start;
        Held { raw, group, request, id, parent, role, start, rejected }
    }
}

/// The requests that held spans are slices of: a span of 400 bytes keeps all of its request in memory.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// In the order in which they came in.
    live: BTreeMap<u64, Request>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Request {
    arrived: Instant,
    bytes: usize,
    references: usize,
}

impl Requests {
    /// Bytes kept in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A request of `bytes` that nothing refers to yet: for every span [`Requests::hold`], then
    /// [`Requests::release`] once for the caller.
    pub(super) fn open(&mut self, bytes: usize, arrived: Instant) -> u64 {
        self.bytes += bytes;
        let number = self.next;
        self.next += 1;
        self.live.insert(number, Request { arrived, bytes, references: 1 });
        number
    }

    pub(super) fn hold(&mut self, number: u64) {
        if let Some(request) = self.live.get_mut(&number) {
            request.references += 1;
        }
    }

    pub(super) fn release(&mut self, number: u64) {
        let Some(request) = self.live.get_mut(&number) else { return };
        request.references -= 1;
        if request.references == 0 {
            self.bytes -= request.bytes;
            self.live.remove(&number);
        }
    }

    /// The oldest and the newest one that spans are held of.
    pub(super) fn holding(&self) -> Option<Holding> {
        let ((_, oldest), (_, newest)) = (self.live.first_key_value()?, self.live.last_key_value()?);
        Some(Holding { oldest: oldest.arrived, newest: newest.arrived })
    }
}
