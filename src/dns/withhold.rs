//! PURE. AAAA taken out of answers, so that what is left is still a good answer (RFC 2308, RFC 4035).
//!
//! Called by `pipeline` on what `resolve` gave.

use std::collections::HashSet;

use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::message::{Draft, ede};
use super::svcb::strip_ipv6_hints;

/// The longest time, in seconds, that a client may remember that there is no AAAA: the policy may change.
const NEGATIVE_TTL: u32 = 60;
/// What is said of it.
pub(super) const WITHHELD: &str = "AAAA withheld by the gate";

/// Told as it is, less every AAAA and every hint of one, in all sections, with the signatures over what was changed.
/// AD covers the first two sections only (RFC 4035 section 3.2.3).
pub(super) fn scrub(draft: &mut Draft) {
    let covered = scrub_section(&mut draft.answers) | scrub_section(&mut draft.authorities);
    let other = scrub_section(&mut draft.additionals);
    draft.authentic &= !covered;
    draft.withheld |= covered || other;
}

fn scrub_section(records: &mut Vec<Record>) -> bool {
    let before = records.len();
    records.retain(|record| {
        record.record_type() != RecordType::AAAA && type_covered(record) != Some(RecordType::AAAA)
    });
    let mut changed: Vec<(Name, RecordType)> = Vec::new();
    for record in records.iter_mut() {
        if strip_ipv6_hints(&mut record.data) {
            changed.push((record.name.clone(), record.record_type()));
        }
    }
    unsign(records, &changed);
    !changed.is_empty() || records.len() != before
}

/// Takes out the signatures over sets of records that were changed.
pub(super) fn unsign(records: &mut Vec<Record>, changed: &[(Name, RecordType)]) {
    if changed.is_empty() {
        return;
    }
    // There may be thousands of each.
    let changed: HashSet<(&Name, RecordType)> =
        changed.iter().map(|(owner, of)| (owner, *of)).collect();
    records.retain(|record| {
        type_covered(record).is_none_or(|covered| !changed.contains(&(&record.name, covered)))
    });
}

/// As if the type asked for did not exist at the end of the chain: the CNAME chain with its signatures, and the SOA.
/// Nothing is left that speaks of what exists, signed or not.
pub(super) fn no_data(mut draft: Draft, soa: Record) -> Draft {
    draft.answers.retain(|record| {
        let of = type_covered(record).unwrap_or_else(|| record.record_type());
        of == RecordType::CNAME || of == RecordType::DNAME
    });
    draft.authorities = vec![soa];
    draft.additionals.clear();
    draft.authentic = false;
    draft.capped = true;
    draft
}

/// The same for AAAA, with the reason.
pub(super) fn withhold(draft: Draft, soa: Record) -> Draft {
    let mut draft = no_data(draft, soa).because(ede::FILTERED, WITHHELD);
    draft.withheld = true;
    draft
}

/// The type that a signature covers (RFC 4034 section 3.1.1); SIG is its forerunner (RFC 2535 section 4.1).
pub(super) fn type_covered(record: &Record) -> Option<RecordType> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(signature.input().type_covered),
        RData::DNSSEC(DNSSECRData::SIG(signature)) => Some(signature.input().type_covered),
        RData::Unknown { code, rdata } if is_signature(*code) => {
            let octets = rdata.anything.first_chunk::<2>();
            Some(octets.map_or(RecordType::ZERO, |&octets| {
                u16::from_be_bytes(octets).into()
            }))
        }
        // One that could not be read is a signature still.
        _ => is_signature(record.record_type()).then_some(RecordType::ZERO),
    }
}

fn is_signature(record_type: RecordType) -> bool {
    matches!(record_type, RecordType::RRSIG | RecordType::SIG)
}

/// Where the CNAMEs lead from `name`.
pub(super) fn chain_end(name: &Name, answers: &[Record]) -> Name {
    let mut end = name;
    // As many steps as records: a loop ends too.
    for _ in answers {
        let next = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *end => Some(&target.0),
            _ => None,
        });
        match next {
            Some(target) => end = target,
            None => break,
        }
    }
    end.clone()
}

/// The SOA of the zone that holds `name`, among records that were got for it, for use in a negative answer.
pub(super) fn soa_for<'a>(
    name: &Name,
    records: impl IntoIterator<Item = &'a Record>,
) -> Option<Record> {
    records.into_iter().find_map(|record| match &record.data {
        RData::SOA(soa) if record.name.zone_of(name) => {
            let mut soa = soa.clone();
            soa.minimum = soa.minimum.min(NEGATIVE_TTL);
            let ttl = record.ttl.min(soa.minimum);
            Some(Record::from_rdata(
                record.name.clone(),
                ttl,
                RData::SOA(soa),
            ))
        }
        _ => None,
    })
}

/// A SOA where the real one could not be had: without one, stub resolvers do not remember the answer and ask again.
pub(super) fn fallback_soa(name: &Name) -> Record {
    let owner = name.base_name();
    let soa = SOA::new(
        owner.clone(),
        owner.clone(),
        1,
        3600,
        600,
        86_400,
        NEGATIVE_TTL,
    );
    Record::from_rdata(owner, NEGATIVE_TTL, RData::SOA(soa))
}
