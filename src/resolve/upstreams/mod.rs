//! All the servers: which of them a question is for. Called by [`Resolver`](super::Resolver).
//!
//! A domain with servers of its own (`zones`) is asked of them and of no others; everything else of the general ones.
//! Each such `group` puts the question to its `servers` in an `order` that depends on the strategy and on their
//! `health`; an `attempt` is one server asked once, and tells how it is. Those that are down are asked in the
//! background (`probe`), so that no client waits for them.

mod attempt;
mod failures;
mod group;
mod health;
mod order;
mod probe;
mod servers;
mod status;
#[cfg(test)]
mod tests;
mod zones;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::rr::Name;

use self::group::Group;
pub(super) use self::servers::{Given, Heard, Servers};
pub use self::status::{Counts, ServerState, ServerStatus};
use self::zones::Domains;
use super::upstream::Trust;
use super::{Answer, Question, ResolveError};
use crate::config::Upstream;
use crate::telemetry::Metrics;

/// The servers.
#[derive(Debug)]
pub(super) struct Upstreams {
    config: Upstream,
    trust: Trust,
    general: Arc<Group>,
    zones: Domains<Arc<Group>>,
    metrics: Arc<Metrics>,
}

impl Upstreams {
    /// Servers of which nothing is known yet.
    pub(super) fn new(config: &Upstream, trust: &Trust, metrics: Arc<Metrics>) -> Self {
        Self::build(config, trust, metrics, |_, _| None)
    }

    /// Other servers. Groups of which nothing has changed keep what is known of them, and their connections.
    pub(super) fn changed(&self, config: &Upstream, trust: &Trust) -> Self {
        Self::build(
            config,
            trust,
            Arc::clone(&self.metrics),
            |domain, config| {
                let group = match domain {
                    None => &self.general,
                    Some(domain) => self.zones.of_name(domain)?,
                };
                group
                    .is_of(domain, config, trust)
                    .then(|| Arc::clone(group))
            },
        )
    }

    fn build(
        config: &Upstream,
        trust: &Trust,
        metrics: Arc<Metrics>,
        old: impl Fn(Option<&Name>, &Upstream) -> Option<Arc<Group>>,
    ) -> Self {
        let group = |domain: Option<&Name>, servers: &[_]| {
            let config = Upstream {
                servers: servers.to_vec(),
                zones: Vec::new(),
                ..config.clone()
            };
            old(domain, &config).unwrap_or_else(|| {
                Arc::new(Group::new(
                    domain.cloned(),
                    config,
                    trust,
                    Arc::clone(&metrics),
                ))
            })
        };
        let zones = config.zones.iter();
        let zones = zones.map(|zone| {
            let group = group(Some(&zone.domain), &zone.servers);
            (zone.domain.clone(), group)
        });
        Self {
            zones: zones.collect(),
            general: group(None, &config.servers),
            config: config.clone(),
            trust: trust.clone(),
            metrics,
        }
    }

    /// Whom encrypted servers are verified by.
    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What it was made of.
    pub(super) fn config(&self) -> &Upstream {
        &self.config
    }

    /// The domains that have servers of their own here or there, but not the same.
    pub(super) fn moved(&self, to: &Upstream) -> Vec<Name> {
        let (here, there) = (&self.config.zones, &to.zones);
        let gone = here.iter().filter(|zone| !there.contains(zone));
        let new = there.iter().filter(|zone| !here.contains(zone));
        gone.chain(new).map(|zone| zone.domain.clone()).collect()
    }

    /// The first good answer, within the time that one server has, however many there are.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] when every server failed or the time is over.
    pub(super) async fn ask(&self, question: &Question) -> Result<Answer, ResolveError> {
        self.group(question).ask(question).await
    }

    /// Likewise, of one server by itself: so many after the first that is up.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] when it failed, none is up, or the time is over.
    pub(super) async fn ask_one(
        &self,
        question: &Question,
        nth: usize,
    ) -> Result<Answer, ResolveError> {
        self.group(question).ask_one(question, nth).await
    }

    /// The one server that a question is put to first, where it is to be asked over UDP; and how long it has before something
    /// else is to happen.
    pub(super) fn plain(
        &self,
        question: &Question,
        now: Instant,
    ) -> Option<(Arc<Servers>, usize, Duration)> {
        self.group(question).plain(now)
    }

    /// Since when a question has been asked that nobody went on with yet.
    pub(super) fn asked_since(&self, question: &Question) -> Option<Instant> {
        self.group(question).servers.given_since(question)
    }

    /// Forgets what servers said to questions that nobody went on with yet.
    pub(super) fn forget_given(&self) {
        for group in self.zones.values().chain([&self.general]) {
            group.servers.forget_given();
        }
    }

    /// How many servers for this question are up, as far as is known now.
    pub(super) fn live(&self, question: &Question) -> usize {
        self.group(question).live()
    }

    /// Whether every server for this question is down, as far as is known now.
    pub(super) fn known_dead(&self, question: &Question) -> bool {
        self.group(question).is_down()
    }

    /// Whether a name lies in a domain with servers of its own.
    pub(super) fn has_own_servers(&self, name: &Name) -> bool {
        self.zones.of_name(name).is_some()
    }

    /// How every server is: the general ones, then those of the domains.
    pub(super) fn servers(&self) -> Vec<ServerStatus> {
        let mut zones: Vec<ServerStatus> = self.zones.values().flat_map(|it| it.status()).collect();
        zones.sort_by(|one, other| one.domain.cmp(&other.domain));
        let mut servers = self.general.status();
        servers.extend(zones);
        servers
    }

    fn group(&self, question: &Question) -> &Group {
        let own = self.zones.of_question(&question.name, question.record_type);
        own.unwrap_or(&self.general)
    }
}
