//! One answer: which of its sets are signed, and whether what is not there is proved not to be (RFC 4035 section 5,
//! RFC 5155 section 8). Called by the [`Validator`](super::Validator).

use std::cmp::Reverse;
use std::sync::Arc;

use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinDecodable;

use super::super::answer::{chain_end, is_negative};
use super::super::{Answer, Question, ResolveError};
use super::denial::{Denial, Proof};
use super::limits::MAX_SIGNERS;
use super::reason::{Bogus, ede};
use super::sets::{Set, Verified, Zone, depth, sets};
use super::walk::Walk;

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// Signed down from a trust anchor.
    Secure,
    /// As it came: nobody can sign it.
    Insecure,
}

/// Sets that hold, and how long.
type Held = Vec<(Name, RecordType, u32)>;

/// A set that was made of a wildcard: its name, the wildcard's labels, who signed it.
type Expanded = (Name, u8, Arc<Zone>);

impl Walk<'_> {
    /// Judges an answer, and reduces it to what holds where it is secure: TTLs to those that were signed, and the
    /// authority and additional sections to what was looked at.
    ///
    /// # Errors
    ///
    /// [`ResolveError::Bogus`] where it does not hold, others where upstream did not say enough to know.
    pub(super) async fn judge(
        &mut self,
        question: &Question,
        answer: &mut Answer,
    ) -> Result<Security, ResolveError> {
        let mut held = Held::new();
        let mut security = self.answered(question, answer, &mut held).await?;
        let negative = is_negative(question, answer);
        let mut proofs = Held::new();
        if negative {
            security = security.and(self.denied(question, answer, &mut proofs).await?);
        }
        cap(&mut answer.answers, &held);
        cap(&mut answer.authorities, &proofs);
        if security == Security::Secure {
            held.extend(proofs);
            answer.authorities.retain(|record| holds(record, &held));
            answer.additionals.clear();
        }
        Ok(security)
    }

    /// The answer section, and the proofs that its wildcards need.
    async fn answered(
        &mut self,
        question: &Question,
        answer: &Answer,
        held: &mut Held,
    ) -> Result<Security, ResolveError> {
        let sets_of_answer = sets(&answer.answers);
        // Signatures are not signed.
        let mut security = match question.record_type {
            RecordType::RRSIG => Security::Insecure,
            _ => Security::Secure,
        };
        let mut expanded: Vec<Expanded> = Vec::new();
        for set in &sets_of_answer {
            if set.signatures.is_empty() && is_synthesized(set, &sets_of_answer) {
                continue;
            }
            match self.signed(set).await? {
                Some((verified, zone)) => {
                    held.push((set.name.clone(), set.record_type, verified.ttl));
                    if let Some(labels) = verified.wildcard {
                        expanded.push((set.name.clone(), labels, zone));
                    }
                }
                None => security = Security::Insecure,
            }
        }
        let sets_of_proof = sets(&answer.authorities);
        for (name, labels, zone) in &expanded {
            let (denial, ttl) = self.denial(zone, &sets_of_proof)?;
            if denial.wildcard(name, *labels, &mut self.budget)? == Proof::Insecure {
                security = Security::Insecure;
            }
            let of_proof = sets_of_proof.iter().filter(|set| is_proof(set, zone));
            held.extend(of_proof.map(|set| (set.name.clone(), set.record_type, ttl)));
        }
        Ok(security)
    }

    /// Who signed a set; `None`: it is in no signed zone.
    async fn signed(
        &mut self,
        set: &Set<'_>,
    ) -> Result<Option<(Verified, Arc<Zone>)>, ResolveError> {
        let home = at_home(set.name, set.record_type);
        let Some(anchor) = self.validator.anchor(&home) else {
            return Ok(None);
        };
        let mut failure: Option<ResolveError> = None;
        for signer in set.signers().into_iter().take(MAX_SIGNERS) {
            // Who is above the trust anchor is not asked about what is below it.
            if !anchor.zone.zone_of(signer) {
                continue;
            }
            match self.zone_of(signer).await {
                Ok(None) => return Ok(None),
                Ok(Some(zone)) if zone.apex == *signer => {
                    match set.check(&zone, self.time, &mut self.budget) {
                        Ok(verified) => return Ok(Some((verified, zone))),
                        Err(bogus) => failure = Some(bogus.into()),
                    }
                }
                Ok(Some(_)) => {
                    failure = Some(set.bogus(ede::BOGUS, "is signed by what is no zone").into());
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        match self.zone_of(&home).await? {
            None => Ok(None),
            Some(_) => Err(set
                .bogus(ede::SIGNATURES_MISSING, "has no signature")
                .into()),
        }
    }

    /// The proof that there is no such name or no such record at the end of the chain.
    async fn denied(
        &mut self,
        question: &Question,
        answer: &Answer,
        held: &mut Held,
    ) -> Result<Security, ResolveError> {
        let end = chain_end(question, &answer.answers);
        let record_type = question.record_type;
        let home = at_home(end, record_type);
        let Some(anchor) = self.validator.anchor(&home) else {
            return Ok(Security::Insecure);
        };
        let sets = sets(&answer.authorities);
        let mut signers: Vec<&Name> = Vec::new();
        for signer in sets.iter().flat_map(Set::signers) {
            if signer.zone_of(&home) && anchor.zone.zone_of(signer) && !signers.contains(&signer) {
                signers.push(signer);
            }
        }
        // A zone above may have signed the proof for a wildcard on the way here.
        signers.sort_by_key(|signer| Reverse(depth(signer)));
        let mut zone = None;
        for signer in signers.iter().take(MAX_SIGNERS) {
            match self.zone_of(signer).await? {
                None => return Ok(Security::Insecure),
                Some(found) if found.apex == **signer => {
                    zone = Some(found);
                    break;
                }
                Some(_) => {}
            }
        }
        let Some(zone) = zone else {
            return self.unproved(&home, &sets).await;
        };
        let (denial, mut ttl) = self.denial(&zone, &sets)?;
        let proof = self.proof(&denial, end, record_type, answer.rcode)?;
        // The SOA says how long this holds, so it must be the zone's.
        for set in &sets {
            if set.record_type == RecordType::SOA {
                if *set.name != zone.apex {
                    continue;
                }
                ttl = ttl.min(set.check(&zone, self.time, &mut self.budget)?.ttl);
            }
            if set.record_type == RecordType::SOA || is_proof(set, &zone) {
                held.push((set.name.clone(), set.record_type, ttl));
            }
        }
        for (_, _, life) in held {
            *life = (*life).min(ttl);
        }
        Ok(match proof {
            Proof::Secure => Security::Secure,
            Proof::Insecure => Security::Insecure,
        })
    }

    /// No zone has signed what the authority section has: good only where none can.
    async fn unproved(&mut self, home: &Name, sets: &[Set<'_>]) -> Result<Security, ResolveError> {
        let Some(zone) = self.zone_of(home).await? else {
            return Ok(Security::Insecure);
        };
        let code = match sets.iter().any(|set| is_proof(set, &zone)) {
            true => ede::SIGNATURES_MISSING,
            false => ede::NSEC_MISSING,
        };
        Err(Bogus::new(code, format!("{} gave no signed proof", zone.apex)).into())
    }

    fn proof(
        &mut self,
        denial: &Denial<'_>,
        name: &Name,
        record_type: RecordType,
        rcode: ResponseCode,
    ) -> Result<Proof, Bogus> {
        match rcode {
            ResponseCode::NXDomain => denial.no_name(name, &mut self.budget),
            _ => denial.no_data(name, record_type, &mut self.budget),
        }
    }
}

impl Security {
    fn and(self, other: Self) -> Self {
        match self {
            Self::Secure => other,
            Self::Insecure => self,
        }
    }
}

/// The name whose zone has records of this type at that name: a DS is its parent's (RFC 4035 section 2.4).
fn at_home(name: &Name, record_type: RecordType) -> Name {
    match record_type {
        RecordType::DS => name.base_name(),
        _ => name.clone(),
    }
}

/// Whether this is the CNAME that a DNAME of the answer makes (RFC 6672 section 3.1), which nobody signs: it holds if
/// the DNAME does.
fn is_synthesized(set: &Set<'_>, sets: &[Set<'_>]) -> bool {
    let [record] = set.records.as_slice() else {
        return false;
    };
    let RData::CNAME(target) = &record.data else {
        return false;
    };
    let mut above = sets.iter().filter(|of| of.record_type == RecordType::DNAME);
    above.any(|of| match of.records.as_slice() {
        [dname] => {
            dname_target(dname).is_some_and(|to| substitutes(set.name, of.name, &to, target))
        }
        _ => false,
    })
}

/// hickory does not know DNAME, and leaves its data as it came.
fn dname_target(record: &Record) -> Option<Name> {
    match &record.data {
        RData::Unknown { rdata, .. } => Name::from_bytes(&rdata.anything).ok(),
        _ => None,
    }
}

/// Whether `name` with its end `owner` replaced by `to` is `target`.
fn substitutes(name: &Name, owner: &Name, to: &Name, target: &Name) -> bool {
    let kept = name.iter().count().saturating_sub(owner.iter().count());
    if kept == 0 || !owner.zone_of(name) {
        return false;
    }
    Name::from_labels(name.iter().take(kept))
        .and_then(|prefix| {
            let mut prefix = prefix;
            prefix.set_fqdn(false);
            prefix.append_domain(to)
        })
        .is_ok_and(|made| made == *target)
}

fn is_proof(set: &Set<'_>, zone: &Zone) -> bool {
    matches!(set.record_type, RecordType::NSEC | RecordType::NSEC3) && zone.apex.zone_of(set.name)
}

fn holds(record: &Record, held: &Held) -> bool {
    held.iter()
        .any(|(name, of, _)| *name == record.name && *of == covered(record))
}

/// No record longer than its signature.
fn cap(records: &mut [Record], held: &Held) {
    for record in records {
        let covered = covered(record);
        let of = |(name, of, _): &&(Name, RecordType, u32)| *name == record.name && *of == covered;
        if let Some((_, _, ttl)) = held.iter().find(of) {
            record.ttl = record.ttl.min(*ttl);
        }
    }
}

/// The type that a record is of, or signs.
fn covered(record: &Record) -> RecordType {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => signature.input().type_covered,
        _ => record.record_type(),
    }
}
