//! What dialers learn: the shell around [`history`](super::history) and [`health`](super::health). One for the life of
//! the process, kept over reloads, and told of by `app` to the admin.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::Rules;
use super::health::{Change, Health, PROBE_EVERY, State};
use super::history::{History, Over};
use super::now;
use super::ways::is_unusable;
use crate::net::Family;
use crate::telemetry::{Metrics, events};

/// How often the kernel is asked for routes while both families are well; sessions find out by themselves, at once.
const LOOK_WELL: Duration = Duration::from_secs(5);

/// How often while one is ill.
const LOOK_ILL: Duration = Duration::from_secs(1);

/// Somewhere on the internet, for the kernel to look up a route to; nothing is sent there.
const SOMEWHERE: [&str; 2] = ["1.0.0.1:9", "[2a00::1]:9"];

/// What was learnt of destinations and of the families.
#[derive(Debug)]
pub struct Memory {
    history: Mutex<History>,
    health: Mutex<Health>,
    news: Notify,
    metrics: Arc<Metrics>,
}

/// An attempt that did not win, as far as it says something.
#[derive(Debug)]
pub(super) enum Lost<'a> {
    /// It ended.
    Failed(&'a io::Error),
    /// It had been given its time.
    Silent,
}

impl Memory {
    /// Knows nothing yet: everything is well.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        for family in [Family::V4, Family::V6] {
            metrics.family_ill.get_or_create(&family.into()).set(0);
        }
        Self {
            history: Mutex::default(),
            health: Mutex::default(),
            news: Notify::new(),
            metrics,
        }
    }

    /// The families that are ill, and how.
    pub fn ill(&self) -> Vec<(Family, &'static str)> {
        let health = self.health();
        [Family::V4, Family::V6]
            .into_iter()
            .map(|family| (family, health.state(family)))
            .filter(|(_, state)| *state != State::Well)
            .map(|(family, state)| (family, state.as_str()))
            .collect()
    }

    /// The family that goes first where `prefer` should.
    pub(super) fn leader(&self, prefer: Family) -> Family {
        self.health().leader(prefer)
    }

    /// Moves the addresses that failed lately to the end, and says whether all of them did.
    pub(super) fn sort(&self, over: Over, addresses: &mut [IpAddr], now: Instant) -> bool {
        let history = self.history();
        addresses.sort_by_key(|address| history.doubts(over, *address, now));
        addresses
            .first()
            .is_some_and(|address| history.doubts(over, *address, now))
    }

    /// A target was reached by `won`, and not by the others.
    pub(super) fn learn<'a>(
        &self,
        over: Over,
        won: SocketAddr,
        lost: impl Iterator<Item = (IpAddr, Lost<'a>)>,
        now: Instant,
    ) {
        let family = Family::of(won.ip());
        let change = self.health().worked(won);
        self.tell(change);
        self.history().worked(over, won.ip());
        for (address, lost) in lost {
            // What never left says nothing about where it should have gone.
            if matches!(lost, Lost::Failed(error) if is_unusable(error)) {
                continue;
            }
            self.history().failed(over, address, now);
            // Within one family the destination is to blame; and who refuses has been reached.
            let refused = matches!(lost, Lost::Failed(error) if answered(error));
            if Family::of(address) != family && !refused {
                let change = self
                    .health()
                    .failed(SocketAddr::new(address, won.port()), now);
                self.tell(change);
            }
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: Option<Change>) {
        let Some(Change { family, to }) = change else {
            return;
        };
        let ill = self.metrics.family_ill.get_or_create(&family.into());
        if to == State::Well {
            ill.set(0);
            self.history().forget(family);
            tracing::info!(%family, "{}", events::FAMILY_WELL);
        } else {
            ill.set(1);
            tracing::warn!(%family, why = to.as_str(), "{}", events::FAMILY_ILL);
        }
        self.news.notify_one();
    }
}

/// Whether an error shows that somebody was there.
fn answered(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::ECONNREFUSED | Errno::ECONNRESET)
    )
}

/// Keeps an eye on both families until it is dropped: asks the kernel for routes, and tries an ill family on what clients
/// lately wanted of it, one destination at a time.
pub(super) async fn watch(rules: Arc<Rules>) {
    let memory = &rules.memory;
    loop {
        for (family, somewhere) in [Family::V4, Family::V6].into_iter().zip(SOMEWHERE) {
            let known = memory.health().known(family);
            if let Some(to) = known.or_else(|| somewhere.parse().ok()) {
                let change = memory.health().routed(family, rules.ways.has_route(to));
                memory.tell(change);
            }
            let due = memory.health().due(family, now().into_std());
            // Judged again: it may have become an address of our own.
            if let Some(address) = due.filter(|address| rules.admit(*address).is_ok()) {
                probe(&rules, address).await;
            }
        }
        let pause = if memory.ill().is_empty() {
            LOOK_WELL
        } else {
            LOOK_ILL
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = memory.news.notified() => {}
        }
    }
}

async fn probe(rules: &Rules, address: SocketAddr) {
    let memory = &rules.memory;
    memory.metrics.family_probes.inc();
    let outcome = timeout(PROBE_EVERY / 2, rules.ways.connect_tcp(address)).await;
    tracing::debug!(%address, ?outcome, "probed");
    let there = match outcome {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => answered(&error),
        Err(_) => false,
    };
    if there {
        let change = memory.health().worked(address);
        memory.tell(change);
    }
}
