//! Numbers that are held back until the end of a batch, so that those of one series are one line.
//!
//! A batch seldom has two numbers of one series, but each must be looked for. Two ways cost less than to hash it: where
//! sources have the same series, each is expected after the one before, as it came the first time. And as long as the
//! points are those of the first metric of a name, a mark at the tags says whether they were there: another metric
//! would have left its own mark, but then the name is not new any more. That is half of what the table takes.

use super::output::Kind;
use foldhash::fast::RandomState;
use muxbridge_pdata::view::Number;
use std::collections::HashMap;

/// Marks the tags of a value that has one more than its point: they are no place in the labels.
pub(super) const OWN: u32 = 1 << 31;

/// A number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) name: u32,
    pub(super) tags: u32,
    pub(super) value: Number,
    pub(super) kind: Kind,
}

impl Held {
    fn series(&self) -> (u32, u32, Kind) {
        (self.name, self.tags, self.kind)
    }
}

/// By the place of tags: the last number that was held with them. Kept for the next batch, so that its room is.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Counts batches, so that what was left by one says nothing in the next.
    batch: u64,
    last: Vec<Mark>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    batch: u64,
    /// Which number.
    held: u32,
}

/// The numbers of one batch, each series once, in the order in which they came.
pub(super) struct HeldNumbers<'p> {
    all: Vec<Held>,
    places: &'p mut Places,
    /// The one that is expected.
    next: usize,
    /// Name and kind of the current points, and whether there were none before.
    current: Option<(u32, Kind)>,
    is_first: bool,
    /// By name: whether there were differences and levels.
    names: Vec<[bool; 2]>,
    /// Those that came first, as far as somebody had to look.
    index: HashMap<(u32, u32, Kind), u32, RandomState>,
    indexed: usize,
}

impl<'p> HeldNumbers<'p> {
    /// Room for this many.
    pub(super) fn new(places: &'p mut Places, items: usize) -> Self {
        places.batch += 1;
        HeldNumbers {
            all: Vec::with_capacity(items),
            places,
            next: 0,
            current: None,
            is_first: false,
            names: Vec::new(),
            index: HashMap::default(),
            indexed: 0,
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Held] {
        &self.all
    }

    /// Adds a number to those of its series: differences are added up, of levels the last one counts.
    pub(super) fn hold(&mut self, number: Held) {
        let place = match self.all.get(self.next) {
            Some(expected) if expected.series() == number.series() => self.next,
            _ => self.place(&number),
        };
        self.next = place + 1;
        match self.all.get_mut(place) {
            Some(held) if number.kind == Kind::Count => held.value = add(held.value, number.value),
            Some(held) => held.value = number.value,
            None => self.all.push(number),
        }
    }

    /// Where a number of this series is, or will be: behind all others.
    fn place(&mut self, number: &Held) -> usize {
        let end = self.all.len();
        if self.current != Some((number.name, number.kind)) {
            self.enter(number.name, number.kind);
        }
        if !self.is_first || number.tags >= OWN {
            return self.look_up(number, end);
        }
        let tags = number.tags as usize;
        if self.places.last.len() <= tags {
            self.places.last.resize(tags + 1, Mark::default());
        }
        let mark = &mut self.places.last[tags];
        if mark.batch == self.places.batch
            && let Some(held) = self.all.get(mark.held as usize)
            && held.series() == number.series()
        {
            return mark.held as usize;
        }
        *mark = Mark { batch: self.places.batch, held: end as u32 };
        end
    }

    fn enter(&mut self, name: u32, kind: Kind) {
        let (at, kinds) = (name as usize, usize::from(kind == Kind::Gauge));
        if self.names.len() <= at {
            self.names.resize(at + 1, [false; 2]);
        }
        self.is_first = !std::mem::replace(&mut self.names[at][kinds], true);
        self.current = Some((name, kind));
    }

    fn look_up(&mut self, number: &Held, end: usize) -> usize {
        for (place, held) in self.all.iter().enumerate().skip(self.indexed) {
            self.index.entry(held.series()).or_insert(place as u32);
        }
        self.indexed = end;
        *self.index.entry(number.series()).or_insert(end as u32) as usize
    }
}

/// The sum, as a whole number as long as it is one.
fn add(a: Number, b: Number) -> Number {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) if a.checked_add(b).is_some() => Number::Int(a + b),
        _ => {
            let sum = a.as_f64() + b.as_f64();
            // Two finite numbers may add up to more than a double holds.
            Number::Double(sum.clamp(f64::MIN, f64::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_one_series_are_one_in_whatever_order_they_come() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut places = Places::default();
        for batch in 0..3_000 {
            let mut held = HeldNumbers::new(&mut places, 4);
            let mut expected: Vec<Held> = Vec::new();
            let (names, tags) = (random.u32(1..6), random.u32(1..9));
            // Sources with the same series, one behind the other, with or without something between.
            let repeated: Vec<_> =
                (0..random.usize(..20)).map(|_| (random.u32(..names), random.u32(..tags))).collect();
            for at in 0..random.usize(..60) {
                let (name, mut tags) = match repeated.get(at % repeated.len().max(1)) {
                    Some(series) if random.u8(..9) > 0 => *series,
                    _ => (at as u32 / 7 % names, random.u32(..tags)),
                };
                if random.u8(..20) == 0 {
                    tags += OWN;
                }
                let kind = if random.u8(..9) == 0 { Kind::Gauge } else { Kind::Count };
                let number = Held { name, tags, value: Number::Int(random.i64(..100)), kind };
                held.hold(number);
                match expected.iter_mut().find(|other| other.series() == number.series()) {
                    Some(other) if kind == Kind::Count => other.value = add(other.value, number.value),
                    Some(other) => other.value = number.value,
                    None => expected.push(number),
                }
            }
            assert_eq!(format!("{:?}", held.all()), format!("{expected:?}"), "batch {batch}");
        }
    }
}
