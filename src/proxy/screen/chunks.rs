//! PURE. Where a body in chunks ends (RFC 9112 section 7.1): followed byte by byte, and no byte of it kept but the line
//! of a trailer.

use super::fault::Fault;
use super::head::trailer;

/// The most that the extensions of all chunks of a body, or its trailers, may take, in bytes; hyper reads no more.
const MOST: usize = 16_000;

/// How many trailers there may be.
const MOST_TRAILERS: usize = 100;

/// Where in the body the next byte stands.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    place: Place,
    /// The size of the chunk, or what is left of it.
    size: u64,
    /// Bytes of extensions.
    extensions: usize,
    line: Vec<u8>,
    /// Bytes and lines of trailers.
    trailers: (usize, usize),
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// So many digits of the size were read.
    #[default]
    Size,
    Digits(u8),
    /// Spaces behind the size.
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    TrailerLf,
}

impl Chunks {
    /// How many of the bytes belong to the body, and whether it has ended.
    ///
    /// # Errors
    ///
    /// With the number of those that were read before what is wrong.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<(usize, bool), (usize, Fault)> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let Place::Data = self.place {
                let there = bytes.len() - at;
                let taken = usize::try_from(self.size).unwrap_or(usize::MAX).min(there);
                self.size -= taken as u64;
                at += taken;
                if self.size == 0 {
                    self.place = Place::DataCr;
                }
                continue;
            }
            let ended = self.step(byte).map_err(|fault| (at, fault))?;
            at += 1;
            if ended {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    fn step(&mut self, byte: u8) -> Result<bool, Fault> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        self.place = match (self.place, byte) {
            (Place::Size, _) => {
                self.size = digit.ok_or(Fault::Chunk)?;
                Place::Digits(1)
            }
            (Place::Digits(count), _) if digit.is_some() => {
                // Below what a signed number can say, for whoever counts in one.
                if count >= 15 {
                    return Err(Fault::Chunk);
                }
                self.size = self.size * 16 + digit.unwrap_or_default();
                Place::Digits(count + 1)
            }
            (Place::Digits(_) | Place::Space, b' ' | b'\t') => {
                self.extend()?;
                Place::Space
            }
            (Place::Digits(_) | Place::Space, b';') => Place::Extension,
            (Place::Digits(_) | Place::Space | Place::Extension, b'\r') => Place::SizeLf,
            (Place::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extend()?;
                Place::Extension
            }
            (Place::SizeLf, b'\n') if self.size == 0 => Place::Trailer,
            (Place::SizeLf, b'\n') => Place::Data,
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size,
            (Place::Trailer, b'\r') => Place::TrailerLf,
            (Place::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.line.push(byte);
                self.trailers.0 += 1;
                if self.trailers.0 >= MOST {
                    return Err(Fault::TooLong);
                }
                Place::Trailer
            }
            (Place::TrailerLf, b'\n') => {
                let line = std::mem::take(&mut self.line);
                if line.is_empty() {
                    return Ok(true);
                }
                trailer(&line)?;
                self.trailers.0 += 2;
                self.trailers.1 += 1;
                if self.trailers.1 > MOST_TRAILERS {
                    return Err(Fault::TooMany);
                }
                Place::Trailer
            }
            _ => return Err(Fault::Chunk),
        };
        Ok(false)
    }

    fn extend(&mut self) -> Result<(), Fault> {
        self.extensions += 1;
        if self.extensions >= MOST {
            return Err(Fault::Chunk);
        }
        Ok(())
    }
}
