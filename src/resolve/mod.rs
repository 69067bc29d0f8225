//! Level 2: the truth about names, as upstreams tell it, unfiltered. Two rooms ask: `dns` for clients, whose policy
//! stands in front of this, and `dial` for the sessions.
//!
//! A question goes to the [`cache`], then to the exchange in flight for the same question (`coalesce`), then to the
//! servers of its domain (`upstreams`), each over its transport (`upstream`); what comes back is reduced to what was
//! asked (`answer`) and, with `dns.dnssec`, validated (`validate`), so that the cache holds only what is. Answers in use
//! are asked for again before they expire, and expired ones bridge the time in which the servers give none (`refresh`).

mod answer;
pub mod cache;
mod coalesce;
mod direct;
mod read;
mod refresh;
#[cfg(test)]
mod tests;
mod upstream;
mod upstreams;
mod validate;
pub mod wire;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use tokio::sync::Semaphore;
use tokio::sync::oneshot::error::RecvError;
use tracing::debug;

use self::answer::{chain_end, negative_soa};
use self::cache::{Failures, Found, Remembered};
use self::coalesce::{FlightError, Flights, MAX_FLIGHTS};
use self::direct::Direct;
#[cfg(fuzzing)]
pub use self::direct::fuzzing as in_place;
pub use self::direct::{Asker, Begun, Binding, Lines, Simple};
use self::refresh::MAX_PREFETCHES;
#[cfg(fuzzing)]
pub use self::upstream::fuzzing;
pub use self::upstream::{Trust, TrustError};
use self::upstreams::Upstreams;
pub use self::upstreams::{Counts, ServerState, ServerStatus};
use self::validate::Validator;
pub use self::validate::{AnchorProblem, TrustAnchors};
use crate::config::Dns;
use crate::net::Family;
use crate::telemetry::{Metrics, UpstreamLabels};

/// What is asked: always of class IN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name, absolute; compared without regard to case.
    pub name: Name,
    /// The type.
    pub record_type: RecordType,
    /// EDNS DO: the asker wants signatures (RFC 3225).
    pub dnssec_ok: bool,
    /// CD: the asker wants no validation on the way (RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
}

/// An Extended DNS Error (RFC 8914).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExtendedError {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT, for people.
    pub text: String,
}

/// What upstream said, TTLs as they are now.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// NOERROR or NXDOMAIN.
    pub rcode: ResponseCode,
    /// AD of the upstream's answer.
    pub authentic: bool,
    /// Answer section.
    pub answers: Vec<Record>,
    /// Authority section.
    pub authorities: Vec<Record>,
    /// Additional section without OPT.
    pub additionals: Vec<Record>,
    /// What the upstream said about it.
    pub extended_errors: Vec<ExtendedError>,
}

/// How long an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// For how long it may be told without another look at it.
    pub told: Duration,
    /// When its time is over.
    pub left: Duration,
}

impl Life {
    /// Without an end.
    pub const MAX: Self = Self {
        told: Duration::MAX,
        left: Duration::MAX,
    };

    /// What is left of it after a while.
    #[must_use]
    pub fn after(self, passed: Duration) -> Self {
        let less = |time: Duration| match time {
            Duration::MAX => time,
            time => time.saturating_sub(passed),
        };
        Self {
            told: less(self.told),
            left: less(self.left),
        }
    }

    /// That of an answer that rests on two others.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self {
            told: self.told.min(other.told),
            left: self.left.min(other.left),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No server answered in time.
    #[error("no upstream answered in time")]
    Timeout,
    /// The servers answered with an error; the last one's response code.
    #[error("every upstream failed, the last with {}", format!("{rcode:?}").to_uppercase())]
    Failed {
        /// The response code of the last server that answered.
        rcode: ResponseCode,
        /// What it said about it.
        extended_errors: Vec<ExtendedError>,
    },
    /// No server could be reached, or what they said was of no use.
    #[error("no usable answer from any upstream: {0}")]
    Unreachable(String),
    /// No server was asked, because of a bound of ours.
    #[error("no upstream was asked: {0}")]
    Overload(String),
    /// What they said is not signed as it should be.
    #[error("validation failed: {text}")]
    Bogus {
        /// The INFO-CODE of the Extended DNS Error (RFC 8914).
        code: u16,
        /// What does not hold.
        text: String,
    },
}

/// Lookups for one [`Resolver::addresses`]: the name itself, and so many CNAMEs that lead out of an answer.
const MAX_HOPS: usize = 8;

