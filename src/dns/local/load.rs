//! PURE. The text of one zone file -> a [`Zone`], or everything that is wrong with it, with the lines.

use std::{
    mem,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    str::FromStr,
};

use hickory_proto::{
    ProtoError,
    rr::{DNSClass, Name, Record, RecordType},
    serialize::{
        binary::{BinDecodable, BinEncodable},
        txt::parse_ttl,
    },
};

use super::{
    ZoneProblem,
    data::{Wrong, data, name, no_type},
    key::{self, Key},
    lookup::Zone,
    plain::{self, Origin},
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
        apex_key: Key::of(origin),
        origin: Origin::new(origin.clone()),
        default_ttl: None,
        last_ttl: None,
        owner: None,
        read: Vec::new(),
        data: Vec::new(),
        soa: None,
        table: Table::default(),
        addresses: Vec::new(),
        problems: Vec::new(),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    entries(text, |entry| match entry {
        Ok(entry) => {
            if let Err(wrong) = reader.entry(entry) {
                reader.problem(Some(entry.line), wrong);
            }
        }
        Err(fault) => {
            reader.problem(Some(fault.line), (fault.what.into(), fault.write.into()));
        }
    });
    reader.finish(problems)
}

/// What has been read so far.
struct Reader<'a> {
    file: &'a Path,
    apex: &'a Name,
    apex_key: Key,
    origin: Origin,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    /// The key of the owner; one that cannot be read leaves the one before it.
    owner: Option<Vec<u8>>,
    /// What the next owner is read into.
    read: Vec<u8>,
    /// The data of the record at hand in wire form.
    data: Vec<u8>,
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

    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), Wrong> {
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
        if let Ok(address) = first.raw.parse::<Ipv4Addr>()
            && self.has_octets()
        {
            let [a, b, c, d] = address.octets();
            return Err((
                format!("`{address}` does not mean this address here: its numbers stand backwards"),
                format!("write `{d}.{c}.{b}.{a}.in-addr.arpa.`"),
            ));
        }
        if plain::owner(&first.raw, &self.origin, &mut self.read).is_none() {
            let owner = name(&first.raw, &self.origin.name)?;
            self.read.clear();
            self.read.extend_from_slice(Key::of(&owner).whole());
        }
        mem::swap(self.owner.get_or_insert_default(), &mut self.read);
        self.record(rest, Some(&first.raw))
    }

    /// Whether the origin is a reverse zone that leaves less than a whole address to the owner.
    fn has_octets(&self) -> bool {
        Name::from_ascii("in-addr.arpa.")
            .is_ok_and(|reverse| reverse != self.origin.name && reverse.zone_of(&self.origin.name))
    }

    fn directive(&mut self, directive: &str, values: &[Token<'_>]) -> Result<(), Wrong> {
        let value = values.first().map(|token| token.raw.as_ref());
        match (directive.to_ascii_uppercase().as_str(), value) {
            ("$TTL", Some(value)) => self.default_ttl = Some(ttl(value)?),
            ("$ORIGIN", Some(value)) => {
                self.origin = Origin::new(name(value, &self.origin.name)?);
            }
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
    fn record(&mut self, tokens: &[Token<'_>], first: Option<&str>) -> Result<(), Wrong> {
        let Some(owner) = self.owner.take() else {
            return Err((
                "the line begins with white space, but no record before it has a name".into(),
                "write the owner first, `@` for the zone itself".into(),
            ));
        };
        let read = self.record_of(&owner, tokens, first);
        self.owner = Some(owner);
        read
    }

    fn record_of(
        &mut self,
        owner: &[u8],
        tokens: &[Token<'_>],
        first: Option<&str>,
    ) -> Result<(), Wrong> {
        let mut stated = None;
        let mut rest = tokens.iter();
        let record_type = loop {
            let Some(token) = rest.next() else {
                let owner = key::name(owner);
                return Err((
                    format!("`{owner}` has no record type"),
                    format!("write for example `{owner} A 192.168.1.10`"),
                ));
            };
            if let Some(record_type) = plain::record_type(&token.raw) {
                break record_type;
            }
            if token.raw.eq_ignore_ascii_case("IN") {
                continue;
            }
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
        let mut soa = None;
        if plain::data(record_type, tokens, &self.origin, &mut self.data).is_none() {
            let data = data(record_type, tokens, &self.origin.name)
                .map_err(|(what, write)| (format!("{record_type}: {what}"), write))?;
            let record = Record::from_rdata(key::name(owner), ttl, data);
            self.data = wire(&record).map_err(|error| {
                (
                    format!("{record_type}: {error}"),
                    "write data that fits a DNS record; text in strings of at most 255 octets"
                        .into(),
                )
            })?;
            soa = Some(record).filter(|_| record_type == RecordType::SOA);
        }
        self.insert(owner, record_type, ttl, soa)
    }

    /// Puts the record at hand into the zone; `soa` is that record, if it is a SOA.
    fn insert(
        &mut self,
        key: &[u8],
        record_type: RecordType,
        ttl: u32,
        soa: Option<Record>,
    ) -> Result<(), Wrong> {
        let apex = self.apex_key.whole();
        let owner = || key::name(key);
        if !key::is_within(key, apex) {
            let (owner, apex) = (owner(), self.apex);
            return Err((
                format!("`{owner}` is outside the zone `{apex}`"),
                format!("write a name at or below `{apex}`, or put it into a file of its own zone"),
            ));
        }
        let at_apex = key == apex;
        if let Some(soa) = soa {
            if !at_apex {
                let apex = self.apex;
                return Err((
                    format!("SOA at `{}`, which is not the zone's own name", owner()),
                    format!("write the SOA at `{apex}` (`@`)"),
                ));
            }
            if self.soa.is_some() {
                return Err(("a second SOA".into(), "leave one SOA in the file".into()));
            }
            self.soa = Some(soa);
        }
        let cut = record_type == RecordType::NS && !at_apex;
        if cut && key::labels(key).next() == Some(b"*") {
            return Err((
                format!("NS at the wildcard `{}`", owner()),
                "write the delegated names one by one (RFC 4592 section 4.2)".into(),
            ));
        }
        let place = self.table.make(key, apex.len()).map_err(full)?;
        let alias = self.table.is_alias(place);
        if alias || (record_type == RecordType::CNAME && self.table.is_filled(place)) {
            let owner = owner();
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
        let matched = || key::labels(key).any(|label| label == b"*");
        if let Some(address) = address(record_type, &self.data).filter(|_| !matched()) {
            self.addresses.push(Address {
                address,
                place,
                ttl,
            });
        }
        self.table
            .add(place, record_type, ttl, &self.data)
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

/// The data of a record in wire form. What reads texts takes some that what reads messages does not, such as a tag of CAA
/// with a hyphen.
fn wire(record: &Record) -> Result<Vec<u8>, ProtoError> {
    Record::from_bytes(&record.to_bytes()?)?;
    let data = record.data.to_bytes()?;
    table::read(record.record_type(), &data)?;
    Ok(data)
}

fn address(record_type: RecordType, data: &[u8]) -> Option<IpAddr> {
    match record_type {
        RecordType::A => Some(<[u8; 4]>::try_from(data).ok()?.into()),
        RecordType::AAAA => Some(<[u8; 16]>::try_from(data).ok()?.into()),
        _ => None,
    }
}

fn full(_: Full) -> Wrong {
    (
        "the zone is too large".into(),
        "put a part of it into a zone of its own".into(),
    )
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
