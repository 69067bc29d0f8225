//! One session: what it is counted as, the line that is logged at its end, and whether its client is still there.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::respond::{Failure, Kind};
use super::screen::Fault;
use crate::dial::{Dialed, Settled};
use crate::net::{ClientAddr, Family, Target, broken};
use crate::relay::{Carried, Ended};
use crate::telemetry::{
    FailureLabels, FaultLabels, Inbound, InboundLabels, LimitLabels, Metrics, Side, Sparing,
    TrafficLabels, events,
};

/// One for all sessions: who floods us does not fill the log.
static NAMELESS_LINES: Mutex<Sparing> = Mutex::new(Sparing::new());

/// Likewise, of sessions that fail by our own fault: what we lack, the next ones lack as well.
static OWN_FAULT_LINES: Mutex<Sparing> = Mutex::new(Sparing::new());

/// A session that is open.
#[derive(Debug)]
pub(super) struct Session {
    metrics: Arc<Metrics>,
    pub(super) client: ClientAddr,
    inbound: Inbound,
    begun: Instant,
}

/// How an origin was reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    address: SocketAddr,
    family: Family,
    attempts: usize,
    elapsed: Duration,
}

impl From<&Dialed> for Reached {
    fn from(dialed: &Dialed) -> Self {
        Self {
            address: dialed.address,
            family: dialed.family,
            attempts: dialed.attempts,
            elapsed: dialed.elapsed,
        }
    }
}

impl Reached {
    /// Over UDP, where the first reply tells.
    pub(super) fn of_flow(settled: &Settled) -> Self {
        Self {
            address: settled.address,
            family: settled.family,
            attempts: settled.attempts,
            elapsed: settled.elapsed,
        }
    }
}

/// What an association carried, without the headers of SOCKS.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Datagrams {
    /// Bytes and datagrams by family, IPv4 first.
    sent: [(u64, u64); 2],
    received: [(u64, u64); 2],
    /// Addresses that were sent to, as far as they are remembered.
    pub(super) origins: usize,
}

impl Datagrams {
    pub(super) fn add_sent(&mut self, family: Family, bytes: usize) {
        add(&mut self.sent, family, bytes);
    }

    pub(super) fn add_received(&mut self, family: Family, bytes: usize) {
        add(&mut self.received, family, bytes);
    }

    /// How many datagrams there were.
    pub(super) fn total(&self) -> u64 {
        let all = self.sent.iter().chain(&self.received);
        all.map(|(_, datagrams)| datagrams).sum()
    }
}

fn add(of_families: &mut [(u64, u64); 2], family: Family, bytes: usize) {
    let [ipv4, ipv6] = of_families;
    let (all, datagrams) = match family {
        Family::V4 => ipv4,
        Family::V6 => ipv6,
    };
    *all += u64::try_from(bytes).unwrap_or(u64::MAX);
    *datagrams += 1;
}

impl Session {
    /// Counts a session as begun, and as open until it is dropped.
    pub(super) fn begin(metrics: Arc<Metrics>, client: ClientAddr, inbound: Inbound) -> Self {
        metrics
            .sessions
            .get_or_create(&InboundLabels { inbound })
            .inc();
        metrics.sessions_active.inc();
        Self {
            metrics,
            client,
            inbound,
            begun: now(),
        }
    }

    /// Logs and counts what the session carried.
    pub(super) fn ended(&self, target: &Target, reached: &Reached, carried: &Carried) {
        let family = reached.family.as_str();
        for (direction, bytes) in [("sent", carried.sent), ("received", carried.received)] {
            self.metrics
                .session_bytes
                .get_or_create(&TrafficLabels { direction, family })
                .inc_by(bytes);
        }
        let ended = match &carried.ended {
            Ended::Closed => "closed",
            Ended::Idle => {
                self.count_limit("idle-timeout");
                "idle"
            }
            Ended::Cut => "cut",
            Ended::Broken(side, error) => {
                self.count_failure(*side);
                tracing::debug!(client = %self.client, %target, %side, %error, "a connection broke");
                match side {
                    Side::Client => "broken-client",
                    Side::Origin => "broken-origin",
                    Side::Upstream | Side::Sekisho => "broken",
                }
            }
        };
        tracing::info!(
            client = %self.client,
            inbound = self.inbound.as_str(),
            %target,
            family,
            address = %reached.address,
            attempts = reached.attempts,
            connect_ms = millis(reached.elapsed),
            sent = carried.sent,
            received = carried.received,
            duration_ms = millis(now() - self.begun),
            ended,
            "{}", events::SESSION
        );
    }

