//! PURE. The headers of QUIC packets, so far as they can be read without a key (RFC 8999; RFC 9000 section 17; RFC 9369
//! section 3.2 for the types of version 2), and packets that need none: Version Negotiation.
//!
//! Called by the sniffer beside it, by `refuse`, and by the flow table of `transparent/quic`.

/// RFC 9000 section 17.2: the longest connection ID of versions 1 and 2.
pub const LONGEST_ID: usize = 20;

/// RFC 9000 section 14.1: a datagram that begins a connection is at least this long, in bytes.
pub const SHORTEST_FIRST: usize = 1200;

/// RFC 9000 section 7.2: the ID that a client makes up for the server is at least this long, in bytes.
const SHORTEST_FIRST_ID: usize = 8;

/// A version that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 9000.
    V1,
    /// RFC 9369.
    V2,
}

impl Version {
    const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// RFC 9000 section 15, RFC 9369 section 3.1.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::V1 => 0x0000_0001,
            Self::V2 => 0x6b33_43cf,
        }
    }

    pub(super) fn of_keys(self) -> rustls::quic::Version {
        match self {
            Self::V1 => rustls::quic::Version::V1,
            Self::V2 => rustls::quic::Version::V2,
        }
    }
}

/// What a long header says that every version has (RFC 8999 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Long<'a> {
    /// The first byte.
    pub first: u8,
    /// 0 is Version Negotiation.
    pub version: u32,
    /// Destination Connection ID; at most 255 bytes.
    pub destination: &'a [u8],
    /// Source Connection ID; at most 255 bytes.
    pub source: &'a [u8],
    /// What follows.
    pub rest: &'a [u8],
}

/// The type of a packet with a long header, in a version that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// The packets that the keys can be guessed of.
    Initial,
    /// Early data of the client.
    ZeroRtt,
    /// What follows the Initial packets.
    Handshake,
    /// The server wants to see that the client's address is its own.
    Retry,
}

impl<'a> Long<'a> {
    /// The long header that a packet begins with; `None` for a short header, and for what is cut off.
    pub fn read(packet: &'a [u8]) -> Option<Self> {
        let (first, rest) = packet.split_first()?;
        if first & 0x80 == 0 {
            return None;
        }
        let (version, rest) = rest.split_first_chunk()?;
        let (destination, rest) = id(rest)?;
        let (source, rest) = id(rest)?;
        Some(Self {
            first: *first,
            version: u32::from_be_bytes(*version),
            destination,
            source,
            rest,
        })
    }

    /// The version, if it is one that we read, and its IDs are as it allows.
    pub fn known(&self) -> Option<Version> {
        let short = self.destination.len() <= LONGEST_ID && self.source.len() <= LONGEST_ID;
        let version = Version::ALL
            .into_iter()
            .find(|version| version.number() == self.version)?;
        short.then_some(version)
    }

    /// The type in this version.
    pub fn kind(&self, version: Version) -> Type {
        let bits = (self.first >> 4) & 3;
        // RFC 9369 section 3.2 turns the types by one.
        let turned = match version {
            Version::V2 => bits.wrapping_sub(1) & 3,
            Version::V1 => bits,
        };
        match turned {
            0 => Type::Initial,
            1 => Type::ZeroRtt,
            2 => Type::Handshake,
            _ => Type::Retry,
        }
    }

    /// Whether a datagram of `length` bytes that begins with this header may begin a connection.
    pub fn begins(&self, length: usize) -> bool {
        let initial = self
            .known()
            .is_some_and(|version| self.kind(version) == Type::Initial);
        initial && length >= SHORTEST_FIRST && self.destination.len() >= SHORTEST_FIRST_ID
    }
}

impl Long<'_> {
    /// Whether this is a packet of a connection's first flight, which the client's own choice of an ID leads to the server:
    /// unless the server has chosen one without length.
    pub fn is_early(&self) -> bool {
        let kind = self.known().map(|version| self.kind(version));
        matches!(kind, Some(Type::Initial | Type::ZeroRtt)) && !self.destination.is_empty()
    }
}

fn id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// The answer to a client that speaks another version (RFC 9000 section 6.1): a Version Negotiation packet with those
/// that we read. `None` where none may be sent: to a datagram too short to begin a connection, which the answer might be
/// longer than, and to Version Negotiation itself.
pub fn negotiate(datagram: &[u8]) -> Option<Vec<u8>> {
    let long = Long::read(datagram)?;
    if datagram.len() < SHORTEST_FIRST || long.version == 0 || long.known().is_some() {
        return None;
    }
    // The bit that QUIC has in common with what it shares ports with is set, and the others are of no meaning.
    let mut answer = vec![0xc0, 0, 0, 0, 0];
    push_id(&mut answer, long.source)?;
    push_id(&mut answer, long.destination)?;
    for version in Version::ALL {
        answer.extend(version.number().to_be_bytes());
    }
    Some(answer)
}

