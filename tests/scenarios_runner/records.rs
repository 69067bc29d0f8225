//! PURE. Records in zone-file form, one a line: `owner [ttl] [class] type data`. Names are absolute with or without the
//! last dot, `;` begins a comment, `{1..9}` makes a line for each number.

use std::str::FromStr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};

/// The TTL of a line without one.
const DEFAULT_TTL: u32 = 300;

/// A record that is expected, which may leave TTL and data open.
#[derive(Debug)]
pub(crate) struct Pattern {
    name: Name,
    ttl: (u32, u32),
    record_type: RecordType,
    data: Option<RData>,
}

impl Pattern {
    /// Whether a record is as expected; with `letters`, its owner in this spelling.
    pub(crate) fn fits(&self, record: &Record, letters: bool) -> bool {
        record.name == self.name
            && (!letters || record.name.eq_case(&self.name))
            && (self.ttl.0..=self.ttl.1).contains(&record.ttl)
            && record.record_type() == self.record_type
            && record.dns_class == DNSClass::IN
            && self.data.as_ref().is_none_or(|data| *data == record.data)
    }
}

/// The expected records of a section.
pub(crate) fn patterns(text: &str) -> Result<Vec<Pattern>, String> {
    lines(text)
        .iter()
        .map(|line| {
            let parts = split(line)?;
            let data = match parts.data.trim() {
                "*" => None,
                data => Some(rdata(parts.record_type, data)?),
            };
            Ok(Pattern {
                name: name(&parts.owner)?,
                ttl: parts.ttl.unwrap_or((0, u32::MAX)),
                record_type: parts.record_type,
                data,
            })
        })
        .collect()
}

/// The records of a text.
pub(crate) fn records(text: &str) -> Result<Vec<Record>, String> {
    lines(text)
        .iter()
        .map(|line| {
            let parts = split(line)?;
            let ttl = match parts.ttl {
                None => DEFAULT_TTL,
                Some((least, most)) if least == most => least,
                Some(_) => return Err(format!("`{line}`: a server must say one TTL")),
            };
            let data = rdata(parts.record_type, &parts.data)?;
            let mut record = Record::from_rdata(name(&parts.owner)?, ttl, data);
            record.dns_class = parts.class;
            Ok(record)
        })
        .collect()
}

/// A name, absolute whether or not it ends in a dot, in the case it is written in.
pub(crate) fn name(text: &str) -> Result<Name, String> {
    let mut name = Name::from_ascii(text).map_err(|error| format!("`{text}`: {error}"))?;
    name.set_fqdn(true);
    Ok(name)
}

/// A type by its name, `TYPE65400` included.
pub(crate) fn record_type(text: &str) -> Result<RecordType, String> {
    if let Some(number) = text.strip_prefix("TYPE")
        && let Ok(number) = number.parse::<u16>()
    {
        return Ok(RecordType::from(number));
    }
    match text {
        "IXFR" => Ok(RecordType::IXFR),
        "OPT" => Ok(RecordType::OPT),
        _ => RecordType::from_str(text).map_err(|_| format!("`{text}` is no record type")),
    }
}

/// A response code by the name that dig prints.
pub(crate) fn rcode(text: &str) -> Result<ResponseCode, String> {
    Ok(match text {
        "NOERROR" => ResponseCode::NoError,
        "FORMERR" => ResponseCode::FormErr,
        "SERVFAIL" => ResponseCode::ServFail,
        "NXDOMAIN" => ResponseCode::NXDomain,
        "NOTIMP" => ResponseCode::NotImp,
        "REFUSED" => ResponseCode::Refused,
        "YXDOMAIN" => ResponseCode::YXDomain,
        "NOTAUTH" => ResponseCode::NotAuth,
        "BADVERS" => ResponseCode::BADVERS,
        "BADCOOKIE" => ResponseCode::BADCOOKIE,
        other => match other
            .parse::<u16>()
            .ok()
            .and_then(|code| u8::try_from(code).ok())
        {
            Some(code) => ResponseCode::from(code >> 4, code & 15),
            None => return Err(format!("`{other}` is no response code")),
        },
    })
}

/// Octets in hexadecimal, with white space wherever it helps.
pub(crate) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| {
            std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.len() == 2)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .ok_or_else(|| format!("`{text}` is not hexadecimal"))
        })
        .collect()
}

struct Parts {
    owner: String,
    ttl: Option<(u32, u32)>,
    class: DNSClass,
    record_type: RecordType,
    data: String,
}

fn split(line: &str) -> Result<Parts, String> {
    let fail = |what: String| format!("`{line}`: {what}");
    let mut rest = line;
    let mut word = || {
        rest = rest.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        word
    };
    let owner = word().to_owned();
    let (mut ttl, mut class) = (None, DNSClass::IN);
    loop {
        let text = word();
        if text.is_empty() {
            return Err(fail("no record type".to_owned()));
        }
        if let Some(bounds) = bounds(text) {
            ttl = Some(bounds);
        } else if let Ok(found) = DNSClass::from_str(text) {
            class = found;
        } else {
            return Ok(Parts {
                record_type: record_type(text).map_err(fail)?,
                owner,
                ttl,
                class,
                data: rest.to_owned(),
            });
        }
    }
}

