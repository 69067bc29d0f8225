//! PURE. The names and the data of one record, from the tokens of a zone file (RFC 1035 section 5.1 and the RFC of each
//! type).
//!
//! Names are read here: hickory takes `\DDD` for octal and refuses labels with a space, which DNS-SD writes (RFC 6763
//! section 4.1.1). Types beyond the everyday ones are left to hickory's parser. What is [`plain`](super::plain) comes here
//! only in tests.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use hickory_proto::{
    rr::{
        Name, RData, RecordType,
        rdata::{A, AAAA, CNAME, MX, NS, PTR, SRV},
    },
    serialize::txt::Parser,
};

use super::text::{Token, unescape};

/// What is wrong at a place, and what to write.
pub(super) type Wrong = (String, String);

/// A name relative to the origin, or absolute with a dot at its end; escapes as in RFC 1035 section 5.1.
pub(super) fn name(raw: &str, origin: &Name) -> Result<Name, Wrong> {
    let bad = || {
        (
            format!("`{raw}` is no domain name"),
            "write labels of at most 63 octets with one dot between them".to_owned(),
        )
    };
    match raw {
        "@" => return Ok(origin.clone()),
        "." => return Ok(Name::root()),
        _ => {}
    }
    let mut labels: Vec<Vec<u8>> = vec![Vec::new()];
    let mut rest = raw.chars();
    while let Some(character) = rest.next() {
        let character = match character {
            '.' => {
                labels.push(Vec::new());
                continue;
            }
            '\\' => unescape(&mut rest).ok_or_else(bad)?,
            plain => plain,
        };
        if let Some(label) = labels.last_mut() {
            label.extend(character.encode_utf8(&mut [0; 4]).bytes());
        }
    }
    let absolute = labels.len() > 1 && labels.last().is_some_and(Vec::is_empty);
    if absolute {
        labels.pop();
    }
    if labels.iter().any(Vec::is_empty) {
        return Err(bad());
    }
    let mut own = if raw.is_ascii() {
        Name::from_labels(labels).map_err(|_| bad())?
    } else {
        Name::from_utf8(raw).map_err(|_| bad())?
    };
    own.set_fqdn(true);
    if absolute {
        return Ok(own);
    }
    // `nas.home.arpa` without its last dot would be nas.home.arpa.home.arpa, which nobody means.
    if origin.num_labels() > 1 && origin.zone_of(&own) {
        return Err((
            format!("`{raw}` has no dot at its end, so it means `{raw}.{origin}`"),
            format!("write `{raw}.`"),
        ));
    }
    own.append_domain(origin).map_err(|_| bad())
}

