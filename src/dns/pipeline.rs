//! The way of a question, as one list:
//!
//! 1. access list and form (`screen`, before this)
//! 2. special names, unless local data or servers of the administrator's are there for them
//! 3. local data: zones, hosts files, leases; where a CNAME of theirs leads outside, 5 to 7 for its target
//! 4. questions that we do not take outside: RD=0, ANY
//! 5. policy: what must be known, and what becomes of the answer
//! 6. steering
//! 7. the truth
//! 8. form of the reply (`shape`, after this)
//!
//! RD=0 asks for what we know without asking further (RFC 1035 section 4.1.1). The cache belongs to the resolver and
//! to policy alike, so only local data is told; for the rest, REFUSED says so at once, and nobody can find out by
//! RD=0 what others have asked for.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, HINFO};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::designated;
use super::handler::{View, now};
use super::local::LocalAnswer;
use super::message::{Asked, Draft, Lasting, Source, ede};
use super::policy::{Action, Has, Needs, action, needs};
use super::special::{self, Special};
use super::svcb;
use super::truth::Truth;
use super::withhold::{chain_end, fallback_soa, no_data, scrub, soa_for, type_covered, withhold};
use crate::config::Aaaa;
use crate::resolve::{Answer, ExtendedError, Life, Question, ResolveError, cache};
use crate::steer::{Route, When};

/// How long the SOA of a withheld answer may take, and not beyond the time that the truth has; the client waits for it. Then
/// there is the fallback. Nobody waits where the servers are known not to answer, or have just kept the answer itself waiting: then the cache has it or not.
const SOA_PATIENCE: Duration = Duration::from_secs(1);
/// How long a client may remember that ANY has no other answer, in seconds (RFC 8482 section 4.2).
const ANY_TTL: u32 = 3600;

/// Walks the list.
pub(super) async fn run<T: Truth>(view: &View<T>, client: IpAddr, asked: &Asked) -> Draft {
    let name = &asked.query.name;
    if let Some(draft) = special_names(view, asked, name) {
        return draft;
    }
    if let Some(draft) = local_data(view, client, asked).await {
        return draft;
    }
    if let Some(draft) = not_taken_outside(asked) {
        return draft;
    }
    outside(view, client, asked, name).await
}

fn special_names<T>(view: &View<T>, asked: &Asked, name: &Name) -> Option<Draft> {
    let record_type = asked.query.query_type;
    let special = special_here(view, name, record_type)?;
    if let Some(port) = view.tls.as_ref().and_then(|tls| tls.announced)
        && let Some(draft) = designated::answer(name, record_type, &view.domain, view.gate, port)
    {
        return Some(draft);
    }
    let mut answer = special::answer(special, name, record_type, view.gate);
    if special == Special::EmptyZone {
        view.local.hurry(&mut answer);
    }
    Some(local(answer, Source::Special))
}

/// How a name is special for a question, unless somebody who knows better is asked instead.
pub(super) fn special_here<T>(
    view: &View<T>,
    name: &Name,
    record_type: RecordType,
) -> Option<Special> {
    let special = special::special(name, &view.domain)?;
    let yields =
        special.yields_to(name, record_type, &view.local) || view.forwarded.takes(special, name);
    (!yields).then_some(special)
}

async fn local_data<T: Truth>(view: &View<T>, client: IpAddr, asked: &Asked) -> Option<Draft> {
    let record_type = asked.query.query_type;
    let mut answer = view.local.answer(&asked.query.name, record_type)?;
    let chase = answer.chase.take();
    let mut draft = local(answer, Source::Local);
    let Some(target) = chase.filter(|_| {
        asked.metadata.recursion_desired
            && !matches!(record_type, RecordType::CNAME | RecordType::ANY)
    }) else {
        return Some(draft);
    };
    let rest = match special_names(view, asked, &target) {
        Some(draft) => draft,
        None => outside(view, client, asked, &target).await,
    };
    draft.rcode = rest.rcode;
    draft.answers.extend(rest.answers);
    draft.authorities = rest.authorities;
    draft.extended_errors = rest.extended_errors;
    draft.withheld = rest.withheld;
    draft.steered = rest.steered;
    draft.rebound = rest.rebound;
    // Our part stays as it is, and theirs does not.
    draft.lasting = Lasting::Not;
    Some(draft)
}

