//! What the contract makes of unbound's answer where AAAA is withheld and names that have no A lead to the gate
//! (`steer.mode = "ipv6-only"`).

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::client::{Question, Told};
use super::explained::is_inside;
use super::wire::{A, AAAA, AD, CNAME, DNAME, HTTPS, Message, RRSIG, Record, SOA, SVCB, TC};

/// The longest TTL of what the policy makes.
pub(super) const LONGEST: u32 = 60;
/// Keys of service parameters.
const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const IPV6_HINT: u16 = 6;
const DOH_PATH: u16 = 7;

/// What the contract does with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// Nothing.
    Told,
    /// Told without what speaks of IPv6 beside the answer, or in hints.
    Less,
    /// AAAA is withheld.
    Withheld,
    /// A is the gate.
    Steered,
    /// A service binding is the gate's.
    Bound,
    /// A service binding is not told, for the gate carries nothing of it.
    Unbound,
}

impl Deed {
    /// The extended error that goes with it.
    pub(super) fn ede(self) -> Option<u16> {
        match self {
            Self::Told | Self::Less => None,
            Self::Withheld => Some(17),
            Self::Steered | Self::Bound | Self::Unbound => Some(4),
        }
    }

    /// Whether an answer is the gate's own, and may not last longer than the policy.
    pub(super) fn is_ours(self) -> bool {
        !matches!(self, Self::Told | Self::Less)
    }
}

/// What unbound knows besides.
pub(super) struct Known {
    /// A and AAAA of names, in small letters.
    pub(super) addresses: HashMap<(Vec<u8>, u16), Message>,
    /// The SOA records of the zones.
    pub(super) zones: Vec<Record>,
    /// The gate's address.
    pub(super) gate: Ipv4Addr,
}

impl Known {
    /// What the gate must make of what unbound said.
    pub(super) fn contract(&self, question: &Question, theirs: &Told) -> (Deed, Told) {
        let message = theirs.whole();
        let has = |kind| message.of(kind).next().is_some();
        let kind = question.kind;
        // Those are told of by another part of the contract.
        if kind == AAAA && has(AAAA) && message.of(AAAA).all(is_inside) {
            return (Deed::Told, theirs.clone());
        }
        let (deed, made) = match kind {
            AAAA if message.rcode == 0 && has(AAAA) => {
                (Deed::Withheld, self.no_data(question, message))
            }
            A if message.rcode == 0 && self.is_steered(&question.name) => {
                let data = self.gate.octets().to_vec();
                (Deed::Steered, ours(message, question, data))
            }
            HTTPS | SVCB if has(kind) && self.is_steered(host(&question.name)) => {
                match binding(question, message) {
                    Some(data) => (Deed::Bound, ours(message, question, data)),
                    None => (Deed::Unbound, self.no_data(question, message)),
                }
            }
            _ => return less(theirs),
        };
        let told = Told {
            first: made,
            second: None,
        };
        (deed, told)
    }

    /// Whether a name has addresses of IPv6 and none of IPv4, so far as the gate counts them.
    fn is_steered(&self, name: &[u8]) -> bool {
        let counts = |kind| {
            let key = (name.to_ascii_lowercase(), kind);
            let told = self.addresses.get(&key).expect("was asked");
            (told.rcode == 0).then(|| told.of(kind).any(|record| !is_inside(record)))
        };
        counts(A) == Some(false) && counts(AAAA) == Some(true)
    }

    fn no_data(&self, question: &Question, theirs: &Message) -> Message {
        let mut made = theirs.clone();
        made.flags &= !(AD | TC);
        made.sections[0].retain(|record| matches!(record.about(), CNAME | DNAME));
        let mut end = question.name.to_ascii_lowercase();
        while let Some(alias) = made.of(CNAME).find(|record| record.owner == end) {
            end = alias.data.clone();
        }
        let zones = self.zones.iter().filter(|soa| end.ends_with(&soa.owner));
        let mut soa = zones.max_by_key(|soa| soa.owner.len()).unwrap().clone();
        let minimum = soa.data.len() - 4;
        soa.data.splice(minimum.., LONGEST.to_be_bytes());
        soa.ttl = LONGEST;
        made.sections[1] = vec![soa];
        made.sections[2].clear();
        made
    }
}

/// The name that a service binding is about.
pub(super) fn host(name: &[u8]) -> &[u8] {
    let mut host = name;
    while let [length, b'_', ..] = host {
        host = &host[1 + usize::from(*length)..];
    }
    host
}

/// One record of the gate's in the place of what there is.
fn ours(theirs: &Message, question: &Question, data: Vec<u8>) -> Message {
    let mut made = theirs.clone();
    made.flags &= !(AD | TC);
    made.sections = Default::default();
    made.sections[0].push(Record {
        owner: question.name.to_ascii_lowercase(),
        kind: question.kind,
        data,
        ttl: LONGEST,
    });
    made
}

