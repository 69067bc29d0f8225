//! PURE. Names and records of a message read in place (RFC 1035 section 4.1.4): only as they can be kept as bytes, and told
//! with other TTLs and in another spelling of the question. Called by `simple`.

use crate::resolve::wire::HEADER;

/// Type, class, TTL and length before the data of a record.
const FIXED: usize = 10;
/// The longest name.
const LONGEST_NAME: usize = 255;

/// A name in lower case.
#[derive(Clone, Copy)]
pub(super) struct Name {
    bytes: [u8; LONGEST_NAME],
    length: usize,
}

impl Name {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Where this name ends in another one, if it is that name or above it.
    pub(super) fn is_above(&self, other: &Self) -> bool {
        let mut rest = other.bytes();
        loop {
            if rest == self.bytes() {
                return true;
            }
            match rest.split_first() {
                Some((&label @ 1.., after)) => match after.get(usize::from(label)..) {
                    Some(after) => rest = after,
                    None => return false,
                },
                _ => return false,
            }
        }
    }
}

/// Where a record stands, and what it is.
pub(super) struct Record {
    pub(super) kind: [u8; 2],
    pub(super) class: [u8; 2],
    pub(super) ttl: u32,
    pub(super) ttl_place: usize,
    pub(super) data: usize,
    pub(super) end: usize,
}

/// Reads a message.
pub(super) struct Reader<'a> {
    pub(super) message: &'a [u8],
    pub(super) question_end: usize,
}

impl Reader<'_> {
    /// The record whose owner ends there.
    pub(super) fn record(&self, after: usize) -> Option<Record> {
        let [kind0, kind1, class0, class1, ttl @ .., length0, length1] =
            *self.message.get(after..)?.first_chunk::<FIXED>()?;
        let data = after + FIXED;
        let end = data + usize::from(u16::from_be_bytes([length0, length1]));
        (end <= self.message.len()).then_some(Record {
            kind: [kind0, kind1],
            class: [class0, class1],
            ttl: u32::from_be_bytes(ttl),
            ttl_place: after + 4,
            data,
            end,
        })
    }

    /// Where the name ends that begins there, if it is this one, which stands at `place`.
    pub(super) fn after(
        &self,
        at: usize,
        name: &Name,
        place: usize,
        ttls: &[(usize, u32)],
    ) -> Option<usize> {
        // Mostly it points there.
        if self.pointer(at) == Some(place) {
            return Some(at + 2);
        }
        let (own, after) = self.name(at, ttls)?;
        (own.bytes() == name.bytes()).then_some(after)
    }

    /// Where the pointer leads that stands there, if it is one.
    pub(super) fn pointer(&self, at: usize) -> Option<usize> {
        let [first, second] = *self.message.get(at..)?.first_chunk::<2>()?;
        (first >= 0xc0).then(|| usize::from(u16::from_be_bytes([first & 0x3f, second])))
    }

    /// The name that begins there, and where what follows it begins. Pointers lead backwards only, to what ends before
    /// the name that they belong to, and to nothing that is told otherwise than it came: TTLs, and the question with a
    /// pointer in it, which another spelling would change.
    pub(super) fn name(&self, start: usize, ttls: &[(usize, u32)]) -> Option<(Name, usize)> {
        let mut name = Name {
            bytes: [0; LONGEST_NAME],
            length: 0,
        };
        let (mut at, mut after) = (start, None);
        // Where what is being read begins, and where what leads to it does.
        let (mut begin, mut bound) = (start, start);
        loop {
            let first = *self.message.get(at)?;
            let end = match first {
                0..=63 => at + 1 + usize::from(first),
                0xc0.. => at + 2,
                _ => return None,
            };
            if after.is_some() {
                let in_ttl = |(ttl, _): &(usize, u32)| at < ttl + size_of::<u32>() && *ttl < end;
                if end > bound || ttls.iter().any(in_ttl) {
                    return None;
                }
            }
            match first {
                0 => {
                    name.length += 1;
                    let after = after.unwrap_or(at + 1);
                    return (name.length <= LONGEST_NAME).then_some((name, after));
                }
                1..=63 => {
                    let label = self.message.get(at..end)?;
                    let to = name.bytes.get_mut(name.length..name.length + label.len())?;
                    to.copy_from_slice(label);
                    to.make_ascii_lowercase();
                    name.length += label.len();
                    at = end;
                }
                _ => {
                    let to = self.pointer(at)?;
                    if at < self.question_end || to >= begin || to < HEADER {
                        return None;
                    }
                    after = after.or(Some(end));
                    (at, begin, bound) = (to, to, begin);
                }
            }
        }
    }

    /// Whether the data is two names and five numbers (RFC 1035 section 3.3.13).
    pub(super) fn is_soa(&self, record: &Record, ttls: &[(usize, u32)]) -> bool {
        let second = self
            .name(record.data, ttls)
            .and_then(|(_, at)| self.name(at, ttls));
        second.is_some_and(|(_, at)| at + 20 == record.end)
    }
}
