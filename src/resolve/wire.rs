//! PURE. Answers as bytes (RFC 1035 section 4.1): whole messages without a client, with ID 0, RD and RA set, the question
//! in lower case and an OPT record at the end. So the `cache` keeps them, and so `dns` tells them again, with the ID, the
//! flags and the spelling of another query.

/// The header of a message (RFC 1035 section 4.1.1), in bytes.
pub const HEADER: usize = 12;
/// Type and class after the name of a question, in bytes.
pub const TYPE_AND_CLASS: usize = 4;
/// The type of an OPT record.
pub const TYPE_OPT: [u8; 2] = [0, 41];

/// How long it is since an answer was made, and how long it still holds, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// What TTLs have gone down by.
    pub age: u32,
    /// What capped TTLs are never above.
    pub left: u32,
}

/// How the bytes of a [`Finished`] are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The question's bytes, after the header.
    question: u16,
    /// Where the OPT record begins, which is the last.
    opt: u16,
    /// Where the message ends; after it, where each TTL stands, two octets each.
    end: u16,
    /// So many TTLs, the last ones, are bounds of ours: they do not go down before less is left.
    capped: u16,
}

/// An answer without a client.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    bytes: &'a [u8],
    parts: Parts,
}

impl<'a> Finished<'a> {
    /// What [`Finished::prepare`] made.
    pub fn new(bytes: &'a [u8], parts: Parts) -> Self {
        Self { bytes, parts }
    }

    /// Appends the places of the TTLs to an answer of ours and says how it is divided; `None` where it has another form
    /// than described above. The TTLs of so many records, the last ones, are capped; of all, where there are fewer.
    pub fn prepare(message: &mut Vec<u8>, capped: usize) -> Option<Parts> {
        let header = message.first_chunk::<HEADER>()?;
        let [_, _, _, _, 0, 1, rest @ ..] = *header else {
            return None;
        };
        let counts = rest.as_chunks::<2>().0;
        let count: u32 = counts
            .iter()
            .map(|count| u32::from(u16::from_be_bytes(*count)))
            .sum();
        let question = name_length(message.get(HEADER..)?)? + TYPE_AND_CLASS;
        let mut at = HEADER + question;
        let mut opt = None;
        let end = message.len();
        for _ in 0..count {
            // What follows OPT would not be told without it.
            if opt.is_some() {
                return None;
            }
            let start = at;
            at += owner_length(message.get(at..end)?)?;
            let [type0, type1, _, _, _, _, _, _, length0, length1] =
                *message.get(at..end)?.first_chunk::<10>()?;
            if [type0, type1] == TYPE_OPT {
                opt = Some(u16::try_from(start).ok()?);
            } else {
                message.extend(u16::try_from(at + TYPE_AND_CLASS).ok()?.to_be_bytes());
            }
            at += 10 + usize::from(u16::from_be_bytes([length0, length1]));
        }
        if at != end {
            return None;
        }
        Some(Parts {
            question: u16::try_from(question).ok()?,
            opt: opt?,
            end: u16::try_from(end).ok()?,
            capped: u16::try_from(capped.min((message.len() - end) / 2)).ok()?,
        })
    }

    /// How a message is divided that was put together by its octets: its question's length, where its OPT record begins and
    /// where it ends; the places of its TTLs are to follow.
    pub fn parts(question: usize, opt: usize, end: usize, capped: u16) -> Option<Parts> {
        Some(Parts {
            question: u16::try_from(question).ok()?,
            opt: u16::try_from(opt).ok()?,
            end: u16::try_from(end).ok()?,
            capped,
        })
    }

    /// Where its TTLs stand.
    pub fn ttl_places(&self) -> impl Iterator<Item = usize> + use<'a> {
        let (aging, capped) = self.places();
        let places = aging.iter().chain(capped);
        places.map(|place| usize::from(u16::from_be_bytes(*place)))
    }

    /// Its question, in lower case: name, type and class.
    pub fn question(&self) -> &'a [u8] {
        let end = HEADER + usize::from(self.parts.question);
        self.bytes.get(HEADER..end).unwrap_or_default()
    }

    /// The message, or what of it stands before the OPT record.
    pub fn message(&self, with_opt: bool) -> &'a [u8] {
        let Parts { opt, end, .. } = self.parts;
        let end = usize::from(if with_opt { end } else { opt });
        self.bytes.get(..end).unwrap_or_default()
    }

    /// Brings the TTLs in a copy of the message to this age.
    pub fn grow_old(&self, message: &mut [u8], Age { age, left }: Age) {
        let (aging, capped) = self.places();
        if age > 0 {
            for place in aging {
                change(message, *place, |ttl| ttl.saturating_sub(age));
            }
        }
        for place in capped {
            change(message, *place, |ttl| ttl.min(left));
        }
    }

    /// Whether another one differs from it by the TTLs at most, and none is capped.
    pub fn is_as(&self, other: &Self) -> bool {
        let (places, capped) = self.places();
        if self.parts != other.parts || !capped.is_empty() {
            return false;
        }
        let (one, another) = (self.bytes, other.bytes);
        let mut from = 0;
        for place in places {
            let at = usize::from(u16::from_be_bytes(*place));
            if one.get(from..at) != another.get(from..at) {
                return false;
            }
            from = at + size_of::<u32>();
        }
        one.get(from..) == another.get(from..)
    }

    /// Where TTLs stand that go down, and where those that are capped.
    fn places(&self) -> (&'a [[u8; 2]], &'a [[u8; 2]]) {
        let places = self.bytes.get(usize::from(self.parts.end)..);
        let places = places.unwrap_or_default().as_chunks::<2>().0;
        let aging = places.len().saturating_sub(usize::from(self.parts.capped));
        places.split_at(aging)
    }
}

/// Changes the TTL that stands at this place.
fn change(message: &mut [u8], place: [u8; 2], to: impl Fn(u32) -> u32) {
    let at = usize::from(u16::from_be_bytes(place));
    if let Some(ttl) = message.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *ttl = to(u32::from_be_bytes(*ttl)).to_be_bytes();
    }
}

/// The length of the name that begins a piece of a message, its root included; `None` where it does not end there, is
/// longer than a name may be, or is compressed.
pub fn name_length(bytes: &[u8]) -> Option<usize> {
    const LONGEST_LABEL: u8 = 63;
    const LONGEST_NAME: usize = 255;
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => return (at < LONGEST_NAME).then_some(at + 1),
            label @ 1..=LONGEST_LABEL => at += 1 + usize::from(label),
            _ => return None,
        }
    }
}

/// The length of the owner of a record, which may be compressed.
pub fn owner_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            label @ 1..=63 => at += 1 + usize::from(label),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}