/// Appends a connection ID behind its length; `None` if it has none.
pub(super) fn push_id(bytes: &mut Vec<u8>, id: &[u8]) -> Option<()> {
    bytes.push(u8::try_from(id.len()).ok()?);
    bytes.extend(id);
    Some(())
}

/// A variable-length integer (RFC 9000 section 16) and what follows it; `None` where it is cut off.
pub(super) fn integer(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = number
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    let bits = 8 * number.len() as u64 - 2;
    Some((value & ((1 << bits) - 1), rest))
}

/// As [`integer`], for a length; more than there can be is cut off as well.
pub(super) fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (value, rest) = integer(bytes)?;
    Some((usize::try_from(value).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long header with these IDs, filled up to `length` bytes.
    fn long(first: u8, version: u32, destination: &[u8], source: &[u8], length: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        bytes.extend(version.to_be_bytes());
        push_id(&mut bytes, destination).unwrap();
        push_id(&mut bytes, source).unwrap();
        bytes.resize(length, 0);
        bytes
    }

    #[test]
    fn integers_are_read_as_in_the_rfc() {
        // RFC 9000 appendix A.1.
        for (bytes, value) in [
            (&[0x25][..], 37),
            (&[0x40, 0x25], 37),
            (&[0x7b, 0xbd], 15_293),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
                151_288_809_941_952_652,
            ),
        ] {
            assert_eq!(integer(bytes), Some((value, &[][..])));
            assert_eq!(integer(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn the_types_of_version_2_are_turned_by_one() {
        for (bits, one, two) in [
            (0, Type::Initial, Type::Retry),
            (1, Type::ZeroRtt, Type::Initial),
            (2, Type::Handshake, Type::ZeroRtt),
            (3, Type::Retry, Type::Handshake),
        ] {
            let bytes = long(0xc0 | bits << 4, 1, &[], &[], 20);
            let header = Long::read(&bytes).unwrap();
            assert_eq!(header.kind(Version::V1), one);
            assert_eq!(header.kind(Version::V2), two);
        }
    }

    #[test]
    fn a_connection_begins_with_a_long_datagram_an_initial_packet_and_a_long_id() {
        let begins = |bytes: &[u8]| Long::read(bytes).is_some_and(|long| long.begins(bytes.len()));
        assert!(begins(&long(0xc0, 1, &[1; 8], &[], 1200)));
        assert!(begins(&long(0xd0, 0x6b33_43cf, &[1; 20], &[2; 20], 1252)));
        assert!(!begins(&long(0xc0, 1, &[1; 8], &[], 1199)));
        assert!(!begins(&long(0xc0, 1, &[1; 7], &[], 1200)));
        assert!(!begins(&long(0xc0, 1, &[1; 21], &[], 1200)));
        assert!(!begins(&long(0xe0, 1, &[1; 8], &[], 1200)));
        assert!(!begins(&long(0xc0, 2, &[1; 8], &[], 1200)));
        assert!(!begins(&long(0x40, 1, &[1; 8], &[], 1200)));
    }

    #[test]
    fn another_version_is_answered_with_ours_and_the_ids_turned_around() {
        let asked = long(0xc0, 0xff00_001d, b"destination", b"source", 1200);
        let answer = negotiate(&asked).unwrap();
        let header = Long::read(&answer).unwrap();
        assert_eq!(header.version, 0);
        assert_eq!(
            (header.destination, header.source),
            (&b"source"[..], &b"destination"[..])
        );
        assert_eq!(header.rest, [0, 0, 0, 1, 0x6b, 0x33, 0x43, 0xcf]);
        assert!(answer.len() < asked.len());
    }

    #[test]
    fn versions_are_not_negotiated_with_those_who_know_ours_nor_with_short_datagrams() {
        for bytes in [
            long(0xc0, 1, b"destination", b"source", 1200),
            long(0xc0, 0x6b33_43cf, b"destination", b"source", 1200),
            long(0xc0, 0, b"destination", b"source", 1200),
            long(0xc0, 0xff00_001d, b"destination", b"source", 1199),
            long(0x40, 0xff00_001d, b"destination", b"source", 1200),
            vec![0xc0, 1, 1, 1, 1, 0xff],
        ] {
            assert_eq!(negotiate(&bytes), None);
        }
    }

    #[test]
    fn no_prefix_of_a_header_is_taken_for_it() {
        let bytes = long(0xc0, 1, b"destination", b"source", 24);
        let whole = 1 + 4 + 1 + 11 + 1 + 6;
        for length in 0..bytes.len() {
            assert_eq!(Long::read(&bytes[..length]).is_some(), length >= whole);
        }
    }
}
