//! From a trust anchor down to the zone of a name (RFC 4035 section 5): DS by DS, DNSKEY by DNSKEY. Called by
//! `judge`, for one answer at a time.

use std::sync::Arc;

use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_proto::dnssec::{DigestType, PublicKey};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::super::upstreams::Upstreams;
use super::super::{Answer, Question, ResolveError};
use super::anchors::Anchor;
use super::denial::{Cut, Denial};
use super::known::State;
use super::limits::{Budget, MAX_DS, MAX_KEYS, MAX_PROOFS};
use super::reason::{Bogus, ede};
use super::sets::{Set, Zone, depth, sets};
use super::{Validator, now};

/// The work for one answer.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    /// Who is trusted, and what is known.
    pub(super) validator: &'a Validator,
    /// Who is asked.
    pub(super) upstreams: &'a Arc<Upstreams>,
    /// The time on the calendar, as in a signature (RFC 4034 section 3.1.5).
    pub(super) time: u32,
    /// What is left.
    pub(super) budget: Budget,
    /// The server that is asked by itself; `None`: as for any question.
    pub(super) server: Option<usize>,
    /// Whether nobody else is asked after this, so that a zone that does not hold is remembered as such.
    pub(super) is_last: bool,
}

/// How a zone is signed, as its parent or a trust anchor says.
#[derive(Clone, Copy)]
enum Trust<'a> {
    Anchor(&'a Anchor),
    Digests(&'a [&'a DS]),
}

