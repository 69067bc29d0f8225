//! PURE. The records of a scripted upstream, and what a resolver that knows no more than them answers: CNAMEs followed,
//! wildcards, NODATA and NXDOMAIN with the SOA, signatures where DO is set.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::signing::{self, Signed};

/// CNAMEs that are followed.
const MAX_CHAIN: usize = 30;

/// The records.
#[derive(Debug)]
pub(crate) struct Zone {
    signed: Signed,
    apexes: Vec<Name>,
}

/// An answer.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) rcode: ResponseCode,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
}

impl Zone {
    /// Of these records, some of them signed.
    pub(crate) fn new(records: Vec<Record>, signed: &[Name]) -> Result<Self, String> {
        Ok(Self {
            apexes: signing::apexes(&records),
            signed: signing::sign(records, signed)?,
        })
    }

    /// The trust anchor of what is signed.
    pub(crate) fn anchor(&self) -> &str {
        &self.signed.anchor
    }

    /// The answer to a question.
    pub(crate) fn answer(&self, name: &Name, record_type: RecordType, dnssec_ok: bool) -> Found {
        let mut found = Found::default();
        let mut current = name.clone();
        for _ in 0..MAX_CHAIN {
            let here = self.at(&current);
            let of = |wanted: RecordType| -> Vec<Record> {
                here.iter()
                    .filter(|record| {
                        record.record_type() == wanted
                            || dnssec_ok && covers(record) == Some(wanted)
                    })
                    .cloned()
                    .collect()
            };
            let wanted = of(record_type);
            if !wanted.is_empty() {
                found.answers.extend(wanted);
                return found;
            }
            let alias = of(RecordType::CNAME);
            let Some(target) = alias.iter().find_map(|record| match &record.data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            }) else {
                if here.is_empty() && !self.has_below(&current) {
                    found.rcode = ResponseCode::NXDomain;
                }
                found.authorities = self.denial(&current, record_type, dnssec_ok);
                return found;
            };
            found.answers.extend(alias);
            current = target;
        }
        found
    }

    /// The records at a name, or those of the wildcard that stands for it.
    fn at(&self, name: &Name) -> Vec<Record> {
        let exact = |owner: &Name| -> Vec<Record> {
            self.signed
                .records
                .iter()
                .filter(|record| record.name == *owner)
                .cloned()
                .collect()
        };
        let here = exact(name);
        if !here.is_empty() || self.has_below(name) || name.is_root() {
            return here;
        }
        let mut encloser = name.base_name();
        loop {
            let wild = Name::from_ascii("*").and_then(|star| star.append_domain(&encloser));
            let mut wild = wild.map(|wild| exact(&wild)).unwrap_or_default();
            if !wild.is_empty() {
                for record in &mut wild {
                    record.name = name.clone();
                }
                return wild;
            }
            if encloser.is_root() || self.has_below(&encloser) || !exact(&encloser).is_empty() {
                return Vec::new();
            }
            encloser = encloser.base_name();
        }
    }

    fn has_below(&self, name: &Name) -> bool {
        self.signed
            .records
            .iter()
            .any(|record| record.name != *name && name.zone_of(&record.name))
    }

    /// What the closest zone that is written down says of what it has not: its SOA, and where it is signed, proofs.
    fn denial(&self, name: &Name, record_type: RecordType, dnssec_ok: bool) -> Vec<Record> {
        let Some(apex) = signing::zone(&self.apexes, name, record_type) else {
            return Vec::new();
        };
        if dnssec_ok && let Some(denial) = self.signed.denials.get(apex) {
            return denial.clone();
        }
        let here = self.signed.records.iter().filter(|record| {
            record.name == *apex
                && (record.record_type() == RecordType::SOA
                    || dnssec_ok && covers(record) == Some(RecordType::SOA))
        });
        here.cloned().collect()
    }
}

/// The type that a signature is over.
fn covers(record: &Record) -> Option<RecordType> {
    match &record.data {
        RData::DNSSEC(hickory_proto::dnssec::rdata::DNSSECRData::RRSIG(signature)) => {
            Some(signature.input().type_covered)
        }
        _ => None,
    }
}
