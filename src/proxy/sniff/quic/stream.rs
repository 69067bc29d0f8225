//! PURE. The beginning of a CRYPTO stream, whose pieces come in any order, twice, or one over the other (RFC 9000
//! section 19.6).

use std::ops::Range;

/// The most that is kept of it, in bytes: many times a browser's ClientHello.
pub const LONGEST: usize = 16 * 1024;

/// How many pieces may stand apart at a time. Chromium cuts a hello into about ten.
const MOST_PIECES: usize = 128;

/// A stream as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Stream {
    bytes: Vec<u8>,
    /// What has come, in order; no two pieces touch.
    come: Vec<Range<usize>>,
}

/// The stream is longer, or in more pieces, than is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Stream {
    /// Puts a piece in its place.
    pub(super) fn put(&mut self, offset: u64, piece: &[u8]) -> Result<(), TooLong> {
        let start = usize::try_from(offset).map_err(|_| TooLong)?;
        let end = start
            .checked_add(piece.len())
            .filter(|end| *end <= LONGEST)
            .ok_or(TooLong)?;
        if piece.is_empty() {
            return Ok(());
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(start..end) {
            place.copy_from_slice(piece);
        }
        // Everything that touches the piece becomes one with it.
        let first = self.come.partition_point(|range| range.end < start);
        let after = self.come.partition_point(|range| range.start <= end);
        let touched = self.come.get(first..after).unwrap_or_default();
        let merged = touched.iter().fold(start..end, |merged, range| {
            merged.start.min(range.start)..merged.end.max(range.end)
        });
        self.come.splice(first..after, [merged]);
        if self.come.len() > MOST_PIECES {
            return Err(TooLong);
        }
        Ok(())
    }

    /// What there is without a gap, from the start.
    pub(super) fn prefix(&self) -> &[u8] {
        match self.come.first() {
            Some(Range { start: 0, end }) => self.bytes.get(..*end).unwrap_or_default(),
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_in_any_order_make_the_whole() {
        let whole: Vec<u8> = (0..=255).collect();
        // 37 and 256 have no common divisor, so that each piece comes once.
        let mut stream = Stream::default();
        for turn in 0..256_usize {
            let at = turn * 37 % 256;
            stream.put(at as u64, &whole[at..=at]).unwrap();
        }
        assert_eq!(stream.prefix(), whole);
        assert_eq!((stream.come.len(), stream.come[0].clone()), (1, 0..256));
    }

    #[test]
    fn pieces_that_overlap_or_come_twice_do_no_harm() {
        let whole: Vec<u8> = (0..100).collect();
        let mut stream = Stream::default();
        for range in [40..60, 40..60, 50..80, 10..45, 90..100, 0..11, 75..95] {
            stream.put(range.start as u64, &whole[range]).unwrap();
        }
        assert_eq!(stream.prefix(), whole);
        assert_eq!(stream.come.len(), 1);
    }

    #[test]
    fn a_gap_ends_the_prefix() {
        let mut stream = Stream::default();
        stream.put(5, b"fghij").unwrap();
        assert_eq!(stream.prefix(), b"");
        stream.put(0, b"abc").unwrap();
        assert_eq!(stream.prefix(), b"abc");
        stream.put(3, b"de").unwrap();
        assert_eq!(stream.prefix(), b"abcdefghij");
    }

    #[test]
    fn nothing_beyond_the_bounds_is_kept() {
        let mut stream = Stream::default();
        stream.put(LONGEST as u64 - 1, b"x").unwrap();
        assert_eq!(stream.put(LONGEST as u64, b"x"), Err(TooLong));
        assert_eq!(stream.put(u64::MAX, b"x"), Err(TooLong));
        assert_eq!(stream.put(LONGEST as u64, b""), Ok(()));
        let mut stream = Stream::default();
        for piece in 0..MOST_PIECES {
            stream.put(2 * piece as u64, b"x").unwrap();
        }
        assert_eq!(stream.put(9_000, b"x"), Err(TooLong));
    }
}