/// The truth: cache and upstreams.
#[derive(Debug)]
pub struct Resolver {
    upstreams: Arc<ArcSwap<Upstreams>>,
    validator: Arc<ArcSwapOption<Validator>>,
    cache: Arc<ArcSwap<cache::Cache>>,
    failures: Arc<Failures>,
    flights: Arc<Flights<Result<Arc<Answer>, ResolveError>>>,
    direct: Arc<Direct>,
    prefetches: Arc<Semaphore>,
    /// Counts the flushes, so that what was asked before one is not kept after it.
    epoch: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

impl Resolver {
    /// A resolver with an empty cache, which validates nothing until [`Resolver::validate_by`] is called.
    pub fn new(dns: &Dns, trust: &Trust, metrics: Arc<Metrics>) -> Self {
        let upstreams = Upstreams::new(&dns.upstream, trust, Arc::clone(&metrics));
        let cache = Arc::new(ArcSwap::from_pointee(cache::Cache::new(dns.cache)));
        let (failures, epoch) = (Arc::default(), Arc::default());
        let direct = Direct::new(
            Arc::clone(&cache),
            Arc::clone(&failures),
            Arc::clone(&epoch),
            Arc::clone(&metrics),
        );
        Self {
            upstreams: Arc::new(ArcSwap::from_pointee(upstreams)),
            validator: Arc::default(),
            cache,
            failures,
            flights: Arc::new(Flights::new(MAX_FLIGHTS)),
            direct: Arc::new(direct),
            prefetches: Arc::new(Semaphore::new(MAX_PREFETCHES)),
            epoch,
            metrics,
        }
    }

    /// Takes other servers and bounds from now on. What is cached stays, but for domains that have servers of their own
    /// now or had them, where these are others. Questions in flight end with the servers they began with.
    pub fn reconfigure(&self, dns: &Dns, trust: &Trust) {
        let Dns {
            upstream, cache, ..
        } = dns;
        let asked = self.upstreams.load();
        if asked.config() != upstream || asked.trust() != trust {
            self.upstreams
                .store(Arc::new(asked.changed(upstream, trust)));
            self.failures.forget(|_| true);
            if let Some(validator) = self.validator.load().as_deref() {
                validator.forget(|_| true);
            }
            let moved = asked.moved(upstream);
            if !moved.is_empty() {
                self.forget(|name| moved.iter().any(|domain| domain.zone_of(name)));
            }
        }
        let held = self.cache.load();
        if held.bounds() != cache {
            let resized = held.resized(*cache, now());
            count_entries(&self.metrics, &resized);
            self.cache.store(Arc::new(resized));
        }
    }

    /// Whether every server for this question is known not to answer now.
    pub fn known_dead(&self, question: &Question) -> bool {
        self.upstreams.load().known_dead(question)
    }

    /// Whether a name lies in a domain with servers of its own.
    pub fn has_own_servers(&self, name: &Name) -> bool {
        self.upstreams.load().has_own_servers(name)
    }

    /// How the servers are.
    pub fn servers(&self) -> Vec<ServerStatus> {
        self.upstreams.load().servers()
    }

    /// Validates by these trust anchors from now on, or, with `None`, not at all. What is cached goes if that is a
    /// change.
    pub fn validate_by(&self, dns: &Dns, anchors: Option<TrustAnchors>) {
        let next = anchors.map(|anchors| Validator::new(dns, anchors, Arc::clone(&self.metrics)));
        let held = self.validator.load_full();
        let same = match (&held, &next) {
            (Some(held), Some(next)) => held.judges_as(next),
            (held, next) => held.is_none() && next.is_none(),
        };
        if same {
            return;
        }
        self.validator.store(next.map(Arc::new));
        self.forget(|_| true);
    }

    /// Forgets the answers that rest on names of which `matches` is true, and their failures, and says how many there were;
    /// zones of such names are validated anew. What is in flight is forgotten, too: who asks from now on gets what the
    /// servers say from now on.
    pub fn forget(&self, matches: impl Fn(&Name) -> bool) -> usize {
        self.epoch.fetch_add(1, Ordering::Release);
        self.flights.forget();
        self.direct.forget();
        self.upstreams.load().forget_given();
        if let Some(validator) = self.validator.load().as_deref() {
            validator.forget(&matches);
        }
        let cache = self.cache.load();
        let forgotten = cache.forget(&matches) + self.failures.forget(&matches);
        // What was made of the cache meanwhile is forgotten, too.
        self.epoch.fetch_add(1, Ordering::Release);
        self.metrics.cache_flushes.inc();
        count_entries(&self.metrics, &cache);
        forgotten
    }

