//! How to reach, and where not to go: what all sessions of a [`Dialer`](super::Dialer) have in common. Each kind of race
//! asks here which addresses may enter it, and tells here what it came to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::guard::{Guard, Near, Refusal, Surroundings};
use super::happy_eyeballs::{Input, Race};
use super::history::Over;
use super::losses::Losses;
use super::memory::{Lost, Memory};
use super::ways::Ways;
use super::{now, order};
use crate::config::{Egress, Families, Lan, Rule};
use crate::net::{Family, Target};
use crate::telemetry::Metrics;

/// How to reach, and where not to go.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) guard: Guard,
    pub(super) surroundings: Surroundings,
    pub(super) ways: Ways,
    pub(super) prefer: Family,
    pub(super) attempt_delay: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) memory: Arc<Memory>,
    pub(super) metrics: Arc<Metrics>,
}

impl Rules {
    pub(super) fn new(
        egress: &Egress,
        lan: &Lan,
        listeners: Vec<SocketAddr>,
        memory: Arc<Memory>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            guard: Guard::new(egress, lan, listeners),
            surroundings: Surroundings::new(lan),
            ways: Ways::new(egress),
            prefer: egress.prefer,
            attempt_delay: egress.attempt_delay,
            connect_timeout: egress.connect_timeout,
            memory,
            metrics,
        }
    }

    /// The families of a session that this rule is the first to match.
    pub(super) fn families(&self, rule: Option<&Rule>) -> Families {
        rule.and_then(|rule| rule.families)
            .unwrap_or_else(|| Families::both(self.prefer))
    }

    /// A race in which the family goes first that should at this moment.
    pub(super) fn race(&self, families: Families) -> Race {
        let first = families.first();
        let first = match families {
            Families::Ipv6First | Families::Ipv4First => self.memory.leader(first),
            Families::Ipv6Only | Families::Ipv4Only => first,
        };
        Race::new(first, self.attempt_delay)
    }

    /// The address that a client has written out, where a session may go there.
    pub(super) fn literal(
        &self,
        target: &Target,
        address: IpAddr,
        families: Families,
        losses: &mut Losses,
    ) -> Vec<IpAddr> {
        if families.allow(Family::of(address)) {
            return self.open_ones(target, vec![address], losses);
        }
        losses.left_out = Some(families);
        Vec::new()
    }

    /// Gives the addresses of a family to a race, by their precedence, and those that failed lately last.
    pub(super) fn enter(
        &self,
        race: &mut Race,
        over: Over,
        family: Family,
        mut addresses: Vec<IpAddr>,
    ) {
        let time = now().into_std();
        order::by_precedence(&mut addresses);
        if self.memory.sort(over, &mut addresses, time) {
            race.doubt(family);
        }
        race.note(Input::Resolved(family, addresses), time);
    }

    /// Remembers what a race came to. An attempt that was still running says something where it had its time.
    pub(super) fn learn(
        &self,
        over: Over,
        won: SocketAddr,
        losses: &Losses,
        running: &[IpAddr],
        attempts: &[(IpAddr, Instant)],
    ) {
        let time = now();
        let failed = losses.attempts.iter();
        let failed = failed.map(|(address, error)| (*address, Lost::Failed(error)));
        let silent = attempts.iter().filter(|(address, begun)| {
            *address != won.ip()
                && running.contains(address)
                && time.duration_since(*begun) >= self.attempt_delay
        });
        let silent = silent.map(|(address, _)| (*address, Lost::Silent));
        self.memory
            .learn(over, won, failed.chain(silent), time.into_std());
    }

    /// The addresses that sessions may go to.
    pub(super) fn open_ones(
        &self,
        target: &Target,
        mut addresses: Vec<IpAddr>,
        losses: &mut Losses,
    ) -> Vec<IpAddr> {
        if addresses.is_empty() {
            return addresses;
        }
        let near = self.surroundings.near(now().into_std());
        let judge = |address| self.judge(SocketAddr::new(address, target.port), &near);
        addresses.retain(|address| match judge(*address) {
            Ok(()) => true,
            Err(why) => {
                tracing::debug!(%target, %address, %why, "address refused");
                losses.refused.get_or_insert((*address, why));
                false
            }
        });
        addresses
    }

    /// The guard's word on an address at this moment.
    pub(super) fn admit(&self, address: SocketAddr) -> Result<(), Refusal> {
        self.judge(address, &self.surroundings.near(now().into_std()))
    }

    pub(super) fn judge(&self, address: SocketAddr, near: &Near) -> Result<(), Refusal> {
        self.guard.check(address.ip(), near)?;
        self.guard.check_listener(address, near)
    }

    pub(super) fn count_failure(&self, address: IpAddr) {
        self.metrics
            .connect_failures
            .get_or_create(&Family::of(address).into())
            .inc();
    }
}
