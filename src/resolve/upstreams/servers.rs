//! What the attempts and the prober of one group share: the clients, their health, the settings.

use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use hickory_proto::rr::Name;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::super::coalesce::MAX_FLIGHTS;
use super::super::upstream::{Client, Trust};
use super::health::Health;
use super::probe;
use crate::config::Upstream;
use crate::telemetry::Metrics;

/// Attempts at one server at a time, those included whose question has its answer from another: as many as there can be
/// questions.
const MAX_ATTEMPTS: usize = MAX_FLIGHTS;

/// The servers of one group.
#[derive(Debug)]
pub(super) struct Servers {
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
    prober: Once,
    stop: CancellationToken,
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
