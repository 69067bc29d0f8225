//! DNSSEC: whether what upstreams say is signed, down from a trust anchor (RFC 4033 to 4035, 5155, 6840, 9276). Called
//! by [`Resolver`](super::Resolver) between the cache and the upstreams.
//!
//! Signatures, keys and digests are hickory's; the chain of trust and the proofs of what does not exist are ours,
//! because hickory's validator lets an answer pass whose only authority is of a zone that is not signed, or that ends
//! in a CNAME without a proof of what follows, and bounds the work only by its depth.
//!
//! A name below a domain with servers of its own is not validated unless a trust anchor is at or below that domain:
//! such names are private, and the public parent knows nothing of them, or denies them.

mod anchors;
mod denial;
mod judge;
mod known;
mod limits;
mod nsec;
mod nsec3;
mod reason;
mod sets;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::rr::Name;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use self::anchors::Anchor;
pub use self::anchors::{AnchorProblem, TrustAnchors};
use self::judge::Security;
use self::known::Known;
use self::limits::Budget;
use self::reason::ede;
use self::sets::depth;
use self::walk::Walk;
use super::coalesce::Flights;
use super::upstreams::Upstreams;
use super::{Answer, Question, ResolveError};
use crate::config::Dns;
use crate::telemetry::{DnssecLabels, Metrics};

/// How many times `dns.upstream.timeout` the keys and delegations for one answer may take together, beyond the answer.
const PATIENCE: u32 = 3;
/// Servers that are asked by themselves for what did not hold.
const MAX_SERVERS: usize = 3;
/// Questions for keys and delegations in flight.
const MAX_FLIGHTS: usize = 4096;
/// 2026-01-01, in seconds: a clock before that is wrong, as it is on a machine that does not keep the time.
const PLAUSIBLE: u64 = 1_767_225_600;

/// Who is trusted, and what was found out by that.
#[derive(Debug)]
pub(super) struct Validator {
    anchors: TrustAnchors,
    /// Domains with servers of their own.
    own: Vec<Name>,
    patience: Duration,
    known: Known,
    flights: Arc<Flights<Result<Arc<Answer>, ResolveError>>>,
    metrics: Arc<Metrics>,
    clock_told: AtomicBool,
}

impl Validator {
    /// One that knows nothing yet.
    pub(super) fn new(dns: &Dns, anchors: TrustAnchors, metrics: Arc<Metrics>) -> Self {
        let own = dns.upstream.zones.iter().map(|zone| zone.domain.clone());
        Self {
            anchors,
            own: own.collect(),
            patience: dns.upstream.timeout * PATIENCE,
            known: Known::default(),
            flights: Arc::new(Flights::new(MAX_FLIGHTS)),
            metrics,
            clock_told: AtomicBool::new(false),
        }
    }

    /// Whether both say the same of every answer.
    pub(super) fn judges_as(&self, other: &Self) -> bool {
        (&self.anchors, &self.own, self.patience) == (&other.anchors, &other.own, other.patience)
    }

    /// Forgets the zones of which `matches` is true, and what is in flight about any.
    pub(super) fn forget(&self, matches: impl Fn(&Name) -> bool) {
        self.flights.forget();
        self.known.forget(matches);
    }

    /// Asks upstream and validates the answer. What was asked with CD comes as it is. Where it does not hold, each
    /// of the servers is asked by itself: one that drops signatures, or lies, must not speak for the others.
    ///
    /// # Errors
    ///
    /// [`ResolveError::Bogus`] where the answer does not hold, others where upstream failed.
    pub(super) async fn ask(
        &self,
        upstreams: &Arc<Upstreams>,
        question: &Question,
    ) -> Result<Answer, ResolveError> {
        // CD, so that an upstream that validates gives us what it would hold back, and with it the reason.
        let asked = Question {
            dnssec_ok: true,
            checking_disabled: true,
            ..question.clone()
        };
        let mut answer = upstreams.ask(&asked).await?;
        answer.authentic = false;
        if question.checking_disabled {
            return Ok(answer);
        }
        let clock = clock();
        let until = Instant::from_std(now() + self.patience);
        let servers = match upstreams.live(&asked).min(MAX_SERVERS) {
            0 | 1 => 0,
            several => several,
        };
        let mut walk = Walk {
            validator: self,
            upstreams,
            // Signatures count seconds modulo 2^32.
            time: u32::try_from(clock & u64::from(u32::MAX)).unwrap_or(u32::MAX),
            budget: Budget::default(),
            server: None,
            is_last: servers == 0,
        };
        let judged = timeout_at(until, walk.judge(question, &mut answer)).await;
        let mut outcome = judged.unwrap_or(Err(ResolveError::Timeout));
        for nth in 0..servers {
            if !is_bogus(&outcome) {
                break;
            }
            walk.budget = Budget::default();
            (walk.server, walk.is_last) = (Some(nth), nth + 1 == servers);
            let again = async {
                let mut answer = upstreams.ask_one(&asked, nth).await?;
                answer.authentic = false;
                let security = walk.judge(question, &mut answer).await?;
                Ok::<_, ResolveError>((answer, security))
            };
            if let Ok(Ok((other, security))) = timeout_at(until, again).await {
                (answer, outcome) = (other, Ok(security));
            }
        }
        let result = match &outcome {
            Ok(Security::Secure) => "secure",
            Ok(Security::Insecure) => "insecure",
            Err(ResolveError::Bogus { code, text }) => {
                debug!(name = %question.name, kind = %question.record_type, code, text, "bogus");
                if *code == ede::NOT_YET_VALID && clock < PLAUSIBLE {
                    self.tell_of_clock();
                }
                "bogus"
            }
            // Not known, and counted where upstream failed.
            Err(_) => return outcome.map(|_| answer),
        };
        let labels = DnssecLabels { result };
        self.metrics.dnssec_answers.get_or_create(&labels).inc();
        answer.authentic = outcome? == Security::Secure;
        Ok(answer)
    }

    /// The trust anchor for a name; `None`: nobody can sign it.
    fn anchor(&self, name: &Name) -> Option<&Anchor> {
        let anchor = self.anchors.nearest(name)?;
        let private = self.own.iter().filter(|own| own.zone_of(name));
        private
            .map(depth)
            .all(|own| own <= depth(&anchor.zone))
            .then_some(anchor)
    }

    fn tell_of_clock(&self) {
        if !self.clock_told.swap(true, Ordering::Relaxed) {
            warn!(
                "the clock of this machine is years behind, so every signature seems not yet valid and every signed \
                 name fails; set the clock, or dns.dnssec = false until it is set"
            );
        }
    }
}

/// Whether it does not hold; work that ran out says nothing about the server.
fn is_bogus(outcome: &Result<Security, ResolveError>) -> bool {
    matches!(outcome, Err(ResolveError::Bogus { code, .. }) if *code != ede::INDETERMINATE)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shell around validation: signatures hold by the calendar"
)]
fn clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shell around Known; tokio's clock, which tests can pause"
)]
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