/// The parameters of a service binding: keys and values.
type Parameters<'a> = Vec<(u16, &'a [u8])>;

/// Priority, target and parameters of a service binding.
fn read(record: &Record) -> (u16, &[u8], Parameters<'_>) {
    let (priority, rest) = record.data.split_first_chunk::<2>().unwrap();
    let mut end = 0;
    while rest[end] != 0 {
        end += 1 + usize::from(rest[end]);
    }
    let (target, mut rest) = rest.split_at(end + 1);
    let mut parameters = Vec::new();
    while let Some((key, after)) = rest.split_first_chunk::<2>() {
        let (length, after) = after.split_first_chunk::<2>().unwrap();
        let (value, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        parameters.push((u16::from_be_bytes(*key), value));
        rest = after;
    }
    (u16::from_be_bytes(*priority), target, parameters)
}

fn write(priority: u16, target: &[u8], parameters: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut data = priority.to_be_bytes().to_vec();
    data.extend(target);
    for (key, value) in parameters {
        data.extend(key.to_be_bytes());
        data.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        data.extend(value);
    }
    data
}

/// The one service binding that a steered name has: of what is offered, what the gate carries.
fn binding(question: &Question, theirs: &Message) -> Option<Vec<u8>> {
    let web = question.kind == HTTPS;
    let (mut offered, mut default, mut path) = (Vec::new(), false, None);
    for record in theirs.of(question.kind) {
        let (priority, _, parameters) = read(record);
        if priority == 0 {
            return None;
        }
        let find = |wanted| {
            parameters
                .iter()
                .find(|(key, _)| *key == wanted)
                .map(|(_, value)| *value)
        };
        let mut rest = find(ALPN).unwrap_or_default();
        while let Some((length, after)) = rest.split_first() {
            let (protocol, after) = after.split_at(usize::from(*length));
            offered.push(protocol);
            rest = after;
        }
        default |= web && find(NO_DEFAULT_ALPN).is_none();
        path = path.or_else(|| find(DOH_PATH));
    }
    let default = default || offered.contains(&&b"http/1.1"[..]);
    let mut alpn = Vec::new();
    for (protocol, carried) in [
        (&b"h2"[..], offered.contains(&&b"h2"[..])),
        (b"http/1.1", default),
    ] {
        if carried {
            alpn.push(u8::try_from(protocol.len()).unwrap());
            alpn.extend(protocol);
        }
    }
    if alpn.is_empty() {
        return None;
    }
    let mut parameters = vec![(ALPN, alpn)];
    if web && !default {
        parameters.push((NO_DEFAULT_ALPN, Vec::new()));
    }
    parameters.extend(path.map(|path| (DOH_PATH, path.to_vec())));
    let name = question.name.as_slice();
    // The target keeps the letters of the question, as the owner does.
    let target = if host(name).len() == name.len() {
        &[0][..]
    } else {
        host(name)
    };
    Some(write(1, target, &parameters))
}

/// A service binding without hints of IPv6, if it has any.
fn without_hint(record: &Record) -> Option<Record> {
    if !matches!(record.kind, HTTPS | SVCB) {
        return None;
    }
    let (priority, target, parameters) = read(record);
    if !parameters.iter().any(|(key, _)| *key == IPV6_HINT) {
        return None;
    }
    let left = parameters.into_iter().filter(|(key, _)| *key != IPV6_HINT);
    let left = left.map(|(key, value)| match key {
        MANDATORY => {
            let keys = value
                .chunks(2)
                .filter(|key| **key != IPV6_HINT.to_be_bytes());
            (key, keys.collect::<Vec<_>>().concat())
        }
        _ => (key, value.to_vec()),
    });
    let left: Vec<_> = left
        .filter(|(key, value)| *key != MANDATORY || !value.is_empty())
        .collect();
    Some(Record {
        data: write(priority, target, &left),
        ..record.clone()
    })
}

/// As it is, less AAAA beside the answer, hints of IPv6, and the signatures over what is changed.
fn less(theirs: &Told) -> (Deed, Told) {
    let mut told = theirs.clone();
    let mut changed = false;
    for message in [Some(&mut told.first), told.second.as_mut()]
        .into_iter()
        .flatten()
    {
        for records in &mut message.sections {
            let before = records.len();
            records.retain(|record| record.about() != AAAA);
            changed |= records.len() != before;
            let mut unsigned = Vec::new();
            for record in records.iter_mut() {
                if let Some(less) = without_hint(record) {
                    *record = less;
                    unsigned.push((record.owner.clone(), record.kind));
                }
            }
            changed |= !unsigned.is_empty();
            records.retain(|record| {
                record.kind != RRSIG || !unsigned.contains(&(record.owner.clone(), record.about()))
            });
        }
    }
    (if changed { Deed::Less } else { Deed::Told }, told)
}

/// The SOA of a zone, from the answer to a question for it.
pub(super) fn soa(told: &Told) -> Option<Record> {
    told.whole().of(SOA).next().cloned()
}
