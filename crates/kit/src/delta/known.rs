//! The series that are remembered, and how one is found again.
//!
//! Telemetry repeats itself: the points of a source come in the same order each time. So each series remembers which one came
//! after it, and the next point is compared with that one before anything is hashed. Series lie in memory in the order
//! in which they first came, which is the order in which they are read.

use super::value::Value;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use muxbridge_pdata::wire::Fields;
use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;

/// One series with its previous point.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// Resource, scope, name and kind: shared by the series of one metric, and equal only if it is the very same.
    pub(super) prefix: Arc<[u8]>,
    /// The attributes as fields of a point, as they stood there last: shared by the series of all metrics that have them.
    pub(super) attributes: Arc<[u8]>,
    /// Which one came after it last.
    next: u32,
    pub(super) previous: Previous,
}

/// The previous point of a series.
#[derive(Clone, Debug)]
pub(super) struct Previous {
    pub(super) start: u64,
    pub(super) time: u64,
    /// When it was accepted.
    pub(super) seen: u64,
    pub(super) value: Value,
}

/// Bytes that several share.
#[derive(Debug, Default)]
struct Texts(HashSet<Arc<[u8]>, RandomState>);

impl Texts {
    fn share(&mut self, bytes: &[u8]) -> Arc<[u8]> {
        if let Some(known) = self.0.get(bytes) {
            return Arc::clone(known);
        }
        let new: Arc<[u8]> = Arc::from(bytes);
        self.0.insert(Arc::clone(&new));
        new
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Known {
    /// A place stays that of its series until it is forgotten; then another one may take it.
    slots: Vec<Option<Series>>,
    free: Vec<u32>,
    /// Hashes of identities, and where their series are.
    index: HashTable<(u64, u32)>,
    /// Prefixes and attributes, each once. Metrics that have the same attributes are then compared with bytes that the caches
    /// still hold.
    texts: Texts,
    /// The one that was found last.
    last: u32,
    random: RandomState,
    /// Which bits of a hash count: all, but in tests that want collisions.
    pub(super) mask: u64,
}

impl Default for Known {
    fn default() -> Self {
        Known {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            texts: Texts::default(),
            last: 0,
            random: RandomState::default(),
            mask: u64::MAX,
        }
    }
}

impl Known {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many series there are, how many have room, are indexed, and how many prefixes and attributes.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        [self.len(), self.slots.len(), self.index.len(), self.texts.0.len()]
    }

    pub(super) fn slots(&self) -> &[Option<Series>] {
        &self.slots
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Series> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    fn get(&self, slot: u32) -> Option<&Series> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The series that is expected next.
    fn expected(&self) -> Option<(u32, &Series)> {
        let slot = self.get(self.last)?.next;
        Some((slot, self.get(slot)?))
    }

    /// The one prefix with these bytes; a new one if no series has it.
    pub(super) fn prefix(&self, bytes: &[u8]) -> Arc<[u8]> {
        if let Some((_, series)) = self.expected()
            && *series.prefix == *bytes
        {
            return Arc::clone(&series.prefix);
        }
        self.texts.0.get(bytes).map_or_else(|| Arc::from(bytes), Arc::clone)
    }

    /// The attributes that are expected next; `None` if that would be another metric.
    #[inline]
    pub(super) fn expected_attributes(&self, prefix: &Arc<[u8]>) -> Option<&[u8]> {
        self.expected_of(prefix).map(|(_, series)| &*series.attributes)
    }

    fn expected_of(&self, prefix: &Arc<[u8]>) -> Option<(u32, &Series)> {
        self.expected().filter(|(_, series)| Arc::ptr_eq(&series.prefix, prefix))
    }

    /// The series with this prefix and these attributes, in whatever order. `as_expected` says that they are known to be
    /// [`Known::expected_attributes`].
    pub(super) fn find(&mut self, prefix: &Arc<[u8]>, attributes: &[u8], as_expected: bool) -> Option<u32> {
        if let Some((slot, series)) = self.expected_of(prefix)
            && (as_expected || *series.attributes == *attributes)
        {
            self.last = slot;
            return Some(slot);
        }
        let hash = self.hash(prefix, attributes);
        let slots = &self.slots;
        let is = |(other, slot): &(u64, u32)| {
            *other == hash
                && slots[*slot as usize].as_ref().is_some_and(|series| {
                    Arc::ptr_eq(&series.prefix, prefix) && same(&series.attributes, attributes)
                })
        };
        let slot = self.index.find(hash, is)?.1;
        if let Some(series) = self.get_mut(slot)
            && *series.attributes != *attributes
        {
            // Its own: a source that shuffles them would leave every order that it ever had.
            series.attributes = Arc::from(attributes);
        }
        self.follows(slot);
        Some(slot)
    }

    /// Remembers a series that [`Known::find`] did not find.
    pub(super) fn insert(&mut self, prefix: &Arc<[u8]>, attributes: &[u8], previous: Previous) -> u32 {
        if !self.texts.0.contains(&prefix[..]) {
            self.texts.0.insert(Arc::clone(prefix));
        }
        let hash = self.hash(prefix, attributes);
        let attributes = self.texts.share(attributes);
        let series = Series { prefix: Arc::clone(prefix), attributes, next: 0, previous };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(series);
                slot
            }
            None => {
                self.slots.push(Some(series));
                (self.slots.len() - 1) as u32
            }
        };
        self.index.insert_unique(hash, (hash, slot), |(hash, _)| *hash);
        self.follows(slot);
        slot
    }

    /// Forgets all that `is_old`, and hands them out.
    pub(super) fn forget(
        &mut self,
        is_old: impl Fn(&Series) -> bool,
        mut forgotten: impl FnMut(u32, Series),
    ) {
        for (slot, place) in self.slots.iter_mut().enumerate() {
            if let Some(series) = place.take_if(|series| is_old(series)) {
                self.free.push(slot as u32);
                forgotten(slot as u32, series);
            }
        }
        let slots = &self.slots;
        self.index.retain(|(_, slot)| slots[*slot as usize].is_some());
        self.texts.0.retain(|text| Arc::strong_count(text) > 1);
    }

    /// Learns what comes after the last one.
    fn follows(&mut self, slot: u32) {
        let last = std::mem::replace(&mut self.last, slot);
        if let Some(series) = self.get_mut(last) {
            series.next = slot;
        }
    }

    /// The same for attributes in another order.
    fn hash(&self, prefix: &Arc<[u8]>, attributes: &[u8]) -> u64 {
        let prefix = self.random.hash_one(prefix.as_ptr().addr());
        let hashes = Fields::new(attributes).map(|f| self.random.hash_one(f.value.as_bytes()));
        hashes.fold(prefix, u64::wrapping_add) & self.mask
    }
}

/// Whether these are the same attributes.
fn same(a: &[u8], b: &[u8]) -> bool {
    a == b || sorted(a) == sorted(b)
}

/// The attributes, in an order that is always the same.
pub(super) fn sorted(attributes: &[u8]) -> Vec<&[u8]> {
    let mut sorted: Vec<&[u8]> = Fields::new(attributes).map(|f| f.value.as_bytes()).collect();
    sorted.sort_unstable();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_takes_what_is_promised() {
        // ADR 17: the record, and hash and place in the index with its share of what is free there.
        assert!(size_of::<Option<Series>>() <= 80, "{}", size_of::<Option<Series>>());
        assert_eq!(size_of::<(u64, u32)>(), 16);
    }
}
