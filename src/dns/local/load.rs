//! PURE. The text of one zone file -> a [`Zone`], or everything that is wrong with it, with the lines.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    str::FromStr,
};

use hickory_proto::{
    rr::{DNSClass, Name, Record, RecordType},
    serialize::{
        binary::{BinDecodable, BinEncodable},
        txt::parse_ttl,
    },
};

use super::{
    ZoneProblem,
    data::{Wrong, data, name},
    key::Key,
    lookup::Zone,
    pointers::Address,
    table::{self, Full, Table},
    text::{Entry, Token, entries},
};

/// How many problems of one file are reported.
const MAX_PROBLEMS: usize = 100;
/// The greatest TTL (RFC 2181 section 8).
const MAX_TTL: u32 = 0x7fff_ffff;

/// Reads one zone, and its addresses in the order of the file; what is wrong goes into `problems`, and then there is no
/// zone.
pub(super) fn zone(
    file: &Path,
    origin: &Name,
    text: &str,
    problems: &mut Vec<ZoneProblem>,
) -> Option<(Zone, Vec<Address>)> {
    let mut reader = Reader {
        file,
        apex: origin,
        origin: origin.clone(),
        default_ttl: None,
        last_ttl: None,
        owner: None,
        depth: Key::of(origin).labels(),
        soa: None,
        table: Table::default(),
        addresses: Vec::new(),
        problems: Vec::new(),
    };
    for entry in entries(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        match entry {
            Ok(entry) => {
                let line = entry.line;
                if let Err(wrong) = reader.entry(&entry) {
                    reader.problem(Some(line), wrong);
                }
            }
            Err(fault) => {
                reader.problem(Some(fault.line), (fault.what.into(), fault.write.into()));
            }
        }
    }
    reader.finish(problems)
}

/// What has been read so far.
struct Reader<'a> {
    file: &'a Path,
    apex: &'a Name,
    origin: Name,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    owner: Option<Name>,
    depth: usize,
    soa: Option<Record>,
    table: Table,
    addresses: Vec<Address>,
    problems: Vec<ZoneProblem>,
}

