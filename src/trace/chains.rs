//! The spans of all traces in one place: each trace is a chain of positions.

use super::held::Held;

/// Marks the end of a chain.
const END: u32 = u32::MAX;

/// A vector for each trace would be an allocation for each, and several while it grows.
#[derive(Debug)]
pub(super) struct Chains {
    links: Vec<Link>,
    /// The first position that is free; the others follow it.
    free: u32,
}

#[derive(Debug)]
struct Link {
    held: Held,
    next: u32,
}

/// The spans of one trace, in the order of arrival.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    first: u32,
    last: u32,
    pub(super) length: usize,
}

impl Default for Chain {
    fn default() -> Self {
        Chain { first: END, last: END, length: 0 }
    }
}

impl Default for Chains {
    fn default() -> Self {
        Chains { links: Vec::new(), free: END }
    }
}

impl Chains {
    /// Adds a span to the end of `chain`.
    pub(super) fn push(&mut self, chain: &mut Chain, held: Held) {
        let link = Link { held, next: END };
        let at = self.free;
        let at = match self.links.get_mut(at as usize) {
            Some(free) => {
                self.free = free.next;
                *free = link;
                at
            }
            None => {
                self.links.push(link);
                (self.links.len() - 1) as u32
            }
        };
        match self.links.get_mut(chain.last as usize) {
            Some(last) => last.next = at,
            None => chain.first = at,
        }
        chain.last = at;
        chain.length += 1;
    }

    /// The spans of `chain`.
    pub(super) fn iter(&self, chain: Chain) -> impl Iterator<Item = &Held> + Clone {
        let mut at = chain.first;
        std::iter::from_fn(move || {
            let link = self.links.get(at as usize)?;
            at = link.next;
            Some(&link.held)
        })
    }

    /// Shows the spans of `chain`, to be changed.
    pub(super) fn each(&mut self, chain: Chain, mut see: impl FnMut(&mut Held)) {
        let mut at = chain.first;
        while let Some(link) = self.links.get_mut(at as usize) {
            see(&mut link.held);
            at = link.next;
        }
    }

    /// Gives the places of `chain` back.
    pub(super) fn free(&mut self, chain: Chain) {
        if let Some(last) = self.links.get_mut(chain.last as usize) {
            last.next = self.free;
            self.free = chain.first;
        }
    }
}