fn local(answer: LocalAnswer, source: Source) -> Draft {
    Draft {
        source,
        authoritative: answer.authoritative,
        answers: answer.answers,
        authorities: answer.authorities,
        additionals: answer.additionals,
        lasting: Lasting::Always,
        ..Draft::empty(answer.rcode)
    }
}

fn not_taken_outside(asked: &Asked) -> Option<Draft> {
    if !asked.metadata.recursion_desired {
        return Some(
            Draft::empty(ResponseCode::Refused)
                .because(ede::NOT_AUTHORITATIVE, "not a local name, and RD is 0"),
        );
    }
    if asked.query.query_type == RecordType::ANY {
        let mut draft = Draft::empty(ResponseCode::NoError);
        draft.source = Source::Special;
        draft.lasting = Lasting::Always;
        draft.answers.push(Record::from_rdata(
            asked.query.name.clone(),
            ANY_TTL,
            RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new())),
        ));
        return Some(draft);
    }
    None
}

/// Policy, steering and the truth, for the name asked or the one that a local CNAME leads to.
async fn outside<T: Truth>(view: &View<T>, client: IpAddr, asked: &Asked, name: &Name) -> Draft {
    let begun = now();
    let outside = Outside {
        view,
        client,
        asked,
        name,
        begun,
        life: Mutex::new(Some((Life::MAX, begun))),
    };
    let told = match asked.query.query_type {
        RecordType::A => outside.ipv4().await,
        RecordType::AAAA => outside.ipv6().await,
        RecordType::HTTPS | RecordType::SVCB => outside.service_binding().await,
        other => match outside.lookup(name, other).await {
            Ok(truth) => Ok(outside.tell(truth).await),
            Err(error) => Err(error),
        },
    };
    let mut draft = told.unwrap_or_else(Draft::from);
    draft.source = Source::Outside;
    let life = outside.life.into_inner();
    draft.lasting = match life.unwrap_or_else(PoisonError::into_inner) {
        Some((life, then)) => Lasting::For(life.after(now().saturating_duration_since(then))),
        None => Lasting::Not,
    };
    draft
}

struct Outside<'a, T> {
    view: &'a View<T>,
    client: IpAddr,
    asked: &'a Asked,
    name: &'a Name,
    begun: Instant,
    /// How long everything that was learnt holds, from a moment on; `None` where something does not.
    life: Mutex<Option<(Life, Instant)>>,
}

/// How long an answer holds at most, by what it says itself; `None` where it does not hold any more.
fn own_life(answer: &Answer) -> Option<Life> {
    if cache::is_stale(answer) {
        return None;
    }
    let least = |records: &[Record]| records.iter().map(|record| record.ttl).min();
    let seconds =
        |ttl: Option<u32>| ttl.map_or(Duration::MAX, |ttl| Duration::from_secs(ttl.into()));
    let own = least(&answer.answers).or_else(|| least(&answer.authorities));
    let beside = least(&answer.authorities).min(least(&answer.additionals));
    let left = seconds(own);
    Some(Life {
        told: left.min(seconds(beside)),
        left,
    })
}

/// What was said about the addresses of a name; `None` where nobody was asked, or the answer came too late to matter.
#[derive(Default)]
struct Learnt {
    ipv4: Option<Result<Answer, ResolveError>>,
    ipv6: Option<Result<Answer, ResolveError>>,
}

impl Learnt {
    /// Why something is not known.
    fn error(self) -> Option<ResolveError> {
        [self.ipv4, self.ipv6]
            .into_iter()
            .flatten()
            .find_map(Result::err)
    }
}

