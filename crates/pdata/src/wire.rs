//! The protobuf wire format: one cursor over the fields of a message. The only file that knows wire types.

use thiserror::Error;

/// Why bytes are not a valid request. `offset` counts from the start of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("byte {offset}: {problem} in {message}")]
pub struct WireError {
    /// Where in the request the problem is.
    pub offset: usize,
    /// The name of the message around it, for example `Span`.
    pub message: &'static str,
    /// What is wrong.
    pub problem: Problem,
}

/// The ways in which bytes fail to be a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// The message ends inside a field.
    #[error("truncated field")]
    Truncated,
    /// A varint has more than ten bytes or a tag does not fit 32 bits.
    #[error("malformed varint")]
    Varint,
    /// Field number zero, or a group (deprecated, and never part of OTLP).
    #[error("malformed tag")]
    Tag,
    /// A known field has another wire type than the schema says.
    #[error("wrong wire type")]
    WireType,
    /// A string is not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// A trace id is not 0 or 16 bytes, or a span id is not 0 or 8.
    #[error("invalid id length")]
    IdLength,
    /// A packed list has a length that is no multiple of its element.
    #[error("malformed packed list")]
    Packed,
    /// Messages nested deeper than [`crate::MAX_DEPTH`].
    #[error("nested too deeply")]
    Depth,
    /// More items than [`crate::Limits`] allows.
    #[error("too many items")]
    Items,
}

/// The value of one field as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u64)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: strings, bytes, messages and packed lists.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The number of a varint or fixed field; 0 for anything else.
    pub fn as_u64(self) -> u64 {
        match self {
            Value::Varint(v) | Value::Fixed64(v) => v,
            Value::Fixed32(v) => v as u64,
            Value::Bytes(_) => 0,
        }
    }

    /// Adds the numbers of a list of eight bytes each, packed or not.
    #[inline]
    pub fn extend<T>(self, list: &mut Vec<T>, read: impl Fn(u64) -> T) {
        match self {
            Value::Bytes(packed) => {
                list.extend(packed.as_chunks::<8>().0.iter().map(|bytes| read(u64::from_le_bytes(*bytes))));
            }
            single => list.push(read(single.as_u64())),
        }
    }

    /// The bytes of a length-delimited field; empty for anything else.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Value::Bytes(b) => b,
            _ => &[],
        }
    }
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// The field number.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
    /// Tag, length and value as they stand on the wire: what to copy to keep the field as it is.
    pub raw: &'a [u8],
}