impl Walk<'_> {
    /// The signed zone that a name is in; `None`: it is in none.
    ///
    /// # Errors
    ///
    /// [`ResolveError::Bogus`] where a zone on the way should be signed and is not rightly, and others where upstream
    /// did not answer.
    pub(super) async fn zone_of(&mut self, name: &Name) -> Result<Option<Arc<Zone>>, ResolveError> {
        let validator = self.validator;
        let Some(anchor) = validator.anchor(name) else {
            return Ok(None);
        };
        let mut zone = match validator.known.get(&anchor.zone, now()) {
            Some(state) => state,
            None => self.begin(anchor).await?,
        };
        let mut found = match zone {
            State::Secure(zone) => zone,
            State::Bogus(bogus) => return Err(bogus.into()),
            State::Insecure | State::Inside | State::Nothing => return Ok(None),
        };
        for labels in depth(&anchor.zone) + 1..=depth(name) {
            let child = name.trim_to(labels);
            zone = match validator.known.get(&child, now()) {
                Some(state) => state,
                None => self.step(&found, &child).await?,
            };
            match zone {
                State::Secure(zone) => found = zone,
                State::Insecure => return Ok(None),
                State::Inside => {}
                State::Nothing => break,
                State::Bogus(bogus) => return Err(bogus.into()),
            }
        }
        Ok(Some(found))
    }

    /// What the zone of a trust anchor is.
    async fn begin(&mut self, anchor: &Anchor) -> Result<State, ResolveError> {
        let outcome = self
            .keys(&anchor.zone, Trust::Anchor(anchor), u32::MAX)
            .await;
        self.settle(&anchor.zone, outcome)
    }

    /// What a name is to the signed zone above it.
    async fn step(&mut self, parent: &Zone, child: &Name) -> Result<State, ResolveError> {
        let outcome = self.delegation(parent, child).await;
        self.settle(child, outcome)
    }

    /// Remembers what was found out, but not that upstream did not answer or that work ran out.
    fn settle(
        &self,
        name: &Name,
        outcome: Result<(State, u32), ResolveError>,
    ) -> Result<State, ResolveError> {
        let (state, ttl) = match outcome {
            Err(ResolveError::Bogus { code, text }) if code != ede::INDETERMINATE => {
                (State::Bogus(Bogus::new(code, text)), 0)
            }
            outcome => outcome?,
        };
        if self.is_last || !matches!(state, State::Bogus(_)) {
            self.validator.known.put(name, state.clone(), ttl, now());
        }
        Ok(state)
    }

    async fn delegation(
        &mut self,
        parent: &Zone,
        child: &Name,
    ) -> Result<(State, u32), ResolveError> {
        let answer = self.ask(child, RecordType::DS).await?;
        let sets_of_answer = sets(&answer.answers);
        let own = |record_type| {
            let mut of = sets_of_answer.iter();
            of.find(move |set| set.record_type == record_type && set.name == child)
        };
        if let Some(set) = own(RecordType::DS) {
            let verified = set.check(parent, self.time, &mut self.budget)?;
            if verified.wildcard.is_some() {
                return Err(set.bogus(ede::BOGUS, "is made of a wildcard").into());
            }
            let digests = usable(set);
            if digests.is_empty() {
                return Ok((State::Insecure, verified.ttl));
            }
            return self
                .keys(child, Trust::Digests(&digests), verified.ttl)
                .await;
        }
        // Nothing is below a name that a DNAME above stands for, and none with a CNAME is a zone.
        let alias = sets_of_answer.iter().find(|set| {
            set.record_type == RecordType::DNAME && set.name != child && set.name.zone_of(child)
        });
        for (alias, state) in [
            (alias, State::Nothing),
            (own(RecordType::CNAME), State::Inside),
        ] {
            if let Some(set) = alias {
                let verified = set.check(parent, self.time, &mut self.budget)?;
                return Ok((state, verified.ttl));
            }
        }
        let sets_of_proof = sets(&answer.authorities);
        let (denial, ttl) = self.denial(parent, &sets_of_proof)?;
        let state = match denial.no_ds(child, &mut self.budget)? {
            Cut::Unsigned => State::Insecure,
            Cut::None => State::Inside,
            Cut::NoName => State::Nothing,
        };
        Ok((state, ttl))
    }

    /// The keys of a zone, once one that is trusted has signed them all.
    async fn keys(
        &mut self,
        apex: &Name,
        trust: Trust<'_>,
        ttl: u32,
    ) -> Result<(State, u32), ResolveError> {
        let answer = self.ask(apex, RecordType::DNSKEY).await?;
        let sets = sets(&answer.answers);
        let mut of = sets.iter();
        let set = of.find(|set| set.record_type == RecordType::DNSKEY && set.name == apex);
        let missing = |what: &str| {
            let text = format!("{} {what}", apex.to_lowercase());
            ResolveError::from(Bogus::new(ede::KEY_MISSING, text))
        };
        let set = set.ok_or_else(|| missing("has no DNSKEY"))?;
        let mut keys = Vec::new();
        for key in set.records.iter().filter_map(|record| dnskey(record)) {
            let usable = key.zone_key()
                && !key.revoke()
                && PublicKey::algorithm(key.public_key()).is_supported();
            if usable && let Ok(tag) = key.calculate_key_tag() {
                keys.push((tag, key.clone()));
            }
        }
        keys.truncate(MAX_KEYS);
        let mut trusted = Vec::new();
        for (tag, key) in &keys {
            if self.is_trusted(apex, *tag, key, trust)? {
                trusted.push((*tag, key.clone()));
            }
        }
        if trusted.is_empty() {
            return Err(missing(match trust {
                Trust::Anchor(_) => "has no DNSKEY that is the trust anchor's",
                Trust::Digests(_) => "has no DNSKEY that its DS is of",
            }));
        }
        let entry = Zone {
            apex: apex.clone(),
            keys: trusted,
        };
        let verified = set.check(&entry, self.time, &mut self.budget)?;
        let zone = Zone {
            apex: apex.to_lowercase(),
            keys,
        };
        Ok((State::Secure(Arc::new(zone)), verified.ttl.min(ttl)))
    }

    fn is_trusted(
        &mut self,
        apex: &Name,
        tag: u16,
        key: &DNSKEY,
        trust: Trust<'_>,
    ) -> Result<bool, Bogus> {
        let algorithm = PublicKey::algorithm(key.public_key());
        let digests: Vec<&DS> = match trust {
            Trust::Anchor(anchor) if anchor.keys.contains(key.public_key()) => return Ok(true),
            Trust::Anchor(anchor) => anchor.digests.iter().collect(),
            Trust::Digests(digests) => digests.to_vec(),
        };
        for digest in digests {
            if digest.key_tag() == tag && digest.algorithm() == algorithm {
                self.budget.check()?;
                if digest.covers(apex, key).unwrap_or(false) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The NSEC and NSEC3 records that a zone has signed, and how long they hold.
    ///
    /// # Errors
    ///
    /// [`Bogus`] where there are some, and none that holds.
    pub(super) fn denial<'s>(
        &mut self,
        zone: &'s Zone,
        sets: &[Set<'s>],
    ) -> Result<(Denial<'s>, u32), Bogus> {
        let mut denial = Denial::new(&zone.apex);
        let mut ttl = None;
        let mut failure = Bogus::new(
            ede::NSEC_MISSING,
            format!("{} gave no NSEC or NSEC3", zone.apex),
        );
        let of_proof = |set: &&Set<'_>| {
            matches!(set.record_type, RecordType::NSEC | RecordType::NSEC3)
                && zone.apex.zone_of(set.name)
        };
        for set in sets.iter().filter(of_proof).take(MAX_PROOFS) {
            match set.check(zone, self.time, &mut self.budget) {
                // What a wildcard was made into proves nothing about its own place.
                Ok(verified) if verified.wildcard.is_none() => {
                    ttl = Some(ttl.unwrap_or(u32::MAX).min(verified.ttl));
                    for record in &set.records {
                        denial.add(record);
                    }
                }
                Ok(_) => {}
                Err(bogus) if bogus.code == ede::INDETERMINATE => return Err(bogus),
                Err(bogus) => failure = bogus,
            }
        }
        ttl.map(|ttl| (denial, ttl)).ok_or(failure)
    }

    async fn ask(
        &mut self,
        name: &Name,
        record_type: RecordType,
    ) -> Result<Arc<Answer>, ResolveError> {
        self.budget.question()?;
        let question = Question {
            name: name.to_lowercase(),
            record_type,
            dnssec_ok: true,
            checking_disabled: true,
        };
        if let Some(nth) = self.server {
            return self.upstreams.ask_one(&question, nth).await.map(Arc::new);
        }
        let upstreams = Arc::clone(self.upstreams);
        let asked = question.clone();
        let outcome = self
            .validator
            .flights
            .join(&question, || async move {
                upstreams.ask(&asked).await.map(Arc::new)
            })
            .await;
        outcome.unwrap_or_else(|error| Err(error.into()))
    }
}

/// The DS records that we can do something with; SHA-1 counts only where there is nothing better (RFC 4509 section 3).
fn usable<'a>(set: &Set<'a>) -> Vec<&'a DS> {
    let mut digests: Vec<&DS> = set
        .records
        .iter()
        .filter_map(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::DS(digest)) => Some(digest),
            _ => None,
        })
        .filter(|digest| digest.algorithm().is_supported() && digest.digest_type().is_supported())
        .collect();
    if digests
        .iter()
        .any(|digest| digest.digest_type() != DigestType::SHA1)
    {
        digests.retain(|digest| digest.digest_type() != DigestType::SHA1);
    }
    digests.truncate(MAX_DS);
    digests
}

fn dnskey(record: &Record) -> Option<&DNSKEY> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::DNSKEY(key)) => Some(key),
        _ => None,
    }
}
