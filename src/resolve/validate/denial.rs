//! PURE. What does not exist: proofs by NSEC (RFC 4035 section 5.4, RFC 6840 section 4) or NSEC3 (RFC 5155 section 8).
//! The records that come here are verified, of one zone, and not made of a wildcard.

use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC, NSEC3};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::limits::{Budget, MAX_ITERATIONS};
use super::nsec;
use super::nsec3;
use super::reason::{Bogus, ede};

/// How far a proof goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It is as it says.
    Secure,
    /// It may be so: the zone does not vouch for delegations that are not signed (opt-out), or hashes too often.
    Insecure,
}

/// What there is of a child zone, where there is no DS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// A delegation that is not signed, or perhaps one.
    Unsigned,
    /// The name is one of the same zone.
    None,
    /// The name does not exist, nor does anything below it.
    NoName,
}

/// The verified NSEC and NSEC3 records of an answer.
#[derive(Clone, Debug)]
pub(super) struct Denial<'a> {
    apex: &'a Name,
    nsec: Vec<(&'a Name, &'a NSEC)>,
    nsec3: Vec<(Vec<u8>, &'a NSEC3)>,
}

impl<'a> Denial<'a> {
    /// Nothing proved yet, in this zone.
    pub(super) fn new(apex: &'a Name) -> Self {
        Self {
            apex,
            nsec: Vec::new(),
            nsec3: Vec::new(),
        }
    }

    /// Adds a verified record; others than NSEC and NSEC3 are passed over.
    pub(super) fn add(&mut self, record: &'a Record) {
        match &record.data {
            RData::DNSSEC(DNSSECRData::NSEC(nsec)) => self.nsec.push((&record.name, nsec)),
            RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) if record.name.base_name() == *self.apex => {
                let same = self.nsec3.first().is_none_or(|(_, first)| {
                    (first.iterations(), first.salt()) == (nsec3.iterations(), nsec3.salt())
                });
                if same && let Some(hash) = record.name.iter().next().and_then(nsec3::owner_hash) {
                    self.nsec3.push((hash, nsec3));
                }
            }
            _ => {}
        }
    }

    /// There is no such name.
    pub(super) fn no_name(&self, name: &Name, budget: &mut Budget) -> Result<Proof, Bogus> {
        match self.hashed() {
            Hashed::No if nsec::no_name(&self.nsec, name) => Ok(Proof::Secure),
            Hashed::No => Err(missing(name, "is not proved not to exist")),
            Hashed::TooOften => Ok(Proof::Insecure),
            Hashed::By(chain) => chain
                .no_name(name, budget)?
                .ok_or_else(|| missing(name, "is not proved not to exist")),
        }
    }

    /// The name has no records of the type.
    pub(super) fn no_data(
        &self,
        name: &Name,
        record_type: RecordType,
        budget: &mut Budget,
    ) -> Result<Proof, Bogus> {
        let unproved = || missing(name, &format!("is not proved to have no {record_type}"));
        match self.hashed() {
            Hashed::No if nsec::no_data(&self.nsec, name, record_type) => Ok(Proof::Secure),
            Hashed::No => Err(unproved()),
            Hashed::TooOften => Ok(Proof::Insecure),
            Hashed::By(chain) => chain
                .no_data(name, record_type, budget)?
                .ok_or_else(unproved),
        }
    }

    /// The name is none of its own, but one that the wildcard with so many labels stands for.
    pub(super) fn wildcard(
        &self,
        name: &Name,
        labels: u8,
        budget: &mut Budget,
    ) -> Result<Proof, Bogus> {
        let unproved = || missing(name, "is not proved to be of a wildcard");
        match self.hashed() {
            Hashed::No if nsec::wildcard_of(&self.nsec, name, labels) => Ok(Proof::Secure),
            Hashed::No => Err(unproved()),
            Hashed::TooOften => Ok(Proof::Insecure),
            Hashed::By(chain) => chain.wildcard(name, labels, budget)?.ok_or_else(unproved),
        }
    }

    /// The name has no DS, and why.
    pub(super) fn no_ds(&self, name: &Name, budget: &mut Budget) -> Result<Cut, Bogus> {
        let unproved = || missing(name, "is not proved to have no DS");
        match self.hashed() {
            Hashed::No => nsec::no_ds(&self.nsec, name).ok_or_else(unproved),
            Hashed::TooOften => Ok(Cut::Unsigned),
            Hashed::By(chain) => chain.no_ds(name, budget)?.ok_or_else(unproved),
        }
    }

    fn hashed(&self) -> Hashed<'_> {
        match self.nsec3.first() {
            Some(_) if !self.nsec.is_empty() => Hashed::No,
            Some((_, first)) if first.iterations() > MAX_ITERATIONS => Hashed::TooOften,
            Some((_, first)) => Hashed::By(nsec3::Chain {
                apex: self.apex,
                records: &self.nsec3,
                parameters: first,
            }),
            None => Hashed::No,
        }
    }
}

/// How the names in the proof are written.
enum Hashed<'a> {
    No,
    TooOften,
    By(nsec3::Chain<'a>),
}

/// Whether a name with these types has no records of this one. A name at a zone cut has two sets of types: DS belongs
/// to the parent's, everything else to the child's (RFC 6840 section 4.4).
pub(super) fn lacks(
    has: impl Fn(RecordType) -> bool,
    name: &Name,
    record_type: RecordType,
) -> bool {
    let delegation = has(RecordType::NS) && !has(RecordType::SOA);
    let right_side = match record_type {
        RecordType::DS => !has(RecordType::SOA) || name.is_root(),
        _ => !delegation,
    };
    right_side && !has(record_type) && !has(RecordType::CNAME)
}

/// What a name with these types is to its zone, where it has no DS.
pub(super) fn cut(has: impl Fn(RecordType) -> bool) -> Option<Cut> {
    match (
        has(RecordType::DS) || has(RecordType::SOA),
        has(RecordType::NS),
    ) {
        (true, _) => None,
        (false, true) => Some(Cut::Unsigned),
        (false, false) => Some(Cut::None),
    }
}

fn missing(name: &Name, what: &str) -> Bogus {
    Bogus::new(ede::NSEC_MISSING, format!("{} {what}", name.to_lowercase()))
}
