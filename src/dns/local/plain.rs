//! PURE. The plainest names and data, from a zone file straight into wire form: nearly all of a large zone, and read
//! several times as fast as by way of hickory's types.
//!
//! What is not plain, or may be wrong, is left to [`data`](super::data), which says what is wrong. Where both read
//! something, they read the same: the tests hold them together.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{Name, RecordType};

use super::text::Token;

/// The longest name without the root's label.
const MAX_NAME: usize = 254;
const MAX_LABEL: usize = 63;
/// The longest string of a text.
const MAX_STRING: usize = 255;
/// The most strings of a text that is plain; together they are far from what fits a record.
const MAX_STRINGS: usize = 16;

/// What relative names go on with.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) name: Name,
    /// Its labels in wire form, without the root's.
    wire: Vec<u8>,
    /// Where the last label begins.
    last: usize,
}

impl Origin {
    pub(super) fn new(name: Name) -> Self {
        let mut wire = Vec::with_capacity(name.len());
        let mut last = 0;
        for label in name.iter() {
            last = wire.len();
            wire.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
            wire.extend_from_slice(label);
        }
        Self { name, wire, last }
    }
}

/// The type that a word means, if it is an everyday one.
pub(super) fn record_type(word: &str) -> Option<RecordType> {
    const TYPES: [(&str, RecordType); 8] = [
        ("A", RecordType::A),
        ("AAAA", RecordType::AAAA),
        ("CNAME", RecordType::CNAME),
        ("PTR", RecordType::PTR),
        ("TXT", RecordType::TXT),
        ("NS", RecordType::NS),
        ("MX", RecordType::MX),
        ("SRV", RecordType::SRV),
    ];
    TYPES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word))
        .map(|&(_, record_type)| record_type)
}

/// Reads the owner of a record into `key`; `None` if it is not plain.
pub(super) fn owner(raw: &str, origin: &Origin, key: &mut Vec<u8>) -> Option<()> {
    key.clear();
    name(raw, origin, key)?;
    // A length is at most 63, which is no letter.
    key.make_ascii_lowercase();
    Some(())
}

