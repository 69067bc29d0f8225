//! What the attempts and the prober of one group share: the clients, their health, the settings.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::rr::Name;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::super::coalesce::MAX_FLIGHTS;
use super::super::direct::{Peer, Said};
use super::super::upstream::{Client, Trust};
use super::super::{Question, now};
use super::health::Health;
use super::{attempt, probe};
use crate::config::Upstream;
use crate::telemetry::{Metrics, UpstreamLabels};

/// Attempts at one server at a time, those included whose question has its answer from another: as many as there can be
/// questions.
const MAX_ATTEMPTS: usize = MAX_FLIGHTS;
/// Questions that somebody is about to go on with.
const MAX_GIVEN: usize = 4096;

/// The servers of one group.
#[derive(Debug)]
pub(in crate::resolve) struct Servers {
    /// The domain that they are asked about; `None`: everything else.
    pub(super) domain: Option<Name>,
    /// The servers and how they are asked; zones are none of their business.
    pub(super) config: Upstream,
    /// Whom encrypted ones are verified by.
    pub(super) trust: Trust,
    pub(super) members: Vec<Member>,
    pub(super) metrics: Arc<Metrics>,
    /// Something has changed that the prober should know.
    pub(super) news: Notify,
    health: Mutex<Health>,
    given: Mutex<HashMap<Question, Given>>,
    prober: Once,
    stop: CancellationToken,
}

/// What has come of a question that a server was asked already, for who goes on with it.
#[derive(Debug)]
pub(in crate::resolve) struct Given {
    /// Which server.
    pub(in crate::resolve) index: usize,
    /// When it was asked.
    pub(in crate::resolve) asked: Instant,
    /// What it said.
    pub(in crate::resolve) said: Heard,
}

/// What was heard of a server that was asked.
#[derive(Debug)]
pub(in crate::resolve) enum Heard {
    /// This.
    Said(Said),
    /// Nothing yet; what comes still comes here.
    Nothing(oneshot::Receiver<Said>),
}

/// One server.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) client: Client,
    /// For attempts.
    pub(super) room: Semaphore,
}

impl Servers {
    /// Clients for the servers, none of which is connected yet; `stop` ends the prober.
    pub(super) fn new(
        domain: Option<Name>,
        config: Upstream,
        trust: &Trust,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Self {
        let members = config.servers.iter().map(|server| Member {
            client: Client::new(server, &config, trust),
            room: Semaphore::new(MAX_ATTEMPTS),
        });
        Self {
            members: members.collect(),
            health: Mutex::new(Health::new(config.servers.len())),
            given: Mutex::default(),
            domain,
            trust: trust.clone(),
            config,
            metrics,
            news: Notify::new(),
            prober: Once::new(),
            stop,
        }
    }

    /// What is known of them; not to be held for long.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server for questions that nobody waits for in a task; `None` where it is not asked so now.
    pub(in crate::resolve) fn peer(&self, index: usize) -> Option<Peer> {
        self.members.get(index)?.client.peer()
    }

    /// How long one has for everything.
    pub(in crate::resolve) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    /// A server is asked without an attempt.
    pub(in crate::resolve) fn begun(&self, index: usize, now: Instant) {
        self.health().begun(index, now);
    }

    /// It has given a good answer.
    pub(in crate::resolve) fn answered(&self, index: usize, asked: Instant) {
        let outcome = "answered";
        let queries = &self.metrics.upstream_queries;
        queries.get_or_create(&UpstreamLabels { outcome }).inc();
        attempt::answered(self, index, asked, now());
    }

    /// Leaves to the next who asks this what has come of it already. Where nobody takes it, it is only asked again.
    pub(in crate::resolve) fn give(&self, question: &Question, given: Given) {
        let mut table = self.table_of_given();
        if table.len() < MAX_GIVEN {
            table.insert(question.clone(), given);
        }
    }

    /// Since when a question has been asked that something was left of.
    pub(super) fn given_since(&self, question: &Question) -> Option<Instant> {
        let table = self.table_of_given();
        let given = table.get(question).filter(|given| self.is_of_use(given));
        given.map(|given| given.asked)
    }

    /// Takes what was left of a question; what is older than a question may be is of no use.
    pub(super) fn take_given(&self, question: &Question) -> Option<Given> {
        let mut table = self.table_of_given();
        if table.is_empty() {
            return None;
        }
        let given = table.remove(question);
        if table.len() >= MAX_GIVEN {
            table.clear();
        }
        drop(table);
        given.filter(|given| self.is_of_use(given))
    }

    fn is_of_use(&self, given: &Given) -> bool {
        now().saturating_duration_since(given.asked) < self.config.timeout
    }

    /// Forgets what was left of questions.
    pub(in crate::resolve) fn forget_given(&self) {
        self.table_of_given().clear();
    }

    fn table_of_given(&self) -> MutexGuard<'_, HashMap<Question, Given>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the prober that there is something to do; it begins when it is told for the first time.
    pub(super) fn call_prober(self: &Arc<Self>) {
        self.prober.call_once(|| {
            let stop = self.stop.clone();
            let prober = probe::run(Arc::clone(self));
            tokio::spawn(async move { stop.run_until_cancelled(prober).await });
        });
        self.news.notify_one();
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let down = self.health().down();
        let down = i64::try_from(down).unwrap_or(i64::MAX);
        self.metrics.upstreams_down.dec_by(down);
    }
}
