//! Copying a request through the writer.

use crate::random::request;
use muxbridge_pdata::schema::{Kind, Message, SPAN, field};
use muxbridge_pdata::wire::{Fields, Value};
use muxbridge_pdata::{Limits, Signal, Writer, validate};

/// Writes every message anew and copies everything else; `edit` may write a field in its own way.
fn copy(
    message: &'static Message,
    body: &[u8],
    out: &mut Writer,
    edit: &mut dyn FnMut(&'static Message, u32, &mut Writer) -> bool,
) {
    for found in Fields::new(body) {
        if edit(message, found.number, out) {
            continue;
        }
        match (message.field(found.number).map(|f| f.kind), found.value) {
            (Some(Kind::Message(inner)), Value::Bytes(body)) => {
                out.message(found.number, |out| copy(inner, body, out, edit));
            }
            _ => out.raw(found.raw),
        }
    }
}

#[test]
fn a_request_that_is_copied_through_message_by_message_has_identical_bytes() {
    for seed in 0..1000 {
        for signal in Signal::ALL {
            let original = request(signal, seed);
            let mut out = Writer::new();
            copy(signal.request(), &original, &mut out, &mut |_, _, _| false);
            assert_eq!(out.as_slice(), original, "seed {seed}");
        }
    }
}

#[test]
fn unknown_fields_survive_an_edit_of_the_fields_around_them() {
    // Fields 77 (a string), 78 (a varint), 79 (fixed64) and 80 (fixed32) exist nowhere in the schema.
    let mut unknown = Writer::new();
    unknown.bytes(77, b"novel");
    unknown.varint(78, 300);
    unknown.fixed64(79, 7);
    unknown.fixed32(80, 8);
    let unknown = unknown.into_vec();
    for seed in 0..300 {
        let original = request(Signal::Traces, seed);
        let mut spans = 0;
        let mut grown = Writer::new();
        copy(Signal::Traces.request(), &original, &mut grown, &mut |message, number, out| {
            if message.name == SPAN.name && number == field::span::NAME {
                out.raw(&unknown);
                spans += 1;
            }
            false
        });
        let mut edited = Writer::new();
        copy(Signal::Traces.request(), grown.as_slice(), &mut edited, &mut |message, number, out| {
            let name = message.name == SPAN.name && number == field::span::NAME;
            if name {
                out.bytes(number, b"edited");
            }
            name
        });
        assert!(validate(Signal::Traces, edited.as_slice(), Limits::default()).is_ok());
        let expected = [&unknown[..], b"\x2a\x06edited"].concat();
        let found = edited.as_slice().windows(expected.len()).filter(|w| *w == expected).count();
        assert_eq!(found, spans, "seed {seed}");
    }
}

#[test]
fn a_message_has_the_same_bytes_whatever_its_length_was_thought_to_be() {
    for length in [0, 1, 127, 128, 300, 20_000] {
        let content = vec![7; length];
        let mut expected = Writer::new();
        expected.bytes(1, b"before");
        expected.bytes(2, &content);
        expected.bytes(3, b"after");
        for about in [0, 127, 128, length, 1_000_000] {
            let mut out = Writer::new();
            out.bytes(1, b"before");
            out.message_of(2, about, |out| out.raw(&content));
            out.bytes(3, b"after");
            assert_eq!(out, expected, "{length} bytes, thought to be {about}");
        }
    }
}

#[test]
fn the_next_short_field_is_the_next_field_or_none() {
    use muxbridge_pdata::wire::Fields;
    let mut w = Writer::new();
    for length in [0, 1, 127, 128, 300] {
        w.bytes(9, &vec![7; length]);
        w.bytes(2, b"other");
        w.varint(9, 5);
        w.bytes(25, b"a tag of two bytes");
    }
    let bytes = w.into_vec();
    // Also what is cut short: it is never short and whole.
    for end in 0..=bytes.len() {
        let mut fields = Fields::new(&bytes[..end]);
        loop {
            let (mut short, before) = (fields, fields);
            let Ok(Some(next)) = fields.try_next() else {
                assert_eq!(short.next_short(9), None);
                break;
            };
            let is_short = next.number == 9 && next.raw[0] & 7 == 2 && next.value.as_bytes().len() < 128;
            assert_eq!(short.next_short(9), is_short.then(|| next.value.as_bytes()));
            let expected = if is_short { fields } else { before };
            assert_eq!(short.remaining(), expected.remaining());
        }
    }
}

#[test]
fn the_next_body_is_the_next_field_of_up_to_two_bytes_of_length_or_none() {
    use muxbridge_pdata::wire::Fields;
    let mut w = Writer::new();
    for length in [0, 127, 128, 300, 16_383, 16_384] {
        w.bytes(9, &vec![7; length]);
        w.bytes(2, b"other");
        w.varint(9, 5);
        w.bytes(25, b"a tag of two bytes");
    }
    // A length of one byte written in two.
    w.raw(&[9 << 3 | 2, 0x81, 0, 7]);
    let bytes = w.into_vec();
    for end in (0..1_000).chain(bytes.len() - 500..=bytes.len()) {
        let mut fields = Fields::new(&bytes[..end]);
        loop {
            let (mut short, before) = (fields, fields);
            let Ok(Some(next)) = fields.try_next() else {
                assert_eq!(short.next_body(9), None);
                break;
            };
            let is_body = next.number == 9 && next.raw[0] & 7 == 2 && next.value.as_bytes().len() < 16_384;
            assert_eq!(short.next_body(9), is_body.then(|| next.value.as_bytes()));
            let expected = if is_body { fields } else { before };
            assert_eq!(short.remaining(), expected.remaining());
        }
    }
}

#[test]
fn expected_fields_are_passed_over_only_where_all_of_them_come_next() {
    use muxbridge_pdata::wire::Fields;
    let mut w = Writer::new();
    w.fixed64(2, 20);
    w.fixed64(3, 30);
    w.attribute_str(7, "key", "value");
    w.attribute_str(7, "another", "value");
    let bytes = w.into_vec();
    let attributes = &bytes[18..];
    for end in 0..=bytes.len() {
        let mut fields = Fields::new(&bytes[..end]);
        assert!(!fields.skip_expected(attributes) && !fields.skip_expected(&[]));
        assert_eq!(fields.next_fixed64s([3, 2]), None);
        assert_eq!(fields.remaining(), end);
        let times = fields.next_fixed64s([2, 3]);
        assert_eq!(times, (end >= 18).then_some([20, 30]));
        assert_eq!(fields.skip_expected(attributes), end == bytes.len());
        let left = if end < 18 {
            end
        } else if end < bytes.len() {
            end - 18
        } else {
            0
        };
        assert_eq!(fields.remaining(), left);
    }
}
