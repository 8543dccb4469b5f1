//! Writes msgpack into memory: the few forms that payloads are made of, each in its shortest form.

/// The beginning of a map.
pub(super) fn map(out: &mut Vec<u8>, entries: usize) {
    container(out, entries, 0x80, 0xde);
}

/// The beginning of a list.
pub(super) fn array(out: &mut Vec<u8>, entries: usize) {
    container(out, entries, 0x90, 0xdc);
}

fn container(out: &mut Vec<u8>, entries: usize, short: u8, long: u8) {
    match entries {
        0..16 => out.push(short | entries as u8),
        16..0x1_0000 => {
            let [a, b] = (entries as u16).to_be_bytes();
            out.extend_from_slice(&[long, a, b]);
        }
        _ => {
            let [a, b, c, d] = (entries as u32).to_be_bytes();
            out.extend_from_slice(&[long + 1, a, b, c, d]);
        }
    }
}

/// Text, as the bytes of it.
#[inline]
pub(super) fn text(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..0x100 => out.extend_from_slice(&[0xd9, length as u8]),
        length => long_text(out, length),
    }
    out.extend_from_slice(text);
}

/// How many bytes [`text`] appends.
pub(super) fn text_length(text: &[u8]) -> usize {
    text.len()
        + match text.len() {
            0..32 => 1,
            32..0x100 => 2,
            0x100..0x1_0000 => 3,
            _ => 5,
        }
}

#[cold]
fn long_text(out: &mut Vec<u8>, length: usize) {
    if let Ok(short) = u16::try_from(length) {
        out.push(0xda);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(0xdb);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
}

/// A double.
#[inline]
pub(super) fn double(out: &mut Vec<u8>, value: f64) {
    let mut bytes = [0xcb; 9];
    bytes[1..].copy_from_slice(&value.to_be_bytes());
    out.extend_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_that_of_the_library() {
        for n in [0u64, 1, 15, 16, 31, 32, 127, 128, 255, 256, 65_535, 65_536, 70_000, 1 << 32, u64::MAX] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            double(&mut ours, n as f64);
            let _ = rmp::encode::write_f64(&mut theirs, n as f64);
            if n <= 70_000 {
                map(&mut ours, n as usize);
                let _ = rmp::encode::write_map_len(&mut theirs, n as u32);
                array(&mut ours, n as usize);
                let _ = rmp::encode::write_array_len(&mut theirs, n as u32);
                let long = "x".repeat(n as usize);
                let before = ours.len();
                text(&mut ours, long.as_bytes());
                assert_eq!(ours.len() - before, text_length(long.as_bytes()));
                let _ = rmp::encode::write_str(&mut theirs, &long);
            }
            assert!(ours == theirs, "{n}");
        }
    }
}