impl<T: Truth> Outside<'_, T> {
    /// A: the real addresses, or the gate's.
    async fn ipv4(&self) -> Result<Draft, ResolveError> {
        let when = self.view.steering.when(self.client, self.name);
        let learnt = self.learn(self.name, RecordType::A, when).await;
        let known = self.known(&learnt, when);
        if action(RecordType::A, Aaaa::Withhold, when, known) == Action::LocalData {
            let truths = [&learnt.ipv4, &learnt.ipv6];
            let truths = truths.into_iter().flatten().flatten();
            let ttl = self.ttl(truths.clone().flat_map(|truth| &truth.answers));
            let gate = Record::from_rdata(self.name.clone(), ttl, RData::A(A(self.view.gate)));
            return Ok(self.steered(gate, truths));
        }
        let ipv4 = match learnt.ipv4 {
            Some(truth) => truth?,
            None => self.lookup(self.name, RecordType::A).await?,
        };
        match learnt.ipv6 {
            // Without AAAA we do not know whether "no A" is the end of it; the client shall ask again.
            Some(Err(error)) if self.is_no_data(&ipv4, RecordType::A) => Err(error),
            _ => Ok(self.tell(ipv4).await),
        }
    }

    /// AAAA: withheld, or passed where a rule says so.
    async fn ipv6(&self) -> Result<Draft, ResolveError> {
        let when = self.view.steering.when(self.client, self.name);
        let aaaa = self.view.steering.aaaa(self.client, self.name);
        let truth = self.lookup(self.name, RecordType::AAAA).await?;
        let known = Has {
            ipv4: false,
            ipv6: truth.rcode == ResponseCode::NoError
                && !self.is_no_data(&truth, RecordType::AAAA),
        };
        if action(RecordType::AAAA, aaaa, when, known) == Action::NoData {
            let soa = self.soa_of(&truth).await;
            return Ok(withhold(truth.into(), soa));
        }
        let lacks_soa = truth.rcode == ResponseCode::NoError
            && records_of(&truth, RecordType::AAAA).next().is_none()
            && !truth.authorities.iter().any(is_soa);
        if lacks_soa {
            let soa = self.soa_of(&truth).await;
            return Ok(no_data(truth.into(), soa));
        }
        Ok(self.tell(truth).await)
    }

    /// HTTPS and SVCB: as they are less the hints, or one record of ours.
    async fn service_binding(&self) -> Result<Draft, ResolveError> {
        let record_type = self.asked.query.query_type;
        let host = svcb::host_of(self.name);
        let when = self.view.steering.when(self.client, &host);
        let truth = self.lookup(self.name, record_type).await?;
        if records_of(&truth, record_type).next().is_none() {
            return Ok(self.tell(truth).await);
        }
        let learnt = self.learn(&host, record_type, when).await;
        let known = self.known(&learnt, when);
        if action(record_type, Aaaa::Withhold, when, known) != Action::LocalData {
            // What we do not know might have led to the gate, and this record past it.
            return match learnt.error() {
                Some(error) => Err(error),
                None => Ok(self.tell(truth).await),
            };
        }
        let ours = svcb::synthetic(
            self.name,
            &host,
            record_type,
            &truth.answers,
            self.view.steer_ttl,
            self.view.quic,
        );
        match ours {
            Some(record) => {
                let others = [&learnt.ipv4, &learnt.ipv6];
                let others = others.into_iter().flatten().flatten();
                Ok(self.steered(record, others.chain([&truth])))
            }
            None => {
                let soa = self.soa_of(&truth).await;
                Ok(no_data(truth.into(), soa).because(ede::FORGED, "the gate does not carry this"))
            }
        }
    }

    /// The addresses of a name, so far as the table needs them for a question of this type.
    async fn learn(&self, name: &Name, record_type: RecordType, when: When) -> Learnt {
        let mut learnt = Learnt::default();
        match needs(record_type, when) {
            Needs::Nothing => {}
            Needs::Ipv6 => learnt.ipv6 = Some(self.lookup(name, RecordType::AAAA).await),
            Needs::Ipv4ThenIpv6 => {
                let ipv4 = self.lookup(name, RecordType::A).await;
                let open = ipv4.as_ref().is_ok_and(|truth| {
                    truth.rcode == ResponseCode::NoError && !self.has(truth, RecordType::A, when)
                });
                learnt.ipv4 = Some(ipv4);
                if open {
                    learnt.ipv6 = Some(self.lookup(name, RecordType::AAAA).await);
                }
            }
            Needs::Both => {
                let mut ipv4 = pin!(self.lookup(name, RecordType::A));
                let mut ipv6 = pin!(self.lookup(name, RecordType::AAAA));
                // What leads to the gate is not undone by more addresses, so the first that does is enough: a family
                // whose servers are silent must not hold up the other.
                loop {
                    tokio::select! {
                        truth = &mut ipv4, if learnt.ipv4.is_none() => learnt.ipv4 = Some(truth),
                        truth = &mut ipv6, if learnt.ipv6.is_none() => learnt.ipv6 = Some(truth),
                        else => break,
                    }
                    let known = self.known(&learnt, when);
                    if when.route(known.ipv4, known.ipv6) == Route::Gate {
                        break;
                    }
                }
            }
        }
        learnt
    }

    /// What the table needs to know of what was learnt.
    fn known(&self, learnt: &Learnt, when: When) -> Has {
        let has = |truth: &Option<Result<Answer, ResolveError>>, record_type| matches!(truth, Some(Ok(truth)) if self.has(truth, record_type, when));
        Has {
            ipv4: has(&learnt.ipv4, RecordType::A),
            ipv6: has(&learnt.ipv6, RecordType::AAAA),
        }
    }

    /// Whether there is an address that counts.
    fn has(&self, answer: &Answer, record_type: RecordType, when: When) -> bool {
        answer.rcode == ResponseCode::NoError
            && records_of(answer, record_type)
                .filter(|record| !self.is_rebound(record))
                .filter_map(|record| record.data.ip_addr())
                .any(|address| self.view.reach.counts(when, address))
    }

    /// Whether the name exists without records of the type, or without any that it may carry.
    fn is_no_data(&self, answer: &Answer, record_type: RecordType) -> bool {
        answer.rcode == ResponseCode::NoError
            && records_of(answer, record_type).all(|record| self.is_rebound(record))
    }

    fn is_rebound(&self, record: &Record) -> bool {
        let refusal = |address| self.view.rebinding.refusal(self.name, address);
        record.data.ip_addr().and_then(refusal).is_some()
    }

    async fn lookup(&self, name: &Name, record_type: RecordType) -> Result<Answer, ResolveError> {
        let question = self.asked.question(name, record_type);
        let told = self.view.resolver.lookup(&question).await;
        self.rests_on(&question, told.as_ref().ok());
        told
    }

    /// Takes into account how long a truth holds on which the answer rests.
    fn rests_on(&self, question: &Question, told: Option<&Answer>) {
        // Nothing can panic while it is held.
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((held, then)) = *life {
            // A newer one may be in the cache by now, which says nothing of how long this one holds.
            let own = told.and_then(own_life);
            let other = own.zip(self.view.resolver.life(question));
            let (now, other) = (now(), other.map(|(own, other)| own.least(other)));
            let held = held.after(now.saturating_duration_since(then));
            *life = other.map(|other| (held.least(other), now));
        }
    }

    /// As it is, less addresses inside, and less AAAA unless a rule passes it. Where nothing is left of what was asked
    /// for, the name has no such record.
    async fn tell(&self, truth: Answer) -> Draft {
        let asked = |records: &[Record]| {
            let wanted = self.asked.query.query_type;
            records.iter().any(|record| record.record_type() == wanted)
        };
        let before = truth.rcode == ResponseCode::NoError && asked(&truth.answers);
        let mut draft = Draft::from(truth);
        self.view.rebinding.protect(self.name, &mut draft);
        match self.view.steering.aaaa(self.client, self.name) {
            Aaaa::Withhold => scrub(&mut draft),
            // What stands beside the answer belongs to other names, which the rule may not mean.
            Aaaa::Pass => draft.additionals.retain(|record| {
                let of = type_covered(record).unwrap_or_else(|| record.record_type());
                of != RecordType::AAAA
                    || self.view.steering.aaaa(self.client, &record.name) == Aaaa::Pass
            }),
        }
        if !before || asked(&draft.answers) {
            return draft;
        }
        let Draft {
            answers,
            authorities,
            extended_errors,
            ..
        } = &draft;
        let soa = self.soa(answers, authorities, extended_errors).await;
        if draft.rebound {
            no_data(draft, soa)
        } else {
            withhold(draft, soa)
        }
    }

    /// Our own record, with what was said about the truths that it rests on: they may be stale.
    fn steered<'r>(&self, record: Record, truths: impl Iterator<Item = &'r Answer>) -> Draft {
        let mut draft = Draft::empty(ResponseCode::NoError);
        for error in truths.flat_map(|truth| &truth.extended_errors) {
            if !draft.extended_errors.contains(error) {
                draft.extended_errors.push(error.clone());
            }
        }
        draft.say(ede::FORGED, "leads to the gate");
        draft.answers.push(record);
        draft.steered = true;
        draft.capped = true;
        draft
    }

    /// As long as the policy and the truth that it rests on last, in seconds.
    fn ttl<'r>(&self, records: impl Iterator<Item = &'r Record>) -> u32 {
        let longest = u32::try_from(self.view.steer_ttl.as_secs()).unwrap_or(u32::MAX);
        records.map(|record| record.ttl).fold(longest, u32::min)
    }

    async fn soa_of(&self, truth: &Answer) -> Record {
        let Answer {
            answers,
            authorities,
            extended_errors,
            ..
        } = truth;
        self.soa(answers, authorities, extended_errors).await
    }

    /// The SOA of the zone where the chain of an answer ends: the real one if it can be had in time. `said` is what was
    /// said about that answer.
    async fn soa(
        &self,
        answers: &[Record],
        authorities: &[Record],
        said: &[ExtendedError],
    ) -> Record {
        let end = chain_end(self.name, answers);
        let known = soa_for(&end, authorities);
        if let Some(soa) = known {
            return soa;
        }
        let question = self.asked.question(&end, RecordType::SOA);
        let in_vain = is_stale(said) || self.view.resolver.known_dead(&question);
        let patience = if in_vain {
            Duration::ZERO
        } else {
            let passed = now().saturating_duration_since(self.begun);
            let left = self.view.upstream_timeout.saturating_sub(passed);
            SOA_PATIENCE.min(left)
        };
        let lookup = self.view.resolver.lookup(&question);
        let told = tokio::time::timeout(patience, lookup).await;
        let held = told.as_ref().ok().and_then(|told| told.as_ref().ok());
        self.rests_on(&question, held);
        let asked = match told {
            Ok(Ok(answer)) => soa_for(&end, answer.answers.iter().chain(&answer.authorities)),
            Ok(Err(_)) | Err(_) => None,
        };
        asked.unwrap_or_else(|| fallback_soa(&end))
    }
}

fn records_of(answer: &Answer, record_type: RecordType) -> impl Iterator<Item = &Record> {
    answer
        .answers
        .iter()
        .filter(move |record| record.record_type() == record_type)
}

fn is_stale(said: &[ExtendedError]) -> bool {
    let stale = |error: &ExtendedError| ede::STALE.contains(&error.code);
    said.iter().any(stale)
}

fn is_soa(record: &Record) -> bool {
    record.record_type() == RecordType::SOA
}
