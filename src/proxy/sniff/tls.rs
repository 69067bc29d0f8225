//! PURE. The host name in a TLS ClientHello (RFC 8446 section 4.1.2, the server name of RFC 6066 section 3).
//!
//! The hello may come in any number of segments and records (RFC 8446 section 5.1) and may name its extensions in any
//! order. It is walked where it lies; only the name is copied. Called by `transparent/tls`, and for QUIC by
//! the parser beside it.

use crate::net::Host;

/// The longest ClientHello that is read, in bytes.
pub const LONGEST_HELLO: usize = 65_536;

/// How many records a ClientHello may be spread over; bounds the work that one hello can cause.
const MOST_RECORDS: usize = 4_096;

/// RFC 8446 section 5.1: `TLSPlaintext.length`.
const LONGEST_RECORD: usize = 1 << 14;

/// The longest host name (RFC 1035 section 2.3.4), and room for a final dot.
const LONGEST_NAME: usize = 254;

/// What a prefix of a stream says about the name it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// The server name; always [`Host::Name`].
    Found(Host),
    /// A whole ClientHello without a server name.
    NoName,
    /// Something other than TLS.
    NotTls,
    /// TLS that breaks its own rules; the text says which.
    Malformed(&'static str),
    /// Good so far, but it goes on.
    NeedMore,
}

/// Why the walk ended before its goal.
enum Stop {
    NotTls,
    Malformed(&'static str),
    More,
}

/// Looks for the server name in the bytes read so far.
pub fn sniff(bytes: &[u8]) -> Sniffed {
    outcome(Hello {
        input: Some(bytes),
        fragment: &[],
        records: 0,
        left: 4,
    })
}

/// As [`sniff`], in a handshake message that no records carry, as in QUIC (RFC 9001 section 4).
pub fn sniff_message(bytes: &[u8]) -> Sniffed {
    outcome(Hello {
        input: None,
        fragment: bytes,
        records: 0,
        left: 4,
    })
}

fn outcome(mut hello: Hello<'_>) -> Sniffed {
    match hello.server_name() {
        Ok(Some(host)) => Sniffed::Found(host),
        Ok(None) => Sniffed::NoName,
        Err(Stop::NotTls) => Sniffed::NotTls,
        Err(Stop::Malformed(why)) => Sniffed::Malformed(why),
        Err(Stop::More) => Sniffed::NeedMore,
    }
}

/// The handshake message, seen through the records that carry it.
struct Hello<'a> {
    /// What follows the current record; `None` where there are no records.
    input: Option<&'a [u8]>,
    /// What is left of the current record, as far as it was read.
    fragment: &'a [u8],
    /// Records begun.
    records: usize,
    /// Bytes left of the message: first of its header, then of its body.
    left: usize,
}

