//! Request bodies that git compressed, opened piece by piece.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::write::GzDecoder;

/// So much is fed at a time: a piece expands at most a thousandfold.
const PIECE: usize = 4 << 10;

/// A body as it should reach git.
pub(crate) enum Decoder {
    Plain,
    Gzip(Box<GzDecoder<Vec<u8>>>),
}

impl Decoder {
    /// None: an encoding that we don't know.
    pub(crate) fn for_encoding(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("identity") => Some(Self::Plain),
            Some("gzip" | "x-gzip") => Some(Self::Gzip(Box::new(GzDecoder::new(Vec::new())))),
            Some(_) => None,
        }
    }

    /// Takes a chunk as it arrived, returns it as pieces to pass on in order.
    pub(crate) fn decode(&mut self, chunk: Bytes) -> impl Iterator<Item = io::Result<Bytes>> {
        let piece = match self {
            Self::Plain => chunk.len().max(1),
            Self::Gzip(_) => PIECE,
        };
        let mut rest = chunk;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let next = rest.split_to(piece.min(rest.len()));
            Some(self.open(next))
        })
    }

    fn open(&mut self, piece: Bytes) -> io::Result<Bytes> {
        let Self::Gzip(decoder) = self else { return Ok(piece) };
        decoder.write_all(&piece)?;
        decoder.flush()?;
        Ok(Bytes::from(std::mem::take(decoder.get_mut())))
    }

    /// The end: an error when a compressed body was cut short.
    pub(crate) fn finish(self) -> io::Result<Bytes> {
        match self {
            Self::Plain => Ok(Bytes::new()),
            Self::Gzip(mut decoder) => {
                decoder.try_finish()?;
                Ok(Bytes::from(std::mem::take(decoder.get_mut())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn through(mut decoder: Decoder, body: &[u8], chunk: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        for chunk in body.chunks(chunk) {
            for piece in decoder.decode(Bytes::copy_from_slice(chunk)) {
                out.extend_from_slice(&piece?);
            }
        }
        out.extend_from_slice(&decoder.finish()?);
        Ok(out)
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test] // SPEC G-8
    fn a_body_is_the_same_in_whatever_chunks_it_comes() {
        let plain: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let packed = gzip(&plain);
        for chunk in [1, 7, 4096, 1 << 20] {
            assert!(through(Decoder::for_encoding(Some("gzip")).unwrap(), &packed, chunk).unwrap() == plain);
        }
        assert!(through(Decoder::for_encoding(None).unwrap(), &plain, 1000).unwrap() == plain);
    }

    #[test] // SPEC G-8
    fn a_damaged_or_short_body_is_an_error() {
        let packed = gzip(b"0000 of some length");
        let gunzip = || Decoder::for_encoding(Some("gzip")).unwrap();
        assert!(through(gunzip(), &packed[..packed.len() - 5], 10).is_err());
        assert!(through(gunzip(), b"no gzip at all, but long enough", 10).is_err());
        assert!(Decoder::for_encoding(Some("br")).is_none());
    }
}
