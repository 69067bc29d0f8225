//! PURE. One zone in memory and the search in it (RFC 1034 section 4.3.2 step 3, wildcards by RFC 4592).
//!
//! A map holds every name of the zone, also those without data between a record and the apex. A search asks the map
//! once a label from the apex down, so a name that does not exist costs what one that does costs, in a zone of any
//! size.

use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::key::Key;
use super::table::{Place, Set, Table};

/// A wildcard's label in wire form.
const WILDCARD: &[u8] = b"\x01*";

/// What a zone says about a name and a type.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// The records. They have no owner of their own: where a wildcard matched, it is the name asked for.
    Records(Set<'a>),
    /// A CNAME.
    Alias(Set<'a>),
    /// The NS records of a delegation at or above the name, with their owner.
    Referral(Vec<Record>),
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
    table: Table,
}

impl Zone {
    /// A zone with these names and records.
    pub(super) fn new(origin: Name, soa: &Record, mut table: Table) -> Self {
        let mut negative = soa.clone();
        if let RData::SOA(data) = &soa.data {
            negative.ttl = soa.ttl.min(data.minimum);
        }
        table.seal();
        Self {
            depth: Key::of(&origin).labels(),
            origin,
            negative,
            table,
        }
    }

    /// Searches for a name at or below the apex.
    pub(super) fn find(&self, key: &Key, record_type: RecordType) -> Found<'_> {
        let labels = key.labels();
        for depth in self.depth + 1..=labels {
            let Some(place) = self.table.place(key.suffix(depth)) else {
                // The name above is the closest encloser; only a wildcard right below that can match.
                let wildcard = [WILDCARD, key.suffix(depth - 1)].concat();
                return self
                    .table
                    .place(&wildcard)
                    .map_or(Found::NxDomain, |place| self.pick(place, record_type));
            };
            // DS lives above the cut (RFC 4035 section 3.1.4.1).
            let parent_side = depth == labels && record_type == RecordType::DS;
            if self.table.is_cut(place) && !parent_side {
                let servers = self.table.set(place, RecordType::NS);
                return Found::Referral(servers.records(&self.table.name(place)).collect());
            }
        }
        self.table
            .place(key.whole())
            .map_or(Found::NxDomain, |place| self.pick(place, record_type))
    }

    /// The answer to a type: its records, those of any one type for ANY (RFC 8482 section 4.1), else the CNAME.
    fn pick(&self, place: Place, record_type: RecordType) -> Found<'_> {
        let set = if record_type == RecordType::ANY {
            self.table.any_set(place)
        } else {
            self.table.set(place, record_type)
        };
        if !set.is_empty() {
            return Found::Records(set);
        }
        let alias = self.table.set(place, RecordType::CNAME);
        if alias.is_empty() {
            Found::NoData
        } else {
            Found::Alias(alias)
        }
    }

    /// The records of one type, also from a wildcard, but not over an alias.
    pub(super) fn addresses(&self, key: &Key, record_type: RecordType) -> Option<Set<'_>> {
        match self.find(key, record_type) {
            Found::Records(records) => Some(records),
            Found::Alias(..) | Found::Referral(_) | Found::NoData | Found::NxDomain => None,
        }
    }

    /// The records at exactly this name, also below a delegation: the glue.
    pub(super) fn glue(&self, key: &Key, record_type: RecordType) -> Option<Set<'_>> {
        let place = self.table.place(key.whole())?;
        Some(self.table.set(place, record_type))
    }

    /// Whether the name of a place is at or below a delegation.
    pub(super) fn is_delegated(&self, place: Place) -> bool {
        self.table.has_cuts()
            && matches!(
                self.find(&Key::of(&self.name(place)), RecordType::A),
                Found::Referral(_)
            )
    }

    /// The name of a place.
    pub(super) fn name(&self, place: Place) -> Name {
        self.table.name(place)
    }

    /// The key of the name of a place.
    pub(super) fn key(&self, place: Place) -> &[u8] {
        self.table.key(place)
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