    /// Where answers are kept.
    pub fn cache(&self) -> Guard<Arc<cache::Cache>> {
        self.cache.load()
    }

    /// How often answers were forgotten before their time.
    pub fn flushes(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The answer to a question, from the cache or from upstream.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] when no server gave NOERROR or NXDOMAIN, now or a moment ago.
    pub async fn lookup(&self, question: &Question) -> Result<Answer, ResolveError> {
        let question = self.as_cached(question);
        let now = now();
        let realm = || self.realm(&question.name);
        match self.cache.load().find(&question, realm, now) {
            Found::Fresh { answer, refresh } => {
                self.metrics.cache_hits.inc();
                if refresh {
                    self.prefetch(&question);
                }
                return Ok(answer);
            }
            Found::Denied(answer) => {
                self.metrics.cache_hits.inc();
                self.metrics.cache_cut.inc();
                return Ok(answer);
            }
            Found::Stale(stale) => return Ok(self.newer_or(&question, stale, now).await),
            Found::Nothing => {}
        }
        if let Remembered::Failed(error) = self.failures.of(&question, now) {
            self.metrics.cache_failures.inc();
            return Err(error);
        }
        self.metrics.cache_misses.inc();
        self.ask(&question).await
    }

    /// Whether the cache holds the answer to this very question.
    pub fn holds(&self, question: &Question) -> bool {
        let question = self.as_cached(question);
        self.cache.load().get(&question, now()).is_some()
    }

    /// How long the answer holds that the cache has to this very question; `None` where it has none that does, or where it
    /// should be asked for again.
    pub fn life(&self, question: &Question) -> Option<Life> {
        let question = self.as_cached(question);
        self.cache.load().life(&question, now())
    }

