//! Compression of request bodies.

use schemars::JsonSchema;
use serde::Deserialize;
use std::io::{self, Write};

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
            Compression::Gzip => {
                // Telemetry shrinks five times and more; a quarter avoids growing without wasting much.
                let out = Vec::with_capacity(body.len() / 4 + 64);
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(1));
                encoder.write_all(body)?;
                encoder.finish()
            }
            Compression::Zstd => zstd::bulk::compress(body, 1),
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
