//! The state of a split: the messages that are open in the current part, from the request down.

use super::{Level, only_data};
use crate::Writer;
use crate::view::Metric;
use crate::wire::{Field, Fields};
use bytes::Bytes;

pub(super) struct Splitter {
    max_items: usize,
    max_bytes: usize,
    parts: Vec<Bytes>,
    /// The request first. Never empty.
    open: Vec<Open>,
    /// Items in the current part.
    items: usize,
}

/// A message that is being written in the current part.
struct Open {
    /// Its field in the message above.
    number: u32,
    /// All its fields that lead to no items: repeated in every part.
    header: Vec<u8>,
    /// The header and what follows it in this part.
    body: Writer,
    /// Whether this part has anything below the header.
    filled: bool,
    /// Whether an earlier part had.
    written: bool,
}

impl Open {
    fn new(number: u32, header: Vec<u8>) -> Self {
        let mut body = Writer::new();
        body.raw(&header);
        Open { number, header, body, filled: false, written: false }
    }
}

/// The size of a message field with `length` bytes of content. All numbers on the way to an item are below 16.
fn framed(length: usize) -> usize {
    let bits = usize::BITS - (length | 1).leading_zeros();
    1 + bits.div_ceil(7) as usize + length
}

impl Splitter {
    pub(super) fn new(max_items: usize, max_bytes: usize) -> Self {
        Splitter { max_items, max_bytes, parts: Vec::new(), open: vec![Open::new(0, Vec::new())], items: 0 }
    }

    /// Takes the messages below the last open one apart, as `levels` says.
    pub(super) fn walk(&mut self, levels: &[Level], body: &[u8]) {
        let Some((level, below)) = levels.split_first() else { return };
        let at_request = self.open.len() == 1;
        for field in Fields::new(body) {
            if field.number != level.field() {
                // Headers hold these fields already, but a request has no header: they go into one part.
                if at_request {
                    self.add(field.raw, 0);
                }
                continue;
            }
            match level {
                Level::Items | Level::Points => self.add(field.raw, 1),
                Level::Metrics => self.metric(&field),
                Level::Container(_) | Level::Data(_) => {
                    let inner = below.first().map_or(0, |level| level.field());
                    self.enter(field.number, field.value.as_bytes(), inner);
                    self.walk(below, field.value.as_bytes());
                    self.leave();
                }
            }
        }
    }

    fn metric(&mut self, field: &Field<'_>) {
        let body = field.value.as_bytes();
        let points = Metric::read(body).point_count();
        let whole = self.fits(field.raw.len(), points)
            || points <= 1
            || (points <= self.max_items && self.size(true, field.raw.len()) <= self.max_bytes);
        match only_data(body) {
            Some(data) if !whole => {
                self.enter(field.number, body, data);
                self.walk(&[Level::Data(data), Level::Points], body);
                self.leave();
            }
            _ => self.add(field.raw, points),
        }
    }

    fn enter(&mut self, number: u32, body: &[u8], inner: u32) {
        let mut header = Vec::new();
        for field in Fields::new(body).filter(|f| f.number != inner) {
            header.extend_from_slice(field.raw);
        }
        self.open.push(Open::new(number, header));
    }

    /// Closes the last open message.
    fn leave(&mut self) {
        let empty = self.open.last().is_some_and(|last| !last.filled && !last.written);
        if empty {
            // It has no items at all, and is kept as it came.
            self.add(&[], 0);
        }
        if let Some(last) = self.open.pop()
            && last.filled
            && let Some(above) = self.open.last_mut()
        {
            above.body.bytes(last.number, last.body.as_slice());
        }
    }

    /// Adds a field to the last open message, in a new part if this one has no room.
    fn add(&mut self, raw: &[u8], items: usize) {
        if !self.fits(raw.len(), items) && self.open[0].filled {
            self.flush();
        }
        for open in &mut self.open {
            open.filled = true;
        }
        if let Some(last) = self.open.last_mut() {
            last.body.raw(raw);
        }
        self.items += items;
    }

    fn fits(&self, bytes: usize, items: usize) -> bool {
        self.items + items <= self.max_items
            && (self.size(false, bytes) <= self.max_bytes || self.is_hopeless())
    }

    /// Whether the headers around the next item are too large by themselves, and nothing else is in this part: bytes
    /// do not count then, as [`super::split`] says.
    fn is_hopeless(&self) -> bool {
        let mut headers = 0;
        for open in &self.open {
            headers += open.header.len();
            if headers > self.max_bytes {
                return true;
            }
            if open.body.len() > open.header.len() {
                return false;
            }
        }
        false
    }

    /// How large this part is with `bytes` more in the last open message; or a part of nothing but headers.
    fn size(&self, headers: bool, bytes: usize) -> usize {
        let mut size = bytes;
        for (i, open) in self.open.iter().enumerate().rev() {
            size += if headers { open.header.len() } else { open.body.len() };
            if i > 0 {
                size = framed(size);
            }
        }
        size
    }

    /// Ends the current part and begins the next one with the headers of what is still open.
    fn flush(&mut self) {
        for i in (1..self.open.len()).rev() {
            let (above, below) = self.open.split_at_mut(i);
            if let (Some(above), Some(last)) = (above.last_mut(), below.first_mut())
                && last.filled
            {
                above.body.bytes(last.number, last.body.as_slice());
            }
        }
        for (i, open) in self.open.iter_mut().enumerate() {
            let mut fresh = Writer::new();
            fresh.raw(&open.header);
            let body = std::mem::replace(&mut open.body, fresh);
            if i == 0 {
                self.parts.push(body.into_bytes());
            }
            open.written |= open.filled;
            open.filled = false;
        }
        self.items = 0;
    }

    pub(super) fn finish(mut self) -> Vec<Bytes> {
        if self.open[0].filled || self.parts.is_empty() {
            self.flush();
        }
        self.parts
    }
}
