//! PURE. The PROXY protocol, versions 1 and 2 (proxy-protocol.txt of HAProxy): a proxy in front of us announces the client
//! for whom it speaks, and we do the same to origins where asked.
//!
//! Called by `proxy` before anything else is read, and only for peers that are listed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Beginning;

/// The longest header that is read, in bytes. The length in version 2 could be 64 KiB; extensions (TLVs) of real proxies
/// are far shorter than this.
pub const LONGEST_PROXY_HEADER: usize = 4 << 10;

/// Which version is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyVersion {
    /// `v1` or `v2`, as in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// The two ends of the connection that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Who speaks.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

/// Section 2.2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Section 2.1: the longest line, its end included.
const LONGEST_LINE: usize = 107;

/// Reads a header of either version. `None` is a connection that the proxy made for itself (LOCAL), or whose ends it does
/// not know (UNKNOWN, UNSPEC) or that is not TCP over IP: then the ends are those of the connection itself.
pub fn proxy_header(bytes: &[u8]) -> Beginning<Option<Announced>> {
    const NOT_THIS: Beginning<Option<Announced>> = Beginning::NotThis(
        "the peer is listed in proxy.proxy-protocol-from, and sent no PROXY header",
    );
    let begins = |with: &[u8]| {
        let common = bytes.len().min(with.len());
        bytes.get(..common) == with.get(..common)
    };
    if begins(SIGNATURE) {
        binary(bytes)
    } else if begins(b"PROXY ") {
        line(bytes)
    } else {
        NOT_THIS
    }
}

/// Section 2.1.
fn line(bytes: &[u8]) -> Beginning<Option<Announced>> {
    let seen = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
    let end = seen.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    let Some(end) = end else {
        return if seen.len() == LONGEST_LINE {
            Beginning::NotThis("the PROXY line is too long")
        } else {
            Beginning::NeedMore
        };
    };
    let text = match seen.get(end..) {
        Some([b'\r', b'\n', ..]) => seen.get(..end).unwrap_or_default(),
        Some([b'\r']) if seen.len() < LONGEST_LINE => return Beginning::NeedMore,
        _ => return Beginning::NotThis("the PROXY line has no right end"),
    };
    match std::str::from_utf8(text).ok().and_then(fields) {
        Some(announced) => Beginning::Found(announced, end + 2),
        // What follows UNKNOWN means nothing, whatever it is.
        None if text.starts_with(b"PROXY UNKNOWN ") => Beginning::Found(None, end + 2),
        None => Beginning::NotThis("the PROXY line cannot be read"),
    }
}