/// The data of a record.
pub(super) fn data(
    record_type: RecordType,
    tokens: &[Token<'_>],
    origin: &Name,
) -> Result<RData, Wrong> {
    let words: Vec<&str> = tokens.iter().map(|token| token.raw.as_ref()).collect();
    let number = |word: &str| {
        u16::from_str(word).map_err(|_| {
            (
                format!("`{word}` is no number from 0 to 65535"),
                "write a whole number".to_owned(),
            )
        })
    };
    Ok(match (record_type, words.as_slice()) {
        (RecordType::A, &[address]) => RData::A(A(address.parse().map_err(|_| {
            let write = match address.parse::<Ipv6Addr>() {
                Ok(_) => format!("write `AAAA {address}`"),
                Err(_) => "write for example `192.168.1.10`".to_owned(),
            };
            (format!("`{address}` is no IPv4 address"), write)
        })?)),
        (RecordType::AAAA, &[address]) => RData::AAAA(AAAA(address.parse().map_err(|_| {
            let write = match address.parse::<Ipv4Addr>() {
                Ok(_) => format!("write `A {address}`"),
                Err(_) => "write for example `2001:db8::10`".to_owned(),
            };
            (format!("`{address}` is no IPv6 address"), write)
        })?)),
        (RecordType::CNAME, &[to]) => RData::CNAME(CNAME(target(to, origin)?)),
        (RecordType::NS, &[to]) => RData::NS(NS(target(to, origin)?)),
        (RecordType::PTR, &[to]) => RData::PTR(PTR(pointed(to, origin)?)),
        (RecordType::MX, &[preference, exchange]) => {
            RData::MX(MX::new(number(preference)?, target(exchange, origin)?))
        }
        (RecordType::SRV, &[priority, weight, port, to]) => RData::SRV(SRV::new(
            number(priority)?,
            number(weight)?,
            number(port)?,
            target(to, origin)?,
        )),
        (
            RecordType::A
            | RecordType::AAAA
            | RecordType::CNAME
            | RecordType::NS
            | RecordType::PTR
            | RecordType::MX
            | RecordType::SRV,
            _,
        ) => {
            let write = match record_type {
                RecordType::A | RecordType::AAAA => {
                    "write one address; for another one, a second line"
                }
                RecordType::MX => "write preference and mail server, for example `MX 10 mail`",
                RecordType::SRV => {
                    "write priority, weight, port and target, for example `SRV 0 0 80 nas`"
                }
                _ => "write one name",
            };
            return Err((format!("{} fields of data", words.len()), write.into()));
        }
        (RecordType::SOA, words) if words.len() != 7 => {
            return Err((
                format!("{} fields of data", words.len()),
                "write primary server, mailbox, serial, refresh, retry, expire and minimum".into(),
            ));
        }
        (_, []) => {
            return Err(("no data".into(), "write the data after the type".into()));
        }
        // Types that are no data of a zone or that this server gives no meaning.
        (RecordType::ANAME | RecordType::ZERO, _) => {
            return Err((
                "the type is not supported".into(),
                "write the addresses, or a CNAME below the zone's own name".into(),
            ));
        }
        _ => foreign(record_type, tokens, origin)?,
    })
}

/// What to write where a word stands in the place of the type, after the owner `first`.
pub(super) fn no_type(word: &str, first: Option<&str>) -> Wrong {
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

/// A name that a record leads to. As labels an address or a URL would pass, and lead nowhere.
fn target(raw: &str, origin: &Name) -> Result<Name, Wrong> {
    let bare = raw.strip_suffix('.').unwrap_or(raw);
    let record_type = match bare.parse() {
        Ok(IpAddr::V4(_)) => Some("A"),
        Ok(IpAddr::V6(_)) => Some("AAAA"),
        Err(_) => None,
    };
    if let Some(record_type) = record_type {
        return Err((
            format!("`{raw}` is an address, and a name is wanted"),
            format!("write `{record_type} {bare}`, or a name that has this record"),
        ));
    }
    if raw.contains(['/', ':']) {
        return Err((
            format!("`{raw}` is no host name"),
            "write the name alone, without scheme, port or path".to_owned(),
        ));
    }
    name(raw, origin)
}

/// The target of a PTR record: in a reverse zone a relative one is a forgotten dot.
fn pointed(to: &str, origin: &Name) -> Result<Name, Wrong> {
    let reverse = ["in-addr.arpa.", "ip6.arpa."]
        .iter()
        .filter_map(|suffix| Name::from_ascii(suffix).ok())
        .any(|suffix| suffix.zone_of(origin));
    if reverse {
        target(to, origin)?;
    }
    if reverse && to != "@" && !to.ends_with('.') {
        return Err((
            format!("`{to}` has no dot at its end, so it means `{to}.{origin}`"),
            format!("write `{to}.`"),
        ));
    }
    name(to, origin)
}

/// The data of the types that hickory's parser reads, given to it as one record of quoted tokens.
fn foreign(record_type: RecordType, tokens: &[Token<'_>], origin: &Name) -> Result<RData, Wrong> {
    if let (RecordType::SOA, Some(mailbox)) = (record_type, tokens.get(1))
        && let Some((local, domain)) = mailbox.raw.split_once('@')
        && !domain.is_empty()
    {
        return Err((
            format!("`{}` is a mail address, and a name is wanted", mailbox.raw),
            format!("write `{local}.{}.`", domain.trim_end_matches('.')),
        ));
    }
    let mut line = format!("@ 0 IN {record_type}");
    for (index, token) in tokens.iter().enumerate() {
        let names = match record_type {
            RecordType::SOA => index < 2,
            RecordType::HTTPS | RecordType::SVCB => index == 1,
            RecordType::NAPTR => index == 5,
            _ => false,
        };
        let text = if names {
            // hickory knows no `@` here, and knows no origin for the target of a service binding.
            name(&token.raw, origin)?.to_ascii()
        } else {
            token.text().ok_or_else(|| {
                (
                    format!("`{}` has an escape that is no ASCII character", token.raw),
                    "write the text as UTF-8, and `\\DDD` with 000 to 127 only".to_owned(),
                )
            })?
        };
        line.push_str(" \"");
        for character in text.chars() {
            if matches!(character, '"' | '\\') {
                line.push('\\');
            }
            line.push(character);
        }
        line.push('"');
    }
    line.push('\n');
    let unread = |error: String| {
        (
            error,
            format!("write the data as the RFC of {record_type} shows it"),
        )
    };
    let (_, sets) = Parser::new(line, None, Some(origin.clone()))
        .parse()
        .map_err(|error| unread(error.to_string()))?;
    sets.into_values()
        .flatten()
        .next()
        .map(|record| record.data)
        .ok_or_else(|| unread("no data".into()))
}
