//! Tags that were rendered before, by the bytes of the attributes.
//!
//! The same attributes come again with each export, and in the same order: each set remembers which one came after it, and the
//! next point is compared with that one before anything is hashed. `docs/adr/0017-series-are-expected.md` has the numbers.

#[cfg(test)]
mod tests;

use super::tags::Tags;
use super::{Counts, Options};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use muxbridge_pdata::view::{KeyValue, Repeated, Resource};
use muxbridge_pdata::wire::Fields;
use std::collections::HashMap;
use std::hash::BuildHasher;

/// How many bytes are kept at most, beyond those of one batch. Then everything is forgotten and rendered again.
/// Little in tests, so that it happens there.
const MOST_BYTES: usize = if cfg!(test) { 16 << 10 } else { 32 << 20 };

/// Rendered tags, all with the same options.
#[derive(Debug, Default)]
pub struct Labels {
    /// The tags that the options add to each point, and how many of them were changed to fit.
    constant: Option<(Tags, u64)>,
    resources: Vec<Known>,
    by_resource: HashMap<Box<[u8]>, u32, RandomState>,
    /// The resource of the current points.
    resource: u32,
    sets: Vec<Set>,
    /// The attributes of all sets.
    keys: Vec<u8>,
    index: HashTable<(u64, u32)>,
    /// The set that was found last.
    last: u32,
    /// Each text once, so that series that are written alike have the same.
    texts: Vec<(u32, u32)>,
    text: String,
    by_text: HashTable<(u64, u32)>,
    random: RandomState,
    /// Bits of hashes that are left out, so that tests have collisions.
    #[cfg(test)]
    shift: u32,
}

/// A resource with its tags.
#[derive(Debug)]
struct Known {
    raw: Box<[u8]>,
    tags: Tags,
    /// Tags that were changed to fit.
    adjusted: u64,
}

/// The attributes of a point.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a> {
    /// Whether they are those that [`Labels::expected`] gave.
    pub(super) as_expected: bool,
    /// As bytes.
    pub(super) fields: &'a [u8],
    /// To be read.
    pub(super) all: Repeated<'a, KeyValue<'a>>,
}

/// Attributes of points of one resource.
#[derive(Debug)]
struct Set {
    resource: u32,
    /// Where the attributes stand in `keys`.
    from: u32,
    to: u32,
    text: u32,
    /// Tags that were changed to fit.
    adjusted: u32,
    /// Which set came after it last.
    next: u32,
    /// The number of the field if nothing but attributes stands there, else 0.
    field: u32,
}

impl Labels {
    /// To be called before a batch: what [`Labels::point`] gives is good until then.
    pub(super) fn begin(&mut self, options: &Options, counts: &mut Counts) {
        if self.bytes() > MOST_BYTES {
            *self = Labels { constant: self.constant.take(), ..Labels::default() };
        }
        let (_, adjusted) = self.constant.get_or_insert_with(|| {
            let mut counts = Counts::default();
            let tags = Tags::new(options, &mut counts);
            (tags, counts.adjusted_tags)
        });
        counts.adjusted_tags += *adjusted;
    }

    fn bytes(&self) -> usize {
        /// About what a resource takes besides its bytes.
        const RESOURCE: usize = 1024;
        let resources: usize = self.resources.iter().map(|known| RESOURCE + 4 * known.raw.len()).sum();
        self.keys.len() + self.text.len() + self.sets.len() * (size_of::<Set>() + 48) + resources
    }

    /// Takes the resource of the next points.
    pub(super) fn resource(&mut self, resource: &Resource<'_>, options: &Options, counts: &mut Counts) {
        let raw = resource.raw();
        if self.resources.get(self.resource as usize).is_none_or(|known| *known.raw != *raw) {
            self.resource = match self.by_resource.get(raw) {
                Some(known) => *known,
                None => self.add_resource(resource, options),
            };
        }
        counts.adjusted_tags += self.resources[self.resource as usize].adjusted;
    }