fn fields(line: &str) -> Option<Option<Announced>> {
    let mut fields = line.split(' ').skip(1);
    let family = fields.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let mut address = || -> Option<IpAddr> {
        let text = fields.next()?;
        match family {
            "TCP4" => text.parse().ok().map(IpAddr::V4),
            "TCP6" => text.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || -> Option<u16> {
        let text = fields.next()?;
        let canonical = text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        text.parse().ok().filter(|_| canonical)
    };
    let (from, to) = (port()?, port()?);
    if fields.next().is_some() {
        return None;
    }
    Some(Some(Announced {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    }))
}

/// Section 2.2.
fn binary(bytes: &[u8]) -> Beginning<Option<Announced>> {
    const VERSION: u8 = 2;
    let Some(&command) = bytes.get(12) else {
        return Beginning::NeedMore;
    };
    let is_local = match (command >> 4, command & 15) {
        (VERSION, 0) => true,
        (VERSION, 1) => false,
        _ => return Beginning::NotThis("the PROXY header has an unknown version or command"),
    };
    let Some(&kind) = bytes.get(13) else {
        return Beginning::NeedMore;
    };
    if !is_local && (kind >> 4 > 3 || kind & 15 > 2) {
        return Beginning::NotThis("the PROXY header has an unknown family or protocol");
    }
    let Some(&[high, low]) = bytes.get(14..16) else {
        return Beginning::NeedMore;
    };
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_PROXY_HEADER {
        return Beginning::NotThis("the PROXY header is too long");
    }
    let Some(header) = bytes.get(..length) else {
        return Beginning::NeedMore;
    };
    let body = header.get(16..).unwrap_or_default();
    if is_local {
        return Beginning::Found(None, length);
    }
    const TCP4: u8 = 0x11;
    const TCP6: u8 = 0x21;
    let read = match kind {
        TCP4 => ends::<4>(body),
        TCP6 => ends::<16>(body),
        // What a receiver need not know counts as unspecified.
        _ => return Beginning::Found(None, length),
    };
    let Some((announced, extensions)) = read else {
        return Beginning::NotThis("the PROXY header is too short for its addresses");
    };
    match extensions_hold(header, extensions) {
        true => Beginning::Found(Some(announced), length),
        false => Beginning::NotThis("the PROXY header is damaged"),
    }
}

/// The two ends, with addresses of so many bytes, and what follows them.
fn ends<const SIZE: usize>(body: &[u8]) -> Option<(Announced, &[u8])>
where
    IpAddr: From<[u8; SIZE]>,
{
    let (source, rest) = body.split_first_chunk::<SIZE>()?;
    let (destination, rest) = rest.split_first_chunk::<SIZE>()?;
    let (from, rest) = rest.split_first_chunk::<2>()?;
    let (to, rest) = rest.split_first_chunk::<2>()?;
    let end = |address: &[u8; SIZE], port: &[u8; 2]| {
        SocketAddr::new(IpAddr::from(*address), u16::from_be_bytes(*port))
    };
    let announced = Announced {
        source: end(source, from),
        destination: end(destination, to),
    };
    Some((announced, rest))
}

/// Whether the extensions are whole, and the checksum right where there is one (section 2.2.3).
fn extensions_hold(header: &[u8], mut extensions: &[u8]) -> bool {
    const CRC32C: u8 = 3;
    while !extensions.is_empty() {
        let place = header.len() - extensions.len();
        let Some((&[kind, high, low], rest)) = extensions.split_first_chunk::<3>() else {
            return false;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some((value, rest)) = rest.split_at_checked(length) else {
            return false;
        };
        if kind == CRC32C {
            let Ok(told) = <[u8; 4]>::try_from(value) else {
                return false;
            };
            let mut zeroed = header.to_vec();
            if let Some(field) = zeroed.get_mut(place + 3..place + 7) {
                field.fill(0);
            }
            if crc32c(&zeroed) != u32::from_be_bytes(told) {
                return false;
            }
        }
        extensions = rest;
    }
    true
}

/// RFC 4960 appendix B (Castagnoli), bit by bit: headers are short, and few have it.
fn crc32c(bytes: &[u8]) -> u32 {
    const REVERSED: u32 = 0x82f6_3b78;
    let mut sum = !0;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            let out = sum & 1;
            sum >>= 1;
            if out == 1 {
                sum ^= REVERSED;
            }
        }
    }
    !sum
}

impl Announced {
    /// The header that announces these ends. Ends of different families are both told as IPv6, an IPv4 address as
    /// IPv4-mapped.
    pub fn header(self, version: ProxyVersion) -> Vec<u8> {
        let (from, to) = (self.source.port(), self.destination.port());
        let ends = (self.source.ip(), self.destination.ip());
        match (version, ends) {
            (ProxyVersion::V1, (IpAddr::V4(source), IpAddr::V4(destination))) => {
                format!("PROXY TCP4 {source} {destination} {from} {to}\r\n").into_bytes()
            }
            (ProxyVersion::V1, (source, destination)) => {
                let (source, destination) = (mapped(source), mapped(destination));
                format!("PROXY TCP6 {source} {destination} {from} {to}\r\n").into_bytes()
            }
            (ProxyVersion::V2, (IpAddr::V4(source), IpAddr::V4(destination))) => {
                let ends = [source.octets(), destination.octets()].concat();
                packed(0x11, &ends, from, to)
            }
            (ProxyVersion::V2, (source, destination)) => {
                let ends = [mapped(source).octets(), mapped(destination).octets()].concat();
                packed(0x21, &ends, from, to)
            }
        }
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::to_ipv6_mapped(&address),
        IpAddr::V6(address) => address,
    }
}

fn packed(kind: u8, ends: &[u8], from: u16, to: u16) -> Vec<u8> {
    let length = u16::try_from(ends.len() + 4).unwrap_or(u16::MAX);
    [
        SIGNATURE,
        &[0x21, kind][..],
        &length.to_be_bytes(),
        ends,
        &from.to_be_bytes(),
        &to.to_be_bytes(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(source: &str, destination: &str) -> Announced {
        Announced {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    /// With extensions behind the addresses.
    fn extended(extensions: &[u8]) -> Vec<u8> {
        let mut header = announced("192.0.2.1:5", "192.0.2.2:443").header(ProxyVersion::V2);
        header.extend(extensions);
        let length = u16::try_from(header.len() - 16).unwrap();
        header[14..16].copy_from_slice(&length.to_be_bytes());
        header
    }

    /// With the right checksum, between two other extensions.
    fn summed() -> Vec<u8> {
        let mut header = extended(&[4, 0, 2, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0xea, 0, 1, 7]);
        let sum = crc32c(&header).to_be_bytes();
        header[36..40].copy_from_slice(&sum);
        header
    }

    fn good() -> Vec<(Vec<u8>, Option<Announced>)> {
        let four = announced("192.168.0.1:56324", "192.168.0.11:443");
        let six = announced("[2001:db8::1]:1", "[2001:db8::2]:65535");
        let of_extended = announced("192.0.2.1:5", "192.0.2.2:443");
        let local = [&SIGNATURE[..], &[0x20, 0xff, 0, 3, 1, 2, 3]].concat();
        let unspecified = [&SIGNATURE[..], &[0x21, 0, 0, 0]].concat();
        let unix = [&SIGNATURE[..], &[0x21, 0x31, 0, 2, 0, 0]].concat();
        let mut good = vec![
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN \xff\x00 what\r\n".to_vec(), None),
            (
                b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(),
                Some(four),
            ),
            (local, None),
            (unspecified, None),
            (unix, None),
            (extended(&[0x20, 0, 3, 1, 2, 3]), Some(of_extended)),
            (summed(), Some(of_extended)),
        ];
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            good.extend([four, six].map(|ends| (ends.header(version), Some(ends))));
        }
        good
    }

    #[test]
    fn every_header_is_found_at_its_last_byte_and_not_before() {
        for (header, expected) in good() {
            for end in 0..header.len() {
                assert_eq!(
                    proxy_header(&header[..end]),
                    Beginning::NeedMore,
                    "{end} of {header:?}"
                );
            }
            for behind in [&b""[..], b"GET / HTTP/1.1\r\n\r\n"] {
                assert_eq!(
                    proxy_header(&[&header, behind].concat()),
                    Beginning::Found(expected, header.len())
                );
            }
        }
    }

    #[test]
    fn what_is_not_a_header_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\n",
            "\u{16}\u{3}\u{1}",
            "PROXY\r\n",
            "PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n",
            "PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n",
            "PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
            "PROXY TCP4 1.2.3.4 ::1 1 1\r\n",
            "PROXY TCP6 1.2.3.4 ::1 1 1\r\n",
            "PROXY TCP4 01.2.3.4 1.2.3.4 1 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\rx",
            "PROXY UNKNOWN\n",
            "PROXY UNKNOWNS\r\n",
        ] {
            let read = proxy_header(text.as_bytes());
            assert!(matches!(read, Beginning::NotThis(_)), "{text}: {read:?}");
        }
        let binary = |rest: &[u8]| [&SIGNATURE[..], rest].concat();
        for bytes in [
            binary(&[0x11]),
            binary(&[0x22]),
            binary(&[0x21, 0x41]),
            binary(&[0x21, 0x13]),
            binary(&[0x21, 0x11, 0, 11, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
            binary(&[0x21, 0x21, 0, 12, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
            extended(&[4]),
            extended(&[4, 0, 2, 0]),
            extended(&[3, 0, 3, 0, 0, 0]),
            extended(&[3, 0, 4, 1, 2, 3, 4]),
        ] {
            let read = proxy_header(&bytes);
            assert!(matches!(read, Beginning::NotThis(_)), "{bytes:?}: {read:?}");
        }
    }

    #[test]
    fn a_header_that_is_too_long_is_refused_at_the_bound() {
        let unknown = |length: usize| {
            let filler = "x".repeat(length - "PROXY UNKNOWN \r\n".len());
            format!("PROXY UNKNOWN {filler}\r\n").into_bytes()
        };
        assert_eq!(proxy_header(&unknown(107)), Beginning::Found(None, 107));
        assert!(matches!(proxy_header(&unknown(108)), Beginning::NotThis(_)));
        let longest = extended(&vec![0; LONGEST_PROXY_HEADER - 28]);
        assert!(matches!(proxy_header(&longest[..20]), Beginning::NeedMore));
        let longer = extended(&vec![0; LONGEST_PROXY_HEADER - 27]);
        assert!(matches!(proxy_header(&longer[..16]), Beginning::NotThis(_)));
    }

    #[test]
    fn a_flipped_bit_below_the_checksum_is_seen_and_nowhere_read_past_the_end() {
        for (header, _) in good() {
            for place in 0..header.len() * 8 {
                let mut changed = header.clone();
                changed[place / 8] ^= 1 << (place % 8);
                if let Beginning::Found(_, length) = proxy_header(&changed) {
                    assert!(length <= changed.len());
                }
            }
        }
        let header = summed();
        for place in 16 * 8..28 * 8 {
            let mut changed = header.clone();
            changed[place / 8] ^= 1 << (place % 8);
            let read = proxy_header(&changed);
            assert!(matches!(read, Beginning::NotThis(_)), "{place}: {read:?}");
        }
    }

    #[test]
    fn ends_of_different_families_are_told_as_ipv6() {
        let mixed = announced("192.0.2.1:5", "[2001:db8::2]:443");
        assert_eq!(
            mixed.header(ProxyVersion::V1),
            b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 5 443\r\n"
        );
        let told = announced("[::ffff:192.0.2.1]:5", "[2001:db8::2]:443");
        let header = mixed.header(ProxyVersion::V2);
        assert_eq!(
            proxy_header(&header),
            Beginning::Found(Some(told), header.len())
        );
    }

    #[test]
    fn the_checksum_is_the_one_of_the_rfc() {
        // RFC 3720 appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
