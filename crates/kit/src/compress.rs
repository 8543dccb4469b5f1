//! Compression of request bodies.

use flate2::{Compress, FlushCompress, Status};
use schemars::JsonSchema;
use serde::Deserialize;
use std::cell::RefCell;
use std::io;

// Making the state of a compressor, some hundred kilobytes, costs as much as compressing a small body. Each worker keeps one.
thread_local! {
    static GZIP: RefCell<Option<Compress>> = const { RefCell::new(None) };
    static ZSTD: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

/// The window that every decoder must have: 32 KiB.
const WINDOW_BITS: u8 = 15;

fn gzip(state: &mut Option<Compress>, body: &[u8]) -> io::Result<Vec<u8>> {
    let compress = state.get_or_insert_with(|| Compress::new_gzip(flate2::Compression::new(1), WINDOW_BITS));
    compress.reset();
    // Telemetry shrinks five times and more; a quarter avoids growing without wasting much.
    let mut out = Vec::with_capacity(body.len() / 4 + 64);
    loop {
        let taken = compress.total_in() as usize;
        match compress
            .compress_vec(&body[taken..], &mut out, FlushCompress::Finish)
            .map_err(io::Error::other)?
        {
            Status::StreamEnd => return Ok(out),
            Status::Ok | Status::BufError => out.reserve(out.capacity().max(64)),
        }
    }
}

/// How request bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, level 1: telemetry is so repetitive that higher levels cost much more time than they save bytes.
    Gzip,
    /// Zstandard, level 1: smaller and faster than gzip, but not every destination knows it.
    Zstd,
}

impl Compression {
    /// The compressed body; a copy with [`Compression::None`].
    ///
    /// # Errors
    /// Only those of the compressor itself, such as a lack of memory.
    pub fn encode(self, body: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Compression::None => Ok(body.to_vec()),
            Compression::Gzip => GZIP.with_borrow_mut(|state| gzip(state, body)),
            Compression::Zstd => ZSTD.with_borrow_mut(|state| {
                if state.is_none() {
                    *state = Some(zstd::bulk::Compressor::new(1)?);
                }
                state.as_mut().map_or_else(|| Ok(Vec::new()), |compressor| compressor.compress(body))
            }),
        }
    }

    /// The value of `Content-Encoding` and `grpc-encoding`; nothing with [`Compression::None`].
    pub const fn content_encoding(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_compressed_body_decompresses_to_itself() {
        let body = b"gen_ai.request.model ".repeat(1000);
        assert_eq!(Compression::None.encode(&body).unwrap(), body);
        let mut out = Vec::new();
        let gzip = Compression::Gzip.encode(&body).unwrap();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut out).unwrap();
        assert_eq!(out, body);
        let zstd = Compression::Zstd.encode(&body).unwrap();
        assert_eq!(zstd::decode_all(&zstd[..]).unwrap(), body);
        assert!(gzip.len() < body.len() / 10 && zstd.len() < body.len() / 10);
    }

    #[test]
    fn the_state_that_is_kept_remembers_nothing_of_the_body_before() {
        let bodies = [
            b"telemetry ".repeat(9000),
            Vec::new(),
            vec![7; 3],
            (0..200_000u32).map(|n| (n.wrapping_mul(n) >> 3) as u8).collect(),
        ];
        for body in bodies.iter().chain(&bodies) {
            let mut out = Vec::new();
            let gzip = Compression::Gzip.encode(body).unwrap();
            flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut out).unwrap();
            assert!(out == *body, "gzip of {} bytes", body.len());
            assert!(zstd::decode_all(&Compression::Zstd.encode(body).unwrap()[..]).unwrap() == *body);
        }
    }

    #[test]
    fn names_are_those_of_the_collector_and_of_http() {
        for (name, value, encoding) in [
            ("none", Compression::None, None),
            ("gzip", Compression::Gzip, Some("gzip")),
            ("zstd", Compression::Zstd, Some("zstd")),
        ] {
            let parsed: Compression = serde_json::from_value(name.into()).unwrap();
            assert_eq!((parsed, parsed.content_encoding()), (value, encoding));
        }
        assert!(serde_json::from_value::<Compression>("snappy".into()).is_err());
    }
}
