//! PURE. One zone in memory and the search in it (RFC 1034 section 4.3.2 step 3, wildcards by RFC 4592).
//!
//! A map holds every name of the zone, also those without data between a record and the apex. A search asks the map
//! once a label from the apex down, so a name that does not exist costs what one that does costs, in a zone of any
//! size.

use std::collections::HashMap;

use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::key::Key;

/// A wildcard's label in wire form.
const WILDCARD: &[u8] = b"\x01*";

/// What the zone holds at one name.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// One entry a type, in the order of the types' numbers; empty for a name that only has names below it.
    sets: Vec<Vec<Record>>,
    /// Whether the name and all below it are delegated (NS below the apex).
    pub(super) cut: bool,
}

impl Node {
    /// Adds a record; one that is there already is dropped, and a set has its lowest TTL (RFC 2181 section 5).
    pub(super) fn add(&mut self, record: Record) {
        let record_type = record.record_type();
        let at = self
            .sets
            .partition_point(|set| code(set).is_some_and(|held| held < u16::from(record_type)));
        if self.sets.get(at).and_then(|set| code(set)) != Some(u16::from(record_type)) {
            self.sets.insert(at, Vec::new());
        }
        let Some(set) = self.sets.get_mut(at) else {
            return;
        };
        let ttl = set
            .first()
            .map_or(record.ttl, |held| held.ttl.min(record.ttl));
        if set.iter().all(|held| held.data != record.data) {
            set.push(record);
        }
        for held in set {
            held.ttl = ttl;
        }
    }

    /// The types held.
    pub(super) fn types(&self) -> impl Iterator<Item = RecordType> {
        self.sets
            .iter()
            .filter_map(|set| set.first())
            .map(Record::record_type)
    }

    /// The records of one type.
    pub(super) fn set(&self, record_type: RecordType) -> Option<&[Record]> {
        self.sets
            .iter()
            .find(|set| {
                set.first()
                    .is_some_and(|held| held.record_type() == record_type)
            })
            .map(Vec::as_slice)
    }

    /// The answer to a type: its records, those of any one type for ANY (RFC 8482 section 4.1), else the CNAME.
    fn pick(&self, record_type: RecordType) -> Found<'_> {
        let set = if record_type == RecordType::ANY {
            self.sets.first().map(Vec::as_slice)
        } else {
            self.set(record_type)
        };
        if let Some(set) = set {
            return Found::Records(set);
        }
        match self.set(RecordType::CNAME) {
            Some([record, ..]) => match &record.data {
                RData::CNAME(target) => Found::Alias(record, &target.0),
                _ => Found::NoData,
            },
            _ => Found::NoData,
        }
    }
}

fn code(set: &[Record]) -> Option<u16> {
    set.first().map(|record| record.record_type().into())
}

/// What a zone says about a name and a type.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// The records; their owner is the wildcard's where one matched.
    Records(&'a [Record]),
    /// A CNAME and its target.
    Alias(&'a Record, &'a Name),
    /// The NS records of a delegation at or above the name.
    Referral(&'a [Record]),
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NxDomain,
}

/// One zone.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    pub(super) origin: Name,
    /// The SOA as negative answers carry it: its TTL is min(TTL, MINIMUM) (RFC 2308 section 3).
    pub(super) negative: Record,
    depth: usize,
    nodes: HashMap<Box<[u8]>, Node>,
}

impl Zone {
    pub(super) fn new(origin: Name, soa: &Record, nodes: HashMap<Box<[u8]>, Node>) -> Self {
        let mut negative = soa.clone();
        if let RData::SOA(data) = &soa.data {
            negative.ttl = soa.ttl.min(data.minimum);
        }
        Self {
            depth: Key::of(&origin).labels(),
            origin,
            negative,
            nodes,
        }
    }

    /// Searches for a name at or below the apex.
    pub(super) fn find(&self, key: &Key, record_type: RecordType) -> Found<'_> {
        let labels = key.labels();
        for depth in self.depth + 1..=labels {
            let Some(node) = self.nodes.get(key.suffix(depth)) else {
                // The name above is the closest encloser; only a wildcard right below that can match.
                let wildcard = [WILDCARD, key.suffix(depth - 1)].concat();
                return self
                    .nodes
                    .get(wildcard.as_slice())
                    .map_or(Found::NxDomain, |node| node.pick(record_type));
            };
            // DS lives above the cut (RFC 4035 section 3.1.4.1).
            let parent_side = depth == labels && record_type == RecordType::DS;
            if node.cut && !parent_side {
                return Found::Referral(node.set(RecordType::NS).unwrap_or_default());
            }
        }
        self.nodes
            .get(key.whole())
            .map_or(Found::NxDomain, |node| node.pick(record_type))
    }

    /// The records of one type, also from a wildcard, but not over an alias.
    pub(super) fn addresses(&self, key: &Key, record_type: RecordType) -> &[Record] {
        match self.find(key, record_type) {
            Found::Records(records) => records,
            Found::Alias(..) | Found::Referral(_) | Found::NoData | Found::NxDomain => &[],
        }
    }

    /// The records at exactly this name, also below a delegation: the glue.
    pub(super) fn glue(&self, key: &Key, record_type: RecordType) -> &[Record] {
        self.nodes
            .get(key.whole())
            .and_then(|node| node.set(record_type))
            .unwrap_or_default()
    }
}

/// The names that records send the client on to, whose addresses spare it a question.
pub(super) fn targets(records: &[Record]) -> impl Iterator<Item = &Name> {
    records.iter().filter_map(|record| match &record.data {
        RData::MX(data) => Some(&data.exchange),
        RData::SRV(data) => Some(&data.target),
        RData::NS(data) => Some(&data.0),
        _ => None,
    })
}
