//! Gathers translated spans into requests, by resource and scope.

use super::held::Group;
use muxbridge_core::{Batch, Origin, Signal};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::Resource;
use muxbridge_pdata::wire::Fields;
use std::sync::Arc;

/// A request is emitted when it has so many spans.
const FULL: usize = 1_024;

/// So many writers are kept for later groups, of so many bytes each: usual groups are half as large.
const SPARE: usize = 2;
const SPARE_BYTES: usize = 1 << 20;

/// About how long a span is.
const USUAL: usize = 512;

/// Spans that leave together.
#[derive(Debug, Default)]
pub(super) struct Output {
    groups: Vec<(Arc<Group>, Writer)>,
    spans: usize,
    /// Writers of earlier groups: what they have room for need not be allocated, faulted in and freed each time.
    spare: Vec<Writer>,
}

impl Output {
    /// Adds one span of this group; `body` writes it.
    pub(super) fn span(&mut self, group: &Arc<Group>, body: impl FnOnce(&mut Writer)) {
        self.spans += 1;
        let known = self.groups.iter().rposition(|(g, _)| Arc::ptr_eq(g, group) || g == group);
        let at = known.unwrap_or_else(|| {
            let mut w = self.spare.pop().unwrap_or_default();
            w.raw(&group.scope);
            self.groups.push((group.clone(), w));
            self.groups.len() - 1
        });
        // Nearly every span has a length of two bytes: with room for one it would be moved.
        self.groups[at].1.message_of(field::scope_items::ITEMS, USUAL, body);
    }

    pub(super) fn is_full(&self) -> bool {
        self.spans >= FULL
    }

    /// Emits everything: a batch for each origin, in it each resource once, in it each scope once.
    pub(super) fn emit(&mut self, emit: &mut dyn FnMut(Batch)) {
        self.spans = 0;
        let mut groups = std::mem::take(&mut self.groups);
        while let Some((first, _)) = groups.first() {
            let origin: Arc<Origin> = first.origin.clone();
            let same_origin = |(g, _): &mut (Arc<Group>, Writer)| g.origin == origin;
            let mut members: Vec<_> = groups.extract_if(.., same_origin).collect();
            let bytes = members.iter().map(|(g, w)| w.len() + g.resource.len() + 160).sum();
            let mut w = Writer::with_capacity(bytes);
            while let Some((group, _)) = members.first() {
                let group = group.clone();
                let same = |(g, _): &mut (Arc<Group>, Writer)| g.resource == group.resource;
                let scopes: Vec<_> = members.extract_if(.., same).collect();
                // Lengths are known before, so that nothing of this size is written in place and moved.
                let mut head = Writer::with_capacity(group.resource.len() + 80);
                resource(&group.resource, &mut head);
                let scopes_bytes = scopes.iter().map(|(_, scope)| framed(scope.len()));
                w.header(field::REQUEST_RESOURCE, head.len() + scopes_bytes.sum::<usize>());
                w.raw(head.as_slice());
                for (_, mut scope) in scopes {
                    w.bytes(field::resource_items::SCOPES, scope.as_slice());
                    if scope.len() <= SPARE_BYTES && self.spare.len() < SPARE {
                        scope.clear();
                        self.spare.push(scope);
                    }
                }
            }
            emit(Batch::from_valid(Signal::Traces, w.into_bytes(), origin));
        }
    }
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