/// `300`, `<=60`, `10..60`, `*`.
fn bounds(text: &str) -> Option<(u32, u32)> {
    if text == "*" {
        return Some((0, u32::MAX));
    }
    if let Some(most) = text.strip_prefix("<=") {
        return Some((0, most.parse().ok()?));
    }
    match text.split_once("..") {
        Some((least, most)) => Some((least.parse().ok()?, most.parse().ok()?)),
        None => text.parse().ok().map(|ttl| (ttl, ttl)),
    }
}

/// The lines that say something, ranges written out.
fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut quoted = false;
        let end = line.find(|character| {
            quoted ^= character == '"';
            character == ';' && !quoted
        });
        let line = line
            .get(..end.unwrap_or(line.len()))
            .unwrap_or_default()
            .trim();
        if line.is_empty() {
            continue;
        }
        let range = line.split_once('{').and_then(|(before, rest)| {
            let (range, after) = rest.split_once('}')?;
            let (from, to) = range.split_once("..")?;
            Some((before, from.parse::<u32>().ok()?..=to.parse().ok()?, after))
        });
        match range {
            Some((before, range, after)) => {
                lines.extend(range.map(|number| format!("{before}{number}{after}")));
            }
            None => lines.push(line.to_owned()),
        }
    }
    lines
}

/// The data of a record, as it is after a way over the wire.
fn rdata(record_type: RecordType, text: &str) -> Result<RData, String> {
    let fail = |error: &dyn std::fmt::Display| format!("`{record_type} {}`: {error}", text.trim());
    let words: Vec<&str> = text.split_whitespace().collect();
    let wire = match (record_type, words.as_slice()) {
        (_, ["\\#", _, octets @ ..]) => hex(&octets.concat())?,
        (RecordType::RRSIG, [covered, rest @ ..]) => rrsig(covered, rest)?,
        (RecordType::NSEC, [next, types @ ..]) => {
            let mut wire = octets(&name(next)?)?;
            wire.extend(bitmap(types)?);
            wire
        }
        (RecordType::DNAME, [target]) => octets(&name(target)?)?,
        _ => {
            let data = RData::try_from_str(record_type, text).map_err(|error| fail(&error))?;
            let record = Record::from_rdata(Name::root(), 0, absolute(data));
            let record = record.to_bytes().map_err(|error| fail(&error))?;
            let record = Record::from_bytes(&record).map_err(|error| fail(&error))?;
            return Ok(record.data);
        }
    };
    // The owner, type, class, TTL, length, data.
    let length = u16::try_from(wire.len()).map_err(|error| fail(&error))?;
    let mut record = vec![0];
    record.extend(u16::from(record_type).to_be_bytes());
    record.extend([0, 1, 0, 0, 0, 0]);
    record.extend(length.to_be_bytes());
    record.extend(wire);
    let record = Record::from_bytes(&record).map_err(|error| fail(&error))?;
    Ok(record.data)
}

/// Names in data are absolute, too, though hickory leaves those without the last dot as they are.
fn absolute(mut data: RData) -> RData {
    match &mut data {
        RData::CNAME(target) => target.0.set_fqdn(true),
        RData::NS(target) => target.0.set_fqdn(true),
        RData::PTR(target) => target.0.set_fqdn(true),
        RData::MX(mx) => mx.exchange.set_fqdn(true),
        RData::SRV(srv) => srv.target.set_fqdn(true),
        _ => {}
    }
    data
}

fn octets(name: &Name) -> Result<Vec<u8>, String> {
    name.to_bytes().map_err(|error| error.to_string())
}

/// `TYPE ALGORITHM LABELS TTL EXPIRATION INCEPTION TAG SIGNER`; times in seconds; the signature is made up.
fn rrsig(covered: &str, rest: &[&str]) -> Result<Vec<u8>, String> {
    let [
        algorithm,
        labels,
        ttl,
        expiration,
        inception,
        tag,
        signer,
        ..,
    ] = rest
    else {
        return Err(
            "write RRSIG as TYPE ALGORITHM LABELS TTL EXPIRATION INCEPTION TAG SIGNER".to_owned(),
        );
    };
    let number = |text: &str| {
        text.parse::<u32>()
            .map_err(|_| format!("`{text}` is no number"))
    };
    let mut wire = u16::from(record_type(covered)?).to_be_bytes().to_vec();
    for small in [algorithm, labels] {
        wire.push(u8::try_from(number(small)?).map_err(|error| error.to_string())?);
    }
    for long in [ttl, expiration, inception] {
        wire.extend(number(long)?.to_be_bytes());
    }
    let tag = u16::try_from(number(tag)?).map_err(|error| error.to_string())?;
    wire.extend(tag.to_be_bytes());
    wire.extend(octets(&name(signer)?)?);
    wire.extend([0x5a; 64]);
    Ok(wire)
}

/// The type bitmap of NSEC (RFC 4034 section 4.1.2), for types below 256.
fn bitmap(types: &[&str]) -> Result<Vec<u8>, String> {
    let mut bits = [0_u8; 32];
    for text in types {
        let code = usize::from(u16::from(record_type(text)?));
        let byte = bits.get_mut(code / 8).ok_or("a type above 255")?;
        *byte |= 0x80 >> (code % 8);
    }
    let length = bits
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let mut wire = vec![0, u8::try_from(length).unwrap_or(32)];
    wire.extend(bits.iter().take(length));
    Ok(wire)
}
