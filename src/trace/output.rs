//! Gathers translated spans into requests, by resource and scope.

use super::held::Group;
use bytes::Bytes;
use muxbridge_core::{Batch, Origin, Signal};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::Resource;
use muxbridge_pdata::wire::Fields;
use std::sync::Arc;

/// A request is emitted when it has so many spans.
const FULL: usize = 1_024;

/// About how long a span is.
const USUAL: usize = 512;

/// Spans that leave together.
#[derive(Debug, Default)]
pub(super) struct Output {
    groups: Vec<Gathered>,
    spans: usize,
    /// How long the last request was: the next one needs about as much room.
    usual: usize,
}

/// Spans of one resource and scope.
#[derive(Debug)]
struct Gathered {
    group: Arc<Group>,
    spans: usize,
    /// Room, and then the fields of the `ScopeSpans`.
    scope: Writer,
    /// How much room is left in front, for what stands before the first scope: then a request with one scope, which is
    /// nearly every one, is complete where it was written.
    room: usize,
}

impl Output {
    /// Adds one span of this group; `body` writes it.
    pub(super) fn span(&mut self, group: &Arc<Group>, body: impl FnOnce(&mut Writer)) {
        self.spans += 1;
        let same = |g: &Gathered| Arc::ptr_eq(&g.group, group) || g.group == *group;
        let at = self.groups.iter().rposition(same).unwrap_or_else(|| {
            let room = group.resource.len() + 160;
            let mut scope = Writer::with_capacity(self.usual + room);
            (0..room).for_each(|_| scope.raw(&[0]));
            scope.raw(&group.scope);
            self.groups.push(Gathered { group: group.clone(), spans: 0, scope, room });
            self.groups.len() - 1
        });
        let gathered = &mut self.groups[at];
        gathered.spans += 1;
        // Nearly every span has a length of two bytes: with room for one it would be moved.
        gathered.scope.message_of(field::scope_items::ITEMS, USUAL, body);
    }

    /// Whether it is time to emit what there is.
    pub(super) fn is_full(&self) -> bool {
        self.spans >= FULL
    }

    /// Emits everything: a batch for each origin, in it each resource once, in it each scope once.
    pub(super) fn emit(&mut self, emit: &mut dyn FnMut(Batch)) {
        self.spans = 0;
        let mut groups = std::mem::take(&mut self.groups);
        while let Some(first) = groups.first() {
            let origin: Arc<Origin> = first.group.origin.clone();
            let members: Vec<_> = groups.extract_if(.., |g| g.group.origin == origin).collect();
            let spans = members.iter().map(|g| g.spans).sum();
            let bytes = request(members);
            self.usual = bytes.len() + bytes.len() / 8;
            emit(Batch::from_counted(Signal::Traces, bytes, spans, origin));
        }
    }
}

/// What was gathered as one request.
fn request(mut members: Vec<Gathered>) -> Bytes {
    if let [Gathered { group, scope, room, .. }] = &mut members[..] {
        let mut front = Writer::with_capacity(*room);
        before(group, scope.len() - *room, &[], &mut front);
        if let Some(begin) = room.checked_sub(front.len()) {
            let mut request = std::mem::take(scope).into_vec();
            request[begin..*room].copy_from_slice(front.as_slice());
            // After a large request a small one would wait in a queue with room for another large one.
            if request.capacity() / 2 > request.len() {
                request.shrink_to_fit();
            }
            return Bytes::from(request).slice(begin..);
        }
    }
    let bytes = members.iter().map(|g| g.scope.len()).sum();
    let mut w = Writer::with_capacity(bytes);
    while let Some(first) = members.first() {
        let group = first.group.clone();
        let scopes: Vec<_> = members.extract_if(.., |g| g.group.resource == group.resource).collect();
        let lengths: Vec<_> = scopes.iter().map(|g| g.scope.len() - g.room).collect();
        before(&group, lengths[0], &lengths[1..], &mut w);
        for (index, scope) in scopes.iter().enumerate() {
            if index > 0 {
                w.header(field::resource_items::SCOPES, lengths[index]);
            }
            w.raw(&scope.scope.as_slice()[scope.room..]);
        }
    }
    w.into_bytes()
}

/// Writes what stands before the first scope, of `scope` bytes, of a `ResourceSpans` that has `others`, too. Lengths are
/// known before, so that nothing of this size is written in place and moved.
fn before(group: &Group, scope: usize, others: &[usize], w: &mut Writer) {
    let mut head = Writer::with_capacity(group.resource.len() + 80);
    resource(&group.resource, &mut head);
    let scopes = framed(scope) + others.iter().map(|length| framed(*length)).sum::<usize>();
    w.header(field::REQUEST_RESOURCE, head.len() + scopes);
    w.raw(head.as_slice());
    w.header(field::resource_items::SCOPES, scope);
}

/// How long a field of `length` bytes is with its tag, which is one byte, and its length.
fn framed(length: usize) -> usize {
    1 + length.max(1).ilog2() as usize / 7 + 1 + length
}

/// Writes the fields of a `ResourceSpans` with the name of this program added to the resource.
fn resource(fields: &[u8], w: &mut Writer) {
    const RESOURCE: u32 = field::resource_items::RESOURCE;
    let mut body: &[u8] = &[];
    for f in Fields::new(fields) {
        match f.number {
            RESOURCE => body = f.value.as_bytes(),
            _ => w.raw(f.raw),
        }
    }
    w.message(RESOURCE, |w| {
        w.raw(body);
        if Resource::read(body).attribute(b"telemetry.distro.name").is_none() {
            let number = field::resource::ATTRIBUTES;
            w.attribute_str(number, "telemetry.distro.name", "muxbridge");
            w.attribute_str(number, "telemetry.distro.version", env!("CARGO_PKG_VERSION"));
        }
    });
}
