//! Which spans of a request are ModelMuxer's.

use crate::translate::spans::{Role, SCOPE};
use bytes::Bytes;
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{ResourceItems, ScopeItems};
use muxbridge_pdata::wire::Fields;

/// Whether a scope is ModelMuxer's and has spans.
pub(super) fn is_ours(scope: &ScopeItems<'_>) -> bool {
    scope.scope.name == SCOPE && scope.items().next().is_some()
}

/// A request without the scopes of ModelMuxer, and without the resources that had no other scope.
pub(super) fn without_ours(request: &Bytes) -> Bytes {
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

/// A trace id as a number, if it is one.
pub(super) fn number(id: &[u8]) -> Option<u128> {
    id.try_into().ok().map(u128::from_ne_bytes)
}

/// Whether a span is the request of a client.
pub(super) fn is_root(span: &[u8]) -> bool {
    let name = Fields::new(span).find(|f| f.number == field::span::NAME);
    name.is_some_and(|f| Role::of(f.value.as_bytes()) == Role::Root)
}