/// Reads the data of a record into `wire`; `None` if it is not plain.
pub(super) fn data(
    record_type: RecordType,
    tokens: &[Token<'_>],
    origin: &Origin,
    wire: &mut Vec<u8>,
) -> Option<()> {
    wire.clear();
    match (record_type, tokens) {
        (RecordType::A, [address]) => {
            wire.extend(address.raw.parse::<Ipv4Addr>().ok()?.octets());
            Some(())
        }
        (RecordType::AAAA, [address]) => {
            wire.extend(address.raw.parse::<Ipv6Addr>().ok()?.octets());
            Some(())
        }
        (RecordType::CNAME | RecordType::NS, [to]) => target(&to.raw, origin, wire),
        // A relative one may be a forgotten dot.
        (RecordType::PTR, [to]) if to.raw.ends_with('.') => target(&to.raw, origin, wire),
        (RecordType::TXT, [_, ..]) if tokens.len() <= MAX_STRINGS => {
            tokens.iter().try_for_each(|token| string(&token.raw, wire))
        }
        _ => None,
    }
}

fn target(raw: &str, origin: &Origin, wire: &mut Vec<u8>) -> Option<()> {
    let bare = raw.strip_suffix('.').unwrap_or(raw);
    if raw.contains(['/', ':']) || bare.parse::<Ipv4Addr>().is_ok() {
        return None;
    }
    name(raw, origin, wire)?;
    wire.push(0);
    Some(())
}

fn string(raw: &str, wire: &mut Vec<u8>) -> Option<()> {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'\\' && byte != b'"';
    if raw.is_empty() || raw.len() > MAX_STRING || !raw.bytes().all(plain) {
        return None;
    }
    wire.push(u8::try_from(raw.len()).ok()?);
    wire.extend_from_slice(raw.as_bytes());
    Some(())
}

/// Appends a name without the root's label.
fn name(raw: &str, origin: &Origin, wire: &mut Vec<u8>) -> Option<()> {
    let start = wire.len();
    if raw == "@" {
        wire.extend_from_slice(&origin.wire);
        return Some(());
    }
    let (own, absolute) = raw
        .strip_suffix('.')
        .map_or((raw, false), |own| (own, true));
    for label in own.as_bytes().split(|&byte| byte == b'.') {
        let plain = |byte: &u8| byte.is_ascii() && *byte != b'\\';
        if label.is_empty() || label.len() > MAX_LABEL || !label.iter().all(plain) {
            return None;
        }
        wire.push(u8::try_from(label.len()).ok()?);
        wire.extend_from_slice(label);
    }
    if !absolute {
        let last = origin.wire.get(origin.last..).unwrap_or_default();
        let end = wire.len().checked_sub(last.len())?;
        // The dot at the end may be forgotten.
        if !last.is_empty() && wire.get(end..)?.eq_ignore_ascii_case(last) {
            return None;
        }
        wire.extend_from_slice(&origin.wire);
    }
    (wire.len() - start <= MAX_NAME).then_some(())
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::serialize::{binary::BinEncodable, txt::parse_ttl};

    use super::super::data;
    use super::super::key::Key;
    use super::super::table;
    use super::super::text::entries;
    use super::*;

    fn origins() -> [Origin; 5] {
        let long = "x".repeat(60);
        let long = format!("{long}.{long}.{long}.arpa.");
        [".", "lan.", "Home.arpa.", "1.168.192.in-addr.arpa.", &long]
            .map(|text| Origin::new(Name::from_ascii(text).unwrap()))
    }

    /// Compares what both make of the first token as an owner, and of the others as data of each type.
    /// Returns how much was plain.
    fn compare(line: &str, origin: &Origin) -> usize {
        let mut plain = 0;
        entries(line, |entry| {
            let Ok(entry) = entry else {
                return;
            };
            let Some((first, rest)) = entry.tokens.split_first() else {
                return;
            };
            let mut wire = Vec::new();
            if owner(&first.raw, origin, &mut wire).is_some() {
                let name = data::name(&first.raw, &origin.name);
                let name = name.unwrap_or_else(|wrong| panic!("{line:?}: {wrong:?}"));
                assert_eq!(wire, Key::of(&name).whole(), "{line:?}");
                plain += 1;
            }
            use RecordType as T;
            for record_type in [T::A, T::AAAA, T::CNAME, T::NS, T::PTR, T::TXT, T::MX] {
                if data(record_type, rest, origin, &mut wire).is_none() {
                    continue;
                }
                let known = data::data(record_type, rest, &origin.name);
                let known = known.unwrap_or_else(|wrong| panic!("{line:?}: {wrong:?}"));
                assert_eq!(wire, known.to_bytes().unwrap(), "{record_type} {line:?}");
                assert_eq!(table::read(record_type, &wire).unwrap(), known, "{line:?}");
                plain += 1;
            }
        });
        plain
    }

    #[test]
    fn what_is_plain_is_read_as_the_reader_of_everything_reads_it() {
        let label = "x".repeat(63);
        let (long, longer) = (format!("{label}y"), format!("{label}.{label}.{label}"));
        let words = [
            "@",
            ".",
            "..",
            "nas",
            "NAS",
            "a.b",
            "a.b.",
            "a..b",
            ".a",
            "a.",
            "*",
            "*.apps",
            "_x._tcp",
            "lan",
            "LAN.",
            "nas.lan",
            "nas.home.arpa",
            "nas.Home.ARPA.",
            "arpa",
            "xarpa",
            "a\\.b",
            "a\\032b",
            "b\u{fc}ro",
            "1.2.3.4",
            "1.2.3.4.",
            "01.2.3.4",
            "256.1.1.1",
            "fd00::1",
            "FD00::A",
            "::ffff:1.2.3.4",
            "::",
            "1",
            "10.1",
            "https://x/",
            "x:80",
            "a/b",
            "\"\"",
            "\"a b; c\"",
            "\"say \\\"no\\\"\"",
            "k=\"v w\"",
            "\u{1}",
            "a\u{7f}",
            "#x",
            "$x",
            &label,
            &long,
            &longer,
            "\"\u{e9}\"",
            "''",
            "a,b",
            "\"\t\"",
            "xn--bcher-kva",
            "-",
            "=",
            "IN",
            "A",
            "3600",
        ];
        let mut plain = 0;
        for origin in &origins() {
            for word in words {
                for other in words {
                    for line in [format!("{word} {other}"), format!("{word} {word} {other}")] {
                        plain += compare(&line, origin);
                    }
                }
            }
            for length in 240..=257 {
                let name = format!("{longer}.{}", "y".repeat(length - longer.len()));
                plain += compare(&format!("{name} {name}"), origin);
                plain += compare(&format!("{name}. {name}."), origin);
                let text = "y".repeat(length);
                plain += compare(&format!("t {text} \"{text}\""), origin);
            }
        }
        assert!(plain > 10_000, "{plain}");
    }

    #[test]
    fn random_lines_are_read_as_the_reader_of_everything_reads_them() {
        let letters: Vec<char> = "aZ09-_.:*@/\\\"();$=# \t\u{1}\u{e9}\u{a0}"
            .chars()
            .collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % below
        };
        let origins = origins();
        let mut plain = 0;
        for _ in 0..50_000 {
            let mut line = String::from("a");
            for _ in 0..=random(12) {
                line.push(letters[random(letters.len())]);
            }
            plain += compare(&line, &origins[random(origins.len())]);
        }
        assert!(plain > 10_000, "{plain}");
    }

    #[test]
    fn the_words_of_everyday_types_mean_nothing_else() {
        for word in ["A", "aaaa", "Cname", "PTR", "TXT", "NS", "MX", "srv"] {
            let known = RecordType::from_str(&word.to_ascii_uppercase()).unwrap();
            assert_eq!(record_type(word), Some(known));
            assert!(parse_ttl(word).is_err());
        }
        for word in ["IN", "CH", "SOA", "1h", "", "nas", "TYPE1"] {
            assert_eq!(record_type(word), None);
        }
    }
}