impl Reader<'_> {
    fn problem(&mut self, line: Option<usize>, (what, write): Wrong) {
        self.problems.push(ZoneProblem {
            file: PathBuf::from(self.file),
            line,
            what,
            write,
        });
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Wrong> {
        let Some((first, rest)) = entry.tokens.split_first() else {
            return Ok(());
        };
        if !first.quoted && (first.raw.starts_with('#') || first.raw.starts_with("//")) {
            return Err((
                format!("`{}` does not begin a comment", first.raw),
                "write `;` before a comment".into(),
            ));
        }
        if entry.continues_owner {
            return self.record(&entry.tokens, None);
        }
        if first.raw.starts_with('$') && !first.quoted {
            return self.directive(&first.raw, rest);
        }
        if let (Ok(address), true) = (first.raw.parse::<Ipv4Addr>(), self.has_octets()) {
            let [a, b, c, d] = address.octets();
            return Err((
                format!("`{address}` does not mean this address here: its numbers stand backwards"),
                format!("write `{d}.{c}.{b}.{a}.in-addr.arpa.`"),
            ));
        }
        self.owner = Some(name(&first.raw, &self.origin)?.to_lowercase());
        self.record(rest, Some(&first.raw))
    }

    /// Whether the origin is a reverse zone that leaves less than a whole address to the owner.
    fn has_octets(&self) -> bool {
        Name::from_ascii("in-addr.arpa.")
            .is_ok_and(|reverse| reverse != self.origin && reverse.zone_of(&self.origin))
    }

    fn directive(&mut self, directive: &str, values: &[Token]) -> Result<(), Wrong> {
        let value = values.first().map(|token| token.raw.as_str());
        match (directive.to_ascii_uppercase().as_str(), value) {
            ("$TTL", Some(value)) => self.default_ttl = Some(ttl(value)?),
            ("$ORIGIN", Some(value)) => self.origin = name(value, &self.origin)?,
            ("$TTL" | "$ORIGIN", None) => {
                return Err((
                    format!("{directive} without a value"),
                    "write for example `$TTL 1h`".into(),
                ));
            }
            _ => {
                return Err((
                    format!("{directive} is not supported"),
                    "write the records themselves into this file".into(),
                ));
            }
        }
        Ok(())
    }

    /// A record after its owner: `[TTL] [class] type data`, TTL and class in any order; `first` is the owner as written,
    /// where this line has one.
    fn record(&mut self, tokens: &[Token], first: Option<&str>) -> Result<(), Wrong> {
        let Some(owner) = self.owner.clone() else {
            return Err((
                "the line begins with white space, but no record before it has a name".into(),
                "write the owner first, `@` for the zone itself".into(),
            ));
        };
        let mut stated = None;
        let mut rest = tokens.iter();
        let record_type = loop {
            let Some(token) = rest.next() else {
                return Err((
                    format!("`{owner}` has no record type"),
                    format!("write for example `{owner} A 192.168.1.10`"),
                ));
            };
            if parse_ttl(&token.raw).is_ok() {
                stated = Some(ttl(&token.raw)?);
                continue;
            }
            let word = token.raw.to_ascii_uppercase();
            match DNSClass::from_str(&word) {
                Ok(DNSClass::IN) => {}
                Ok(_) => {
                    return Err((
                        format!("class {word} is not supported"),
                        "write `IN`, or leave the class out".into(),
                    ));
                }
                Err(_) => match RecordType::from_str(&word) {
                    Ok(record_type) => break record_type,
                    Err(_) => return Err(no_type(&token.raw, first)),
                },
            }
        };
        let tokens = rest.as_slice();
        let ttl = stated
            .or(self.default_ttl)
            .or(self.last_ttl)
            .ok_or_else(|| {
                (
                    "the record has no TTL".to_owned(),
                    "write `$TTL 1h` on the first line".to_owned(),
                )
            })?;
        self.last_ttl = Some(ttl);
        let data = data(record_type, tokens, &self.origin)
            .map_err(|(what, write)| (format!("{record_type}: {what}"), write))?;
        let record = Record::from_rdata(owner, ttl, data);
        // What reads texts takes some data that what reads messages does not, such as a tag of CAA with a hyphen.
        let readable = record.to_bytes().and_then(|bytes| {
            Record::from_bytes(&bytes)?;
            let data = record.data.to_bytes()?;
            table::read(record_type, &data)?;
            Ok(data)
        });
        let data = readable.map_err(|error| {
            (
                format!("{record_type}: {error}"),
                "write data that fits a DNS record; text in strings of at most 255 octets".into(),
            )
        })?;
        self.insert(&record, &data)
    }

    fn insert(&mut self, record: &Record, data: &[u8]) -> Result<(), Wrong> {
        let apex = self.apex;
        let (owner, record_type) = (&record.name, record.record_type());
        let key = Key::of(owner);
        if !apex.zone_of(owner) {
            return Err((
                format!("`{owner}` is outside the zone `{apex}`"),
                format!("write a name at or below `{apex}`, or put it into a file of its own zone"),
            ));
        }
        let at_apex = key.labels() == self.depth;
        if record_type == RecordType::SOA {
            if !at_apex {
                return Err((
                    format!("SOA at `{owner}`, which is not the zone's own name"),
                    format!("write the SOA at `{apex}` (`@`)"),
                ));
            }
            if self.soa.is_some() {
                return Err(("a second SOA".into(), "leave one SOA in the file".into()));
            }
            self.soa = Some(record.clone());
        }
        let cut = record_type == RecordType::NS && !at_apex;
        if cut && owner.is_wildcard() {
            return Err((
                format!("NS at the wildcard `{owner}`"),
                "write the delegated names one by one (RFC 4592 section 4.2)".into(),
            ));
        }
        let apex_length = Key::of(apex).whole().len();
        let place = self.table.make(key.whole(), apex_length).map_err(full)?;
        let alias = self.table.is_alias(place);
        if alias || (record_type == RecordType::CNAME && self.table.is_filled(place)) {
            let what = if alias && record_type == RecordType::CNAME {
                format!("a second CNAME at `{owner}`")
            } else {
                format!("CNAME and other data at `{owner}`")
            };
            return Err((
                what,
                "leave the CNAME alone at its name, or write the addresses instead (RFC 1034 section 3.6.2)"
                    .into(),
            ));
        }
        if cut {
            self.table.cut(place);
        }
        let matched = owner.iter().any(|label| label == b"*");
        if let Some(address) = record.data.ip_addr().filter(|_| !matched) {
            self.addresses.push(Address {
                address,
                place,
                ttl: record.ttl,
            });
        }
        self.table
            .add(place, record_type, record.ttl, data)
            .map_err(full)
    }

    fn finish(mut self, problems: &mut Vec<ZoneProblem>) -> Option<(Zone, Vec<Address>)> {
        if self.soa.is_none() && self.problems.is_empty() {
            let apex = self.apex;
            let wrong = (
                format!("the zone `{apex}` has no SOA record"),
                format!(
                    "write `@ 1h IN SOA gate.{apex} hostmaster.{apex} 1 1h 15m 1w 1m` as the first record"
                ),
            );
            self.problem(None, wrong);
        }
        let more = self.problems.len().saturating_sub(MAX_PROBLEMS);
        if more > 0 {
            self.problems.truncate(MAX_PROBLEMS);
            let wrong = (
                format!("{more} more problems"),
                "correct those above first".into(),
            );
            self.problem(None, wrong);
        }
        let sound = self.problems.is_empty();
        problems.append(&mut self.problems);
        let soa = self.soa.filter(|_| sound)?;
        let zone = Zone::new(self.apex.clone(), &soa, self.table);
        let mut addresses = self.addresses;
        addresses.retain(|address| {
            !address.address.is_unspecified() && !zone.is_delegated(address.place)
        });
        Some((zone, addresses))
    }
}

fn full(_: Full) -> Wrong {
    (
        "the zone is too large".into(),
        "put a part of it into a zone of its own".into(),
    )
}

/// What to write where a word stands in the place of the type, after the owner `first`.
fn no_type(word: &str, first: Option<&str>) -> Wrong {
    let type_of = |text: &str| match text.parse() {
        Ok(IpAddr::V4(_)) => Some("A"),
        Ok(IpAddr::V6(_)) => Some("AAAA"),
        Err(_) => None,
    };
    let write = match (first, type_of(word), first.and_then(type_of)) {
        (_, Some(record_type), _) => {
            format!("write `{record_type}` before `{word}`")
        }
        (Some(address), None, Some(record_type)) => {
            format!("write the name first: `{word} {record_type} {address}`")
        }
        (None, None, _) => {
            "begin the line with the name; one that begins with white space goes on with the name above"
                .to_owned()
        }
        (Some(_), None, None) => {
            "write a type such as A, AAAA, CNAME, MX, NS, PTR, SRV or TXT".to_owned()
        }
    };
    (format!("`{word}` is no record type"), write)
}

/// A time in seconds or with the units s, m, h, d, w.
fn ttl(text: &str) -> Result<u32, Wrong> {
    parse_ttl(text)
        .ok()
        .filter(|&ttl| ttl <= MAX_TTL)
        .ok_or_else(|| {
            (
                format!("`{text}` is no TTL"),
                "write seconds up to 2147483647, or a time such as `1h`".into(),
            )
        })
}