impl Hello<'_> {
    fn server_name(&mut self) -> Result<Option<Host>, Stop> {
        const CLIENT_HELLO: u8 = 1;
        const SERVER_NAME: usize = 0;
        if self.byte()? != CLIENT_HELLO {
            return Err(Stop::Malformed("the first message is no ClientHello"));
        }
        let length = self.number(3)?;
        if length > LONGEST_HELLO {
            return Err(Stop::Malformed("the ClientHello is longer than 64 KiB"));
        }
        self.left = length;
        // legacy_version and random
        self.skip(2 + 32)?;
        let session = self.number(1)?;
        if session > 32 {
            return Err(Stop::Malformed("the session id is longer than 32 bytes"));
        }
        self.skip(session)?;
        let suites = self.number(2)?;
        self.skip(suites)?;
        let compressions = self.number(1)?;
        self.skip(compressions)?;
        if self.left == 0 {
            return Ok(None);
        }
        if self.number(2)? != self.left {
            return Err(Stop::Malformed("the extensions do not fill the hello"));
        }
        while self.left > 0 {
            let kind = self.number(2)?;
            let length = self.number(2)?;
            if kind == SERVER_NAME {
                return self.server_name_list(length).map(Some);
            }
            self.skip(length)?;
        }
        Ok(None)
    }

    /// `ServerNameList`: the only type of name that exists is `host_name`, once.
    fn server_name_list(&mut self, length: usize) -> Result<Host, Stop> {
        const HOST_NAME: u8 = 0;
        const WRONG: Stop = Stop::Malformed("the server name list has wrong lengths");
        if length > self.left || self.number(2)?.checked_add(2) != Some(length) {
            return Err(WRONG);
        }
        if self.byte()? != HOST_NAME {
            return Err(Stop::Malformed("the server name is of an unknown type"));
        }
        let name = self.number(2)?;
        if name == 0 || name.checked_add(5) != Some(length) {
            return Err(WRONG);
        }
        let mut room = [0; LONGEST_NAME];
        let Some(room) = room.get_mut(..name) else {
            return Err(Stop::Malformed("the server name is too long"));
        };
        self.copy(room)?;
        match std::str::from_utf8(room).map(Host::parse) {
            Ok(Ok(host @ Host::Name(_))) => Ok(host),
            _ => Err(Stop::Malformed("the server name is no host name")),
        }
    }

    /// Makes sure that the fragment has a byte.
    fn fill(&mut self) -> Result<(), Stop> {
        const HANDSHAKE: u8 = 22;
        if !self.fragment.is_empty() {
            return Ok(());
        }
        let Some(input) = self.input else {
            return Err(Stop::More);
        };
        match input {
            // Any minor version: it says nothing (RFC 8446 section 5.1, RFC 5246 appendix E.1).
            [HANDSHAKE, 3, ..] | [HANDSHAKE] | [] => {}
            _ => return Err(Stop::NotTls),
        }
        let [_, _, _, high, low, rest @ ..] = input else {
            return Err(Stop::More);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length == 0 || length > LONGEST_RECORD {
            return Err(Stop::Malformed("a record is empty or longer than 2^14"));
        }
        self.records += 1;
        if self.records > MOST_RECORDS {
            return Err(Stop::Malformed(
                "the ClientHello is spread over too many records",
            ));
        }
        // A record that was not read to its end leaves no input behind it.
        let (fragment, rest) = rest.split_at(length.min(rest.len()));
        self.fragment = fragment;
        self.input = Some(rest);
        if fragment.is_empty() {
            return Err(Stop::More);
        }
        Ok(())
    }

    /// Goes on by up to `most` bytes, which lie in one piece.
    fn piece(&mut self, most: usize) -> Result<&[u8], Stop> {
        self.fill()?;
        let (piece, rest) = self.fragment.split_at(most.min(self.fragment.len()));
        self.fragment = rest;
        self.left -= piece.len();
        Ok(piece)
    }

    fn within(&self, count: usize) -> Result<(), Stop> {
        if count > self.left {
            return Err(Stop::Malformed("a length points beyond the hello"));
        }
        Ok(())
    }

    fn skip(&mut self, mut count: usize) -> Result<(), Stop> {
        self.within(count)?;
        while count > 0 {
            count -= self.piece(count)?.len();
        }
        Ok(())
    }

    fn copy(&mut self, mut room: &mut [u8]) -> Result<(), Stop> {
        self.within(room.len())?;
        while !room.is_empty() {
            let piece = self.piece(room.len())?;
            let (now, later) = room.split_at_mut(piece.len());
            now.copy_from_slice(piece);
            room = later;
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let mut room = [0];
        self.copy(&mut room)?;
        Ok(room[0])
    }

    /// A big-endian number of up to four bytes.
    fn number(&mut self, bytes: usize) -> Result<usize, Stop> {
        let mut number = 0;
        for _ in 0..bytes {
            number = number << 8 | usize::from(self.byte()?);
        }
        Ok(number)
    }
}

#[cfg(test)]
mod oracle;

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const CAPTURES: [(&str, &[u8]); 5] = [
        (
            "tls12.example.test",
            include_bytes!("../../../tests/captures/openssl-tls12.bin"),
        ),
        (
            "tls13.example.test",
            include_bytes!("../../../tests/captures/openssl-tls13.bin"),
        ),
        (
            "curl.example.test",
            include_bytes!("../../../tests/captures/curl.bin"),
        ),
        (
            "video.example.test",
            include_bytes!("../../../tests/captures/chromium.bin"),
        ),
        (
            "firefox.example.test",
            include_bytes!("../../../tests/captures/firefox.bin"),
        ),
    ];

    fn found(name: &str) -> Sniffed {
        Sniffed::Found(Host::parse(name).unwrap())
    }

    /// The handshake message of a capture, which lies in one record.
    pub(super) fn message(capture: &[u8]) -> &[u8] {
        &capture[5..5 + usize::from(u16::from_be_bytes([capture[3], capture[4]]))]
    }

    pub(super) fn records(message: &[u8], length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in message.chunks(length) {
            bytes.extend([22, 3, 1]);
            bytes.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
            bytes.extend(piece);
        }
        bytes
    }

    /// A hello with one extension block.
    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let mut message = vec![1];
        message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        message.extend(body);
        records(&message, LONGEST_RECORD)
    }

    fn server_name(name: &[u8]) -> Vec<u8> {
        let length = u16::try_from(name.len()).unwrap();
        let mut bytes = vec![0, 0];
        bytes.extend((length + 5).to_be_bytes());
        bytes.extend((length + 3).to_be_bytes());
        bytes.push(0);
        bytes.extend(length.to_be_bytes());
        bytes.extend(name);
        bytes
    }

    #[test]
    fn every_prefix_of_every_capture_needs_more_until_the_name_is_found() {
        for (name, capture) in CAPTURES {
            let first = (0..=capture.len())
                .find(|&length| sniff(&capture[..length]) != Sniffed::NeedMore)
                .unwrap();
            for length in first..=capture.len() {
                assert_eq!(sniff(&capture[..length]), found(name), "{name} {length}");
            }
        }
    }

    #[test]
    fn a_hello_is_found_over_records_of_any_size() {
        for (name, capture) in CAPTURES {
            for size in [1, 2, 7, 100, 300, 1400] {
                let split = records(message(capture), size);
                assert_eq!(sniff(&split), found(name), "{name} in {size}");
                let all_but_start = (0..split.len()).filter(|&end| {
                    !matches!(sniff(&split[..end]), Sniffed::NeedMore | Sniffed::Found(_))
                });
                assert_eq!(all_but_start.count(), 0, "{name} in {size}");
            }
        }
    }

    #[test]
    fn a_message_without_records_is_read_like_one_in_records() {
        for (name, capture) in CAPTURES {
            let whole = message(capture);
            let first = (0..=whole.len())
                .find(|&length| sniff_message(&whole[..length]) != Sniffed::NeedMore)
                .unwrap();
            for length in first..=whole.len() {
                assert_eq!(sniff_message(&whole[..length]), found(name), "{name}");
            }
        }
        let nameless = hello(&[]);
        assert_eq!(sniff_message(message(&nameless)), Sniffed::NoName);
    }

    #[test]
    fn no_flipped_bit_and_no_truncation_panics_or_finds_an_address() {
        for (_, capture) in CAPTURES {
            let mut bytes = capture.to_vec();
            for index in 0..bytes.len() {
                for bit in 0..8 {
                    bytes[index] ^= 1 << bit;
                    if let Sniffed::Found(host) = sniff(&bytes) {
                        assert!(matches!(host, Host::Name(_)));
                    }
                    bytes[index] ^= 1 << bit;
                }
                assert!(!matches!(sniff(&capture[index + 1..]), Sniffed::NoName));
            }
        }
    }

    #[test]
    fn the_version_of_a_record_says_nothing() {
        for (name, capture) in CAPTURES {
            let mut bytes = capture.to_vec();
            for minor in [0, 1, 2, 3, 4, 255] {
                bytes[2] = minor;
                assert_eq!(sniff(&bytes), found(name), "3.{minor}");
            }
        }
    }

    #[test]
    fn a_hello_without_a_name_says_so() {
        let capture = include_bytes!("../../../tests/captures/openssl-no-name.bin");
        assert_eq!(sniff(capture), Sniffed::NoName);
        assert_eq!(sniff(&hello(&[])), Sniffed::NoName);
        assert_eq!(sniff(&hello(&[0, 16, 0, 1, 0])), Sniffed::NoName);
    }

    #[test]
    fn the_name_may_be_the_last_of_many_extensions() {
        let mut extensions = [0x6a, 0x6a, 0, 1, 0].repeat(800);
        extensions.extend(server_name(b"Last.Example"));
        assert_eq!(sniff(&hello(&extensions)), found("last.example"));
    }

    #[test]
    fn a_hello_of_nearly_64_kib_is_read_and_a_longer_one_refused() {
        let mut extensions = vec![0, 21, 0xea, 0x60];
        extensions.extend(vec![0; 60_000]);
        extensions.extend(server_name(b"long.example"));
        let bytes = hello(&extensions);
        assert!(bytes.len() > 60_000);
        assert_eq!(sniff(&bytes), found("long.example"));
        assert_eq!(
            sniff(&[22, 3, 1, 0x40, 0, 1, 1, 0, 1]),
            Sniffed::Malformed("the ClientHello is longer than 64 KiB")
        );
    }

    #[test]
    fn what_is_not_tls_is_known_by_its_first_bytes() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"G",
            b"SSH-2.0-x",
            &[21, 3, 1, 0, 2, 2, 0],
            &[22, 2, 0],
            &[22, 4, 0],
            &[0x80, 0x2e, 1, 3, 1],
        ] {
            assert_eq!(sniff(bytes), Sniffed::NotTls, "{bytes:?}");
        }
        assert_eq!(sniff(b""), Sniffed::NeedMore);
    }

    #[test]
    fn what_breaks_the_rules_is_malformed() {
        for bytes in [
            vec![22, 3, 1, 0, 0],
            vec![22, 3, 1, 0x40, 1],
            vec![22, 3, 1, 0, 4, 2, 0, 0, 0],
            hello(&[0, 16, 0, 9, 0]),
            hello(&server_name(b"")),
            hello(&server_name(b"192.0.2.1")),
            hello(&server_name(b"2001:db8::1")),
            hello(&server_name(b"[::1]")),
            hello(&server_name(b"127.1")),
            hello(&server_name(b"a b.example")),
            hello(&server_name(b"caf\xe9.example")),
            hello(&server_name(b"a.example\0.evil.example")),
            hello(&server_name("a".repeat(300).as_bytes())),
            hello(&[0, 0, 0, 5, 0, 3, 1, 0, 0]),
            hello(&[0, 0, 0, 1, 0]),
        ] {
            assert!(matches!(sniff(&bytes), Sniffed::Malformed(_)), "{bytes:?}");
        }
    }

    #[test]
    fn a_hello_over_too_many_records_is_refused() {
        let mut extensions = vec![0, 21, 0x13, 0x88];
        extensions.extend(vec![0; 5_000]);
        extensions.extend(server_name(b"many.example"));
        let whole = hello(&extensions);
        assert_eq!(
            sniff(&records(message(&whole), 1)),
            Sniffed::Malformed("the ClientHello is spread over too many records")
        );
        assert_eq!(sniff(&records(message(&whole), 2)), found("many.example"));
    }
}