    /// The question as it is asked and its answer kept.
    fn as_cached<'q>(&self, question: &'q Question) -> Cow<'q, Question> {
        let mut question = Cow::Borrowed(question);
        if !question.name.is_fqdn() {
            question.to_mut().name.set_fqdn(true);
        }
        // What is validated has its signatures in any case, and who did not wish for them is not given them.
        if !question.dnssec_ok && self.validator.load().is_some() {
            question.to_mut().dnssec_ok = true;
        }
        question
    }

    /// Asks upstream, with whoever asks the same just now.
    async fn ask(&self, question: &Question) -> Result<Answer, ResolveError> {
        if let Some(told) = self.direct.join(question) {
            // Whatever is told, what was said is in the cache, or with the servers for who goes on.
            let _told: Result<(), RecvError> = told.await;
            if let Some(answer) = self.cache.load().get(question, now()) {
                return Ok(answer);
            }
        }
        let start = || self.exchange(question.clone(), Known::Nothing);
        match self.flights.join(question, start).await {
            Ok(outcome) => outcome.map(Arc::unwrap_or_clone),
            Err(error) => Err(self.refused(question, error)),
        }
    }

    fn refused(&self, question: &Question, error: FlightError) -> ResolveError {
        debug!(name = %question.name, %error, "lookup refused");
        if error == FlightError::Full {
            let outcome = "overload";
            let queries = &self.metrics.upstream_queries;
            queries.get_or_create(&UpstreamLabels { outcome }).inc();
        }
        error.into()
    }

    /// How many labels the longest domain with servers of its own has that this name is in: what other servers say of
    /// a name above that is nothing that these servers said.
    fn realm(&self, name: &Name) -> usize {
        let upstreams = self.upstreams.load();
        let zones = upstreams.config().zones.iter();
        zones
            .filter(|zone| zone.domain.zone_of(name))
            .map(|zone| zone.domain.iter().len())
            .max()
            .unwrap_or(0)
    }

    /// The addresses of one family that a name has, CNAMEs followed; empty where it has none or does not exist.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] when no server gave NOERROR or NXDOMAIN.
    pub async fn addresses(
        &self,
        name: &Name,
        family: Family,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let mut question = address_question(name, family);
        let mut seen = Vec::new();
        for _ in 0..=MAX_HOPS {
            let answer = match self.fresh(&question) {
                Some(answer) => answer,
                None => self.lookup(&question).await?,
            };
            match addresses_in(&question, &answer, family) {
                Told::Addresses(addresses) => return Ok(addresses),
                Told::LeadsTo(end) => {
                    if end == question.name || seen.contains(&end) {
                        return Ok(Vec::new());
                    }
                    seen.push(std::mem::replace(&mut question.name, end));
                }
            }
        }
        Ok(Vec::new())
    }

    /// As [`Self::addresses`], as far as the cache knows; `None` where somebody has to be asked.
    pub fn known_addresses(&self, name: &Name, family: Family) -> Option<Vec<IpAddr>> {
        let question = address_question(name, family);
        let answer = self.fresh(&question)?;
        match addresses_in(&question, &answer, family) {
            Told::Addresses(addresses) => Some(addresses),
            Told::LeadsTo(_) => None,
        }
    }

    /// The answer in the cache, where it holds, with the TTLs with which it came.
    fn fresh(&self, question: &Question) -> Option<Answer> {
        let question = self.as_cached(question);
        let (answer, refresh) = self.cache.load().fresh(&question, now())?;
        self.metrics.cache_hits.inc();
        if refresh {
            self.prefetch(&question);
        }
        Some(answer)
    }

    /// Asks upstream and keeps what it said. Runs on its own, whoever waits for it.
    fn exchange(
        &self,
        question: Question,
        known: Known,
    ) -> impl Future<Output = Result<Arc<Answer>, ResolveError>> + Send + 'static {
        let upstreams = self.upstreams.load_full();
        let current = Arc::clone(&self.upstreams);
        let validators = Arc::clone(&self.validator);
        let cache = Arc::clone(&self.cache);
        let failures = Arc::clone(&self.failures);
        let metrics = Arc::clone(&self.metrics);
        let epoch = Arc::clone(&self.epoch);
        let begun = epoch.load(Ordering::Relaxed);
        async move {
            // Another exchange may have ended between our look into the cache and this.
            if known == Known::Nothing
                && let Some(answer) = cache.load().get(&question, now())
            {
                return Ok(Arc::new(answer));
            }
            let outcome = match validators.load_full() {
                Some(validator) => Box::pin(validator.ask(&upstreams, &question)).await,
                None => upstreams.ask(&question).await,
            };
            // A change of what is validated by is a flush, too.
            let flushed = epoch.load(Ordering::Relaxed) != begun;
            let mut answer = match outcome {
                Ok(answer) => answer,
                Err(error) => {
                    // What servers fail at that are asked no more is no word on the others.
                    if !flushed && Arc::ptr_eq(&current.load(), &upstreams) {
                        let dead = upstreams.known_dead(&question);
                        failures.note(&question, &error, dead, now());
                    }
                    return Err(error);
                }
            };
            let cache = cache.load_full();
            let lifetime = cache.settle(&question, &mut answer);
            let answer = Arc::new(answer);
            if !flushed {
                failures.answered(&question);
                let evicted = cache.insert(&question, &answer, lifetime, now());
                // A flush that began meanwhile may have passed by this place already.
                if epoch.load(Ordering::Relaxed) != begun {
                    cache.remove(&question);
                }
                let evicted = u64::try_from(evicted).unwrap_or(u64::MAX);
                metrics.cache_evictions.inc_by(evicted);
                count_entries(&metrics, &cache);
            }
            Ok(answer)
        }
    }
}

/// What an answer says of the addresses of one family.
enum Told {
    /// These, or that there are none.
    Addresses(Vec<IpAddr>),
    /// Its chain of CNAMEs ends at a name of which it says nothing.
    LeadsTo(Name),
}

fn address_question(name: &Name, family: Family) -> Question {
    let mut question = Question {
        name: name.clone(),
        record_type: match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        },
        dnssec_ok: false,
        checking_disabled: false,
    };
    question.name.set_fqdn(true);
    question
}

fn addresses_in(question: &Question, answer: &Answer, family: Family) -> Told {
    let end = chain_end(question, &answer.answers);
    let mut addresses = Vec::new();
    for record in &answer.answers {
        if let Some(address) = record.data.ip_addr()
            && record.name == *end
            && Family::of(address) == family
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    let complete = !addresses.is_empty()
        || answer.rcode != ResponseCode::NoError
        || negative_soa(question, answer).is_some();
    if complete {
        Told::Addresses(addresses)
    } else {
        Told::LeadsTo(end.clone())
    }
}

/// What the cache holds of a question while it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing that holds.
    Nothing,
    /// An answer that is soon at its end.
    Answer,
}

fn count_entries(metrics: &Metrics, cache: &cache::Cache) {
    let entries = i64::try_from(cache.len()).unwrap_or(i64::MAX);
    metrics.cache_entries.set(entries);
    let bytes = i64::try_from(cache.bytes()).unwrap_or(i64::MAX);
    metrics.cache_bytes.set(bytes);
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shell around the cache; tokio's clock, which tests can pause"
)]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