    /// Logs and counts what an association carried.
    pub(super) fn associated(&self, carried: &Datagrams, ended: &Ended) {
        let mut bytes = [0; 2];
        let mut datagrams = [0; 2];
        let directions = [("sent", &carried.sent), ("received", &carried.received)];
        for (((direction, of_families), bytes), datagrams) in
            directions.into_iter().zip(&mut bytes).zip(&mut datagrams)
        {
            for (family, (more, count)) in [Family::V4, Family::V6].into_iter().zip(of_families) {
                let family = family.as_str();
                self.metrics
                    .session_bytes
                    .get_or_create(&TrafficLabels { direction, family })
                    .inc_by(*more);
                *bytes += more;
                *datagrams += count;
            }
        }
        let ended = match ended {
            Ended::Closed => "closed",
            Ended::Idle => "idle",
            Ended::Cut => "cut",
            Ended::Broken(side, error) => {
                self.count_failure(*side);
                tracing::debug!(client = %self.client, %side, %error, "an association broke");
                "broken"
            }
        };
        let [sent, received] = bytes;
        let [sent_datagrams, received_datagrams] = datagrams;
        tracing::info!(
            client = %self.client,
            inbound = self.inbound.as_str(),
            origins = carried.origins,
            sent,
            received,
            sent_datagrams,
            received_datagrams,
            duration_ms = millis(now() - self.begun),
            ended,
            "{}", events::SESSION
        );
    }

    /// Logs and counts why the session came to nothing.
    pub(super) fn failed(&self, target: Option<&Target>, failure: &Failure) {
        self.count_failure(failure.side);
        if let Some(fault) = failure.fault {
            self.count_fault(failure.side, fault);
        }
        match (failure.kind, self.inbound) {
            (Kind::HeadTooLarge, Inbound::Tls) => self.count_limit("sniff-bytes"),
            (Kind::HeadTooLarge, _) => self.count_limit("header-bytes"),
            (Kind::HeadTimeout, _) => self.count_limit("sniff-timeout"),
            (Kind::ResponseTimeout, Inbound::Forward) => self.count_limit("response-timeout"),
            (Kind::ResponseTimeout, _) => self.count_limit("idle-timeout"),
            (Kind::NoName, Inbound::Tls | Inbound::Quic) => self.nameless(),
            _ => {}
        }
        let target = target.map(tracing::field::display);
        macro_rules! line {
            ($level:ident, $left_out:expr) => {
                tracing::$level!(
                    client = %self.client,
                    inbound = self.inbound.as_str(),
                    target,
                    side = failure.side.as_str(),
                    error = %failure,
                    left_out = $left_out,
                    duration_ms = millis(now() - self.begun),
                    "session failed"
                )
            };
        }
        let told = match failure.side {
            Side::Sekisho => spare(&OWN_FAULT_LINES),
            Side::Client | Side::Upstream | Side::Origin => None,
        };
        match told {
            Some(left_out) => line!(warn, Some(left_out).filter(|count| *count > 0)),
            None => line!(debug, None::<u64>),
        }
    }

    /// Only the administrator can help a program that does not say where it goes.
    fn nameless(&self) {
        let inbound = self.inbound;
        self.metrics
            .sessions_nameless
            .get_or_create(&InboundLabels { inbound })
            .inc();
        let Some(left_out) = spare(&NAMELESS_LINES) else {
            return;
        };
        tracing::info!(
            client = %self.client,
            inbound = inbound.as_str(),
            left_out,
            hint = "set the proxy in the program, or put what it asks for into steer.never",
            "{}", events::NAMELESS
        );
    }

    /// Counts what the screen found.
    pub(super) fn count_fault(&self, side: Side, fault: Fault) {
        let fault = fault.label();
        self.metrics
            .http_faults
            .get_or_create(&FaultLabels { side, fault })
            .inc();
    }

    fn count_limit(&self, limit: &'static str) {
        self.metrics
            .session_limits
            .get_or_create(&LimitLabels { limit })
            .inc();
    }

    fn count_failure(&self, side: Side) {
        let inbound = self.inbound;
        self.metrics
            .session_failures
            .get_or_create(&FailureLabels { inbound, side })
            .inc();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.metrics.sessions_active.dec();
    }
}

/// The outcome, or a failure as soon as the client has broken the connection. A client that has only said its last
/// word still waits for the answer.
pub(super) async fn unless_gone<T>(
    client: &TcpStream,
    doing: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        done = doing => Ok(done),
        error = broken(client) => Err(Failure::of_client(
            Kind::Gone,
            format!("the client broke the connection: {error}"),
        )),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the duration of a session is only logged"
)]
fn now() -> Instant {
    Instant::now()
}

/// Whether a line of this kind may be said, and how many were left out.
fn spare(lines: &Mutex<Sparing>) -> Option<u64> {
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    lines.say(now().into_std())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
