//! Messages as they are on the wire, read by nothing that the gate itself uses: what its library loses of an answer
//! on the way through would be lost here too.

use std::collections::BTreeMap;

/// A message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The flags of the header.
    pub(super) flags: u16,
    /// RCODE with its extension in OPT.
    pub(super) rcode: u16,
    /// The octets of the question section.
    pub(super) question: Vec<u8>,
    /// Answer, authority and additional section without OPT.
    pub(super) sections: [Vec<Record>; 3],
    /// The options of OPT, and whether it says DO.
    pub(super) edns: Option<(bool, BTreeMap<u16, Vec<u8>>)>,
}

/// A record. Names in it are whole; they are in small letters, for a name that was compressed has the letters of the
/// one that it points to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    /// Whose it is, as on the wire.
    pub(super) owner: Vec<u8>,
    /// Its type.
    pub(super) kind: u16,
    /// Its data, without compression.
    pub(super) data: Vec<u8>,
    /// Its TTL.
    pub(super) ttl: u32,
}

/// Flags of the header.
pub(super) const AA: u16 = 0x0400;
pub(super) const TC: u16 = 0x0200;
pub(super) const RD: u16 = 0x0100;
pub(super) const AD: u16 = 0x0020;
pub(super) const CD: u16 = 0x0010;

/// Types that are spoken of.
pub(super) const A: u16 = 1;

pub(super) const CNAME: u16 = 5;
pub(super) const SOA: u16 = 6;
pub(super) const AAAA: u16 = 28;
pub(super) const DNAME: u16 = 39;
const OPT: u16 = 41;
pub(super) const RRSIG: u16 = 46;
pub(super) const SVCB: u16 = 64;
pub(super) const HTTPS: u16 = 65;
pub(super) const ANY: u16 = 255;

impl Record {
    /// The type that a signature covers, else its own.
    pub(super) fn about(&self) -> u16 {
        match (self.kind, self.data.first_chunk::<2>()) {
            (RRSIG, Some(covered)) => u16::from_be_bytes(*covered),
            _ => self.kind,
        }
    }

    /// Without its TTL.
    pub(super) fn set(&self) -> (&[u8], u16, &[u8]) {
        (&self.owner, self.kind, &self.data)
    }
}

impl Message {
    /// Reads a message, all of it.
    pub(super) fn read(packet: &[u8]) -> Self {
        Self::try_read(packet)
            .unwrap_or_else(|| panic!("a message that cannot be read: {packet:?}"))
    }

    fn try_read(packet: &[u8]) -> Option<Self> {
        let mut reader = Reader { packet, at: 0 };
        reader.take(2)?;
        let flags = reader.u16()?;
        let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        let start = reader.at;
        for _ in 0..counts[0] {
            reader.name()?;
            reader.take(4)?;
        }
        let question = packet.get(start..reader.at)?.to_vec();
        let mut message = Self {
            flags: flags & 0xfff0,
            rcode: flags & 0xf,
            question,
            sections: Default::default(),
            edns: None,
        };
        for (section, count) in counts.into_iter().skip(1).enumerate() {
            for _ in 0..count {
                let owner = reader.name()?;
                let kind = reader.u16()?;
                let class = reader.u16()?;
                let ttl = (u32::from(reader.u16()?) << 16) | u32::from(reader.u16()?);
                let length = usize::from(reader.u16()?);
                let end = reader.at + length;
                if kind == OPT {
                    message.rcode |= u16::try_from(ttl >> 24).ok()? << 4;
                    let options = reader.options(end)?;
                    message.edns = Some((ttl & 0x8000 != 0, options));
                    continue;
                }
                assert_eq!(class, 1, "nothing but IN");
                let data = reader.data(kind, end)?;
                message.sections[section].push(Record {
                    owner,
                    kind,
                    data,
                    ttl,
                });
            }
        }
        (reader.at == packet.len()).then_some(message)
    }

    /// The codes of the extended errors.
    pub(super) fn ede(&self) -> Option<u16> {
        let data = self.edns.as_ref()?.1.get(&15)?;
        Some(u16::from_be_bytes(*data.first_chunk()?))
    }

    /// The records of a type in the answer section.
    pub(super) fn of(&self, kind: u16) -> impl Iterator<Item = &Record> {
        self.sections[0].iter().filter(move |of| of.kind == kind)
    }
}

struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.packet.get(self.at..self.at + length)?;
        self.at += length;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)
            .map(|octets| u16::from_be_bytes([octets[0], octets[1]]))
    }

    /// A name, whole and in small letters.
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut after = None;
        let mut at = self.at;
        loop {
            let length = *self.packet.get(at)?;
            if length >= 0xc0 {
                let low = *self.packet.get(at + 1)?;
                after.get_or_insert(at + 2);
                let to = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                // A pointer to what comes later might be a loop.
                if to >= at {
                    return None;
                }
                at = to;
                continue;
            }
            let label = self.packet.get(at..=at + usize::from(length))?;
            name.extend(label.iter().map(u8::to_ascii_lowercase));
            at += label.len();
            if length == 0 {
                break;
            }
        }
        self.at = after.unwrap_or(at);
        Some(name)
    }

    /// The data of a record with its names made whole (the types of RFC 4034 section 6.2).
    fn data(&mut self, kind: u16, end: usize) -> Option<Vec<u8>> {
        let (before, names) = match kind {
            2..=5 | 7..=9 | 12 | DNAME => (0, 1),
            SOA | 14 | 17 => (0, 2),
            15 | 18 | 21 | 36 => (2, 1),
            26 => (2, 2),
            33 => (6, 1),
            24 | RRSIG => (18, 1),
            47 => (0, 1),
            35 => {
                let mut length = 4;
                for _ in 0..3 {
                    length += 1 + usize::from(*self.packet.get(self.at + length)?);
                }
                (length, 1)
            }
            _ => (0, 0),
        };
        let mut data = self.take(before)?.to_vec();
        for _ in 0..names {
            data.extend(self.name()?);
        }
        data.extend(self.take(end.checked_sub(self.at)?)?);
        Some(data)
    }

    fn options(&mut self, end: usize) -> Option<BTreeMap<u16, Vec<u8>>> {
        let mut options = BTreeMap::new();
        while self.at < end {
            let code = self.u16()?;
            let length = usize::from(self.u16()?);
            let data = self.take(length)?.to_vec();
            // The first of several extended errors is the one that counts here.
            options.entry(code).or_insert(data);
        }
        Some(options)
    }
}

/// A name from a zone file, absolute, with nothing but `\DDD` for what is no letter, digit, `-`, `_` or `*`.
pub(super) fn name(text: &str) -> Vec<u8> {
    let mut name = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        let mut octets = Vec::new();
        let mut rest = label.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            if *first == b'\\' {
                let (digits, after) = rest.split_at(3);
                octets.push(std::str::from_utf8(digits).unwrap().parse().unwrap());
                rest = after;
            } else {
                octets.push(*first);
            }
        }
        name.push(u8::try_from(octets.len()).unwrap());
        name.extend(octets);
    }
    name.push(0);
    name
}