/// A cursor over the fields of one message.
///
/// As an iterator it stops at malformed bytes, which validated data does not have; [`Fields::try_next`] reports them.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Starts at the first field of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Fields { rest: message }
    }

    /// What was read between this cursor and a later one of the same message.
    #[inline(always)]
    pub(crate) fn up_to(&self, later: Self) -> &'a [u8] {
        &self.rest[..self.rest.len() - later.rest.len()]
    }

    /// What has not been read yet.
    #[inline(always)]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes have not been read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next field, `None` at the end, or what is wrong with the bytes.
    // Every reader of every message goes through here: not inlined, it is a third of the whole translation.
    #[inline(always)]
    pub fn try_next(&mut self) -> Result<Option<Field<'a>>, Problem> {
        let start = self.rest;
        let Some((&first, after)) = start.split_first() else { return Ok(None) };
        // Fields below 16 have a tag of one byte, which is all of OTLP but for two.
        let (number, wire_type) = if first < 0x80 {
            self.rest = after;
            (u32::from(first >> 3), first & 7)
        } else {
            self.long_tag()?
        };
        if number == 0 {
            return Err(Problem::Tag);
        }
        let value = match wire_type {
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Problem::Truncated)?;
                let (head, tail) = self.rest.split_at_checked(length).ok_or(Problem::Truncated)?;
                self.rest = tail;
                Value::Bytes(head)
            }
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Problem::Tag),
        };
        let raw = &start[..start.len() - self.rest.len()];
        Ok(Some(Field { number, value, raw }))
    }

    /// The body of the next message with this number, which is below 16. Shows the fields before it to `pass`.
    #[inline(always)]
    pub(crate) fn next_message(&mut self, number: u32, mut pass: impl FnMut(Field<'a>)) -> Option<&'a [u8]> {
        loop {
            if let Some(body) = self.next_body(number) {
                return Some(body);
            }
            match self.next()? {
                Field { number: found, value: Value::Bytes(body), .. } if found == number => {
                    return Some(body);
                }
                other => pass(other),
            }
        }
    }

    /// The bytes of the next field if it is this one, below 16, and has fewer than 128 of them; `None` says nothing about what
    /// comes instead. For walks over many fields of one kind, as attributes are: a third of what [`Fields::try_next`] takes.
    #[inline(always)]
    pub fn next_short(&mut self, number: u32) -> Option<&'a [u8]> {
        debug_assert!((1..16).contains(&number), "a tag of one byte");
        let [tag, length @ 0..0x80, rest @ ..] = self.rest else { return None };
        if *tag != (number << 3 | 2) as u8 {
            return None;
        }
        let (head, tail) = rest.split_at_checked(usize::from(*length))?;
        self.rest = tail;
        Some(head)
    }

    /// As [`Fields::next_short`], for bodies of up to 16 KiB, as data points have: those of two bytes of length too.
    #[inline(always)]
    pub fn next_body(&mut self, number: u32) -> Option<&'a [u8]> {
        debug_assert!((1..16).contains(&number), "a tag of one byte");
        let wanted = (number << 3 | 2) as u8;
        let (length, rest) = match self.rest {
            [tag, length @ 0..0x80, rest @ ..] if *tag == wanted => (usize::from(*length), rest),
            [tag, low @ 0x80..=0xff, high @ 0..0x80, rest @ ..] if *tag == wanted => {
                (usize::from(low & 0x7f) | usize::from(*high) << 7, rest)
            }
            _ => return None,
        };
        let (head, tail) = rest.split_at_checked(length)?;
        self.rest = tail;
        Some(head)
    }

    /// Passes over these fields if they come next. Nothing is read of them: to compare attributes with those that are expected
    /// costs a sixth of what it takes to step over each.
    #[inline(always)]
    pub fn skip_expected(&mut self, expected: &[u8]) -> bool {
        // What comes next is seldom an attribute, which the first byte tells without a call.
        if expected.is_empty() || self.rest.first() != expected.first() {
            return false;
        }
        let Some(rest) = self.rest.strip_prefix(expected) else { return false };
        self.rest = rest;
        true
    }

    /// The next two fields if they are these `fixed64`, below 16: nearly all data points begin with two times.
    #[inline(always)]
    pub fn next_fixed64s(&mut self, numbers: [u32; 2]) -> Option<[u64; 2]> {
        let [first, second] = numbers.map(|number| (number << 3 | 1) as u8);
        let (head, rest) = self.rest.split_first_chunk::<18>()?;
        let (a, b) = (head[1..9].first_chunk()?, head[10..18].first_chunk()?);
        if head[0] != first || head[9] != second {
            return None;
        }
        self.rest = rest;
        Some([u64::from_le_bytes(*a), u64::from_le_bytes(*b)])
    }

    /// The next field if it is this `fixed64`, below 16.
    #[inline(always)]
    pub fn next_fixed64(&mut self, number: u32) -> Option<u64> {
        let (head, rest) = self.rest.split_first_chunk::<9>()?;
        let [tag, value @ ..] = head;
        if *tag != (number << 3 | 1) as u8 {
            return None;
        }
        self.rest = rest;
        Some(u64::from_le_bytes(*value))
    }

    #[cold]
    fn long_tag(&mut self) -> Result<(u32, u8), Problem> {
        let (tag, length) = read_long_varint(self.rest)?;
        self.rest = &self.rest[length..];
        let number = u32::try_from(tag >> 3).map_err(|_| Problem::Tag)?;
        if number >= 1 << 29 { Err(Problem::Tag) } else { Ok((number, (tag & 7) as u8)) }
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Problem::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Problem> {
        match self.rest {
            [first @ 0..0x80, after @ ..] => {
                self.rest = after;
                return Ok(u64::from(*first));
            }
            // Lengths of spans: all of a request is passed over like this, without a call for each.
            [first @ 0x80..=0xff, second @ 0..0x80, after @ ..] => {
                self.rest = after;
                return Ok(u64::from(first & 0x7f) | u64::from(*second) << 7);
            }
            _ => {}
        }
        let (value, length) = read_long_varint(self.rest)?;
        self.rest = &self.rest[length..];
        Ok(value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Field<'a>> {
        self.try_next().ok().flatten()
    }
}

/// Reads one varint at the start of `bytes`: its value and how many bytes it took.
#[inline]
pub fn read_varint(bytes: &[u8]) -> Result<(u64, usize), Problem> {
    if let Some(&first) = bytes.first()
        && first < 0x80
    {
        return Ok((first as u64, 1));
    }
    read_long_varint(bytes)
}

/// As [`read_varint`], for those of more than one byte, which are rarer.
#[inline(never)]
fn read_long_varint(bytes: &[u8]) -> Result<(u64, usize), Problem> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        // The tenth byte holds only the top bit of a 64-bit number.
        if i == 9 && byte > 1 {
            return Err(Problem::Varint);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(if bytes.len() < 10 { Problem::Truncated } else { Problem::Varint })
}

/// Undoes the zigzag encoding of `sint32` and `sint64`.
pub fn zigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}
