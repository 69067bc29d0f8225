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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::tests::rules;
    use super::*;

    /// Dialers that know one destination of IPv4, and that this family is silent.
    fn ill(allow: &[&str], known: SocketAddr) -> Arc<Rules> {
        let rules = Arc::new(rules(allow));
        let memory = &rules.memory;
        memory.health().worked(known);
        for site in 1..=3 {
            let failed = SocketAddr::from(([203, 0, site, 1], 443));
            let change = memory.health().failed(failed, now().into_std());
            memory.tell(change);
        }
        assert!(is_ill(&rules));
        rules
    }

    fn is_ill(rules: &Rules) -> bool {
        rules.memory.health().state(Family::V4) == State::Silent
    }

    /// Watches until IPv4 is well; whether it is, after a minute.
    async fn recovers(rules: &Arc<Rules>) -> bool {
        let well = async {
            while is_ill(rules) {
                sleep(PROBE_EVERY / 4).await;
            }
        };
        tokio::select! {
            () = watch(Arc::clone(rules)) => unreachable!("it never ends by itself"),
            well = timeout(Duration::from_secs(60), well) => well.is_ok(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_ill_family_is_probed_on_a_known_destination_until_that_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rules = ill(&["127.0.0.0/8"], listener.local_addr().unwrap());
        rules
            .memory
            .history()
            .failed(Over::Tcp, IpAddr::from([203, 0, 1, 1]), now().into_std());
        assert!(recovers(&rules).await);
        assert!(rules.metrics.family_probes.get() >= 1);
        let gauge = rules.metrics.family_ill.get_or_create(&Family::V4.into());
        assert_eq!(gauge.get(), 0);
        let mut site = [IpAddr::from([203, 0, 1, 1])];
        let doubted = rules.memory.sort(Over::Tcp, &mut site, now().into_std());
        assert!(!doubted, "what failed meanwhile is forgotten");
        // One that is well is not probed.
        let probes = rules.metrics.family_probes.get();
        timeout(Duration::from_secs(60), watch(Arc::clone(&rules)))
            .await
            .unwrap_err();
        assert_eq!(rules.metrics.family_probes.get(), probes);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_port_is_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = listener.local_addr().unwrap();
        drop(listener);
        assert!(recovers(&ill(&["127.0.0.0/8"], closed)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_that_the_guard_closes_is_probed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rules = ill(&[], listener.local_addr().unwrap());
        // They take the places of those that failed on the internet.
        for host in 1..=4 {
            let closed = SocketAddr::from(([127, 0, 0, host], 9));
            rules.memory.health().failed(closed, now().into_std());
        }
        assert!(!recovers(&rules).await);
        assert_eq!(rules.metrics.family_probes.get(), 0);
    }
}