    fn add_resource(&mut self, resource: &Resource<'_>, options: &Options) -> u32 {
        let mut counts = Counts::default();
        let mut tags = self.constant.as_ref().map(|(tags, _)| tags.clone()).unwrap_or_default();
        tags.resource(resource, options, &mut counts);
        let next = self.resources.len() as u32;
        let raw: Box<[u8]> = Box::from(resource.raw());
        self.by_resource.insert(raw.clone(), next);
        self.resources.push(Known { raw, tags, adjusted: counts.adjusted_tags });
        next
    }

    /// The attributes of a point that are expected next, if they stand in fields of this number and nothing else between them.
    #[inline]
    pub(super) fn expected(&self, field: u32) -> &[u8] {
        match self.sets.get(self.next() as usize) {
            Some(set) if set.resource == self.resource && set.field == field => self.key(set),
            _ => &[],
        }
    }

    fn next(&self) -> u32 {
        self.sets.get(self.last as usize).map_or(0, |last| last.next)
    }

    /// Which text the tags of a point are.
    #[inline]
    pub(super) fn point(
        &mut self,
        attributes: Attributes<'_>,
        options: &Options,
        counts: &mut Counts,
    ) -> u32 {
        let expected = self.next();
        let found = match self.sets.get(expected as usize) {
            Some(set) if attributes.as_expected || self.is(set, attributes.fields) => expected,
            _ => self.look_up(attributes.fields, attributes.all, options),
        };
        self.last = found;
        let set = &self.sets[found as usize];
        counts.adjusted_tags += u64::from(set.adjusted);
        set.text
    }

    fn is(&self, set: &Set, fields: &[u8]) -> bool {
        set.resource == self.resource && *self.key(set) == *fields
    }

    #[inline]
    fn key(&self, set: &Set) -> &[u8] {
        &self.keys[set.from as usize..set.to as usize]
    }

    fn look_up(&mut self, fields: &[u8], attributes: Repeated<'_, KeyValue<'_>>, options: &Options) -> u32 {
        let hash = self.hash(&(self.resource, fields));
        let is = |(other, set): &(u64, u32)| *other == hash && self.is(&self.sets[*set as usize], fields);
        let found = self.index.find(hash, is).map(|(_, set)| *set);
        let found = found.unwrap_or_else(|| self.add(hash, fields, attributes, options));
        if let Some(last) = self.sets.get_mut(self.last as usize) {
            last.next = found;
        }
        found
    }

    fn add(
        &mut self,
        hash: u64,
        fields: &[u8],
        attributes: Repeated<'_, KeyValue<'_>>,
        options: &Options,
    ) -> u32 {
        let mut counts = Counts::default();
        let resource = self.resource;
        let mut tags = std::mem::take(&mut self.resources[resource as usize].tags);
        tags.point(attributes, options, &mut counts);
        let text = self.intern(&tags.text);
        self.resources[resource as usize].tags = tags;
        let from = self.keys.len() as u32;
        self.keys.extend_from_slice(fields);
        let next = self.sets.len() as u32;
        let (to, adjusted) = (self.keys.len() as u32, counts.adjusted_tags as u32);
        let mut numbers = Fields::new(fields).map(|field| field.number);
        let field = numbers.next().filter(|first| numbers.all(|other| other == *first)).unwrap_or(0);
        self.sets.push(Set { resource, from, to, text, adjusted, next: 0, field });
        self.index.insert_unique(hash, (hash, next), |(hash, _)| *hash);
        next
    }

    fn intern(&mut self, text: &str) -> u32 {
        let hash = self.hash(&text);
        let is = |(other, id): &(u64, u32)| *other == hash && self.text(*id) == text;
        if let Some((_, known)) = self.by_text.find(hash, is) {
            return *known;
        }
        let next = self.texts.len() as u32;
        let from = self.text.len() as u32;
        self.text.push_str(text);
        self.texts.push((from, self.text.len() as u32));
        self.by_text.insert_unique(hash, (hash, next), |(hash, _)| *hash);
        next
    }

    /// The tags, as they stand in a line.
    pub(super) fn text(&self, id: u32) -> &str {
        self.texts.get(id as usize).map_or("", |(from, to)| &self.text[*from as usize..*to as usize])
    }

    fn hash(&self, value: &impl std::hash::Hash) -> u64 {
        let hash = self.random.hash_one(value);
        #[cfg(test)]
        let hash = hash >> self.shift;
        hash
    }
}
