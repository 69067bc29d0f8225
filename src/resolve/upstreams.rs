//! The servers in their order: who is asked, who next, and who is left for last. Called by
//! [`Resolver`](super::Resolver), asks through `upstream`.
//!
//! In the order configured. A server that fails is followed by the next at once; one that is slow, after a moment,
//! while it may still answer. The first good answer is used. Servers that were silent or out of reach are asked last
//! for a while, so that a dead one does not cost every query that moment. A server that is late keeps its time to
//! the end, because only this tells one that is dead from one that is slow.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, info};

use super::upstream::{AskError, Client};
use super::{Answer, Question, ResolveError};
use crate::config::Upstream;
use crate::telemetry::{Metrics, UpstreamLabels};

/// How long a server that was silent or out of reach is asked last.
const COOL_DOWN: Duration = Duration::from_secs(10);
/// How long a server may take before the next is asked beside it. Less where there are many: the last one is to be asked
/// when half of the time is over at the latest.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long after the end of the asker's time the first server's own word on it is still waited for.
const GRACE: Duration = Duration::from_millis(20);

/// The servers.
#[derive(Debug)]
pub(super) struct Upstreams {
    config: Upstream,
    clients: Vec<Arc<Client>>,
    health: Arc<Mutex<Health>>,
    metrics: Arc<Metrics>,
}

impl Upstreams {
    /// Clients for the servers, none of which is connected yet.
    pub(super) fn new(config: &Upstream, metrics: Arc<Metrics>) -> Self {
        let servers = config.servers.iter();
        Self {
            clients: servers
                .map(|server| Arc::new(Client::new(server, config.timeout)))
                .collect(),
            health: Arc::new(Mutex::new(Health::new(config.servers.len()))),
            config: config.clone(),
            metrics,
        }
    }

    /// What it was made of.
    pub(super) fn config(&self) -> &Upstream {
        &self.config
    }

    /// The first good answer, within the time that one server has, however many there are.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] when every server failed or the time is over.
    pub(super) async fn ask(&self, question: &Question) -> Result<Answer, ResolveError> {
        let timeout = self.config.timeout;
        let count = u32::try_from(self.clients.len().max(1)).unwrap_or(u32::MAX);
        let patience = PATIENCE.min(timeout / 2 / count);
        let mut over = pin!(sleep(timeout + GRACE));
        let mut order = lock(&self.health).order(now()).into_iter();
        let mut asked = JoinSet::new();
        let mut failures = Failures::default();
        loop {
            if let Some(index) = order.next()
                && let Some(client) = self.clients.get(index)
            {
                let attempt = Attempt {
                    index,
                    client: Arc::clone(client),
                    health: Arc::clone(&self.health),
                    metrics: Arc::clone(&self.metrics),
                };
                asked.spawn(attempt.run(question.clone()));
            }
            tokio::select! {
                biased;
                outcome = asked.join_next() => match outcome {
                    Some(Ok(Ok(answer))) => {
                        asked.detach_all();
                        return Ok(answer);
                    }
                    Some(Ok(Err(failure))) => failures.note(failure),
                    Some(Err(_)) => {}
                    None if order.len() == 0 => return Err(failures.sum()),
                    None => {}
                },
                () = &mut over => {
                    asked.detach_all();
                    failures.note(AskError::Timeout);
                    return Err(failures.sum());
                }
                () = sleep(patience), if order.len() > 0 => {}
            }
        }
    }
}

/// One server asked once.
struct Attempt {
    index: usize,
    client: Arc<Client>,
    health: Arc<Mutex<Health>>,
    metrics: Arc<Metrics>,
}

impl Attempt {
    async fn run(self, question: Question) -> Result<Answer, AskError> {
        let asked = now();
        let outcome = self.client.ask(&question).await;
        let label = match &outcome {
            Ok(_) => "answered",
            Err(AskError::Failed { rcode, .. }) => match u16::from(*rcode) {
                2 => "servfail",
                5 => "refused",
                _ => "error",
            },
            Err(AskError::Timeout) => "timeout",
            Err(AskError::Network(_) | AskError::Malformed(_)) => "error",
            Err(AskError::Overload) => "overload",
        };
        self.metrics
            .upstream_queries
            .get_or_create(&UpstreamLabels { outcome: label })
            .inc();
        let server = self.client.address();
        if let Err(error) = &outcome {
            debug!(%server, name = %question.name, kind = %question.record_type, %error, "upstream failed");
        }
        match &outcome {
            Err(AskError::Overload) => {}
            Err(error @ (AskError::Timeout | AskError::Network(_))) => {
                if lock(&self.health).silent(self.index, asked, now()) {
                    info!(%server, %error, "upstream down");
                }
            }
            Ok(_) | Err(AskError::Failed { .. } | AskError::Malformed(_)) => {
                if lock(&self.health).heard(self.index, now()) {
                    info!(%server, "upstream up");
                }
            }
        }
        outcome
    }
}

/// What the servers that failed add up to.
#[derive(Debug, Default)]
struct Failures {
    code: Option<ResolveError>,
    timeout: bool,
    other: Option<String>,
}

impl Failures {
    fn note(&mut self, failure: AskError) {
        match failure {
            AskError::Failed {
                rcode,
                extended_errors,
            } => {
                self.code = Some(ResolveError::Failed {
                    rcode,
                    extended_errors,
                });
            }
            AskError::Timeout => self.timeout = true,
            AskError::Network(text) | AskError::Malformed(text) => self.other = Some(text),
            AskError::Overload => self.other = Some(failure.to_string()),
        }
    }

    /// A server's own word says most, then that one may only be slow.
    fn sum(self) -> ResolveError {
        match self.code {
            Some(error) => error,
            None if self.timeout => ResolveError::Timeout,
            None => ResolveError::Unreachable(
                self.other
                    .unwrap_or_else(|| "no server is configured".to_owned()),
            ),
        }
    }
}

/// PURE. Which servers are to be asked last, and until when.
#[derive(Debug)]
struct Health {
    servers: Vec<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    heard: Option<Instant>,
    down_until: Option<Instant>,
}

impl Health {
    fn new(count: usize) -> Self {
        Self {
            servers: vec![State::default(); count],
        }
    }

    /// All servers: as configured, those that are cooling down behind the others.
    fn order(&self, now: Instant) -> Vec<usize> {
        let cooling = |index: &usize| {
            self.servers
                .get(*index)
                .and_then(|state| state.down_until)
                .is_some_and(|until| until > now)
        };
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        order.sort_by_key(cooling);
        order
    }

    /// A query sent at `asked` got no answer. A server that has answered another since then is not to blame: the name
    /// was. Says whether the server counted as up until now.
    fn silent(&mut self, index: usize, asked: Instant, now: Instant) -> bool {
        match self.servers.get_mut(index) {
            Some(state) if state.heard.is_none_or(|heard| heard < asked) => {
                let first = state.down_until.is_none();
                state.down_until = Some(now + COOL_DOWN);
                first
            }
            _ => false,
        }
    }

    /// The server said something. Says whether it counted as down until now.
    fn heard(&mut self, index: usize, now: Instant) -> bool {
        self.servers.get_mut(index).is_some_and(|state| {
            state.heard = Some(now);
            state.down_until.take().is_some()
        })
    }
}

fn lock(health: &Mutex<Health>) -> std::sync::MutexGuard<'_, Health> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shell around Health; tokio's clock, which tests can pause"
)]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_silent_server_is_asked_last_until_it_has_cooled_down() {
        let start = now();
        let mut health = Health::new(3);
        assert_eq!(health.order(start), [0, 1, 2]);
        assert!(health.silent(0, start, start + 2 * SECOND));
        assert_eq!(health.order(start + 3 * SECOND), [1, 2, 0]);
        assert_eq!(health.order(start + 12 * SECOND), [0, 1, 2]);
    }

    #[test]
    fn a_server_that_stays_down_or_comes_back_is_told_once() {
        let start = now();
        let mut health = Health::new(2);
        assert!(health.silent(0, start, start + SECOND));
        assert!(!health.silent(0, start, start + 20 * SECOND));
        assert_eq!(health.order(start + 21 * SECOND), [1, 0]);
        assert!(health.heard(0, start + 22 * SECOND));
        assert!(!health.heard(0, start + 23 * SECOND));
        assert_eq!(health.order(start + 23 * SECOND), [0, 1]);
    }

    #[test]
    fn a_name_that_nobody_can_resolve_does_not_bring_its_server_down() {
        let start = now();
        let mut health = Health::new(2);
        health.heard(0, start + SECOND);
        assert!(!health.silent(0, start, start + 2 * SECOND));
        assert_eq!(health.order(start + 2 * SECOND), [0, 1]);
    }

    #[test]
    fn when_all_are_down_all_are_still_asked() {
        let start = now();
        let mut health = Health::new(2);
        health.silent(0, start, start);
        health.silent(1, start, start);
        assert_eq!(health.order(start), [0, 1]);
    }

    #[test]
    fn a_code_says_more_than_silence_and_silence_more_than_no_path() {
        let mut failures = Failures::default();
        assert!(matches!(
            Failures::default().sum(),
            ResolveError::Unreachable(_)
        ));
        failures.note(AskError::Network("refused".to_owned()));
        failures.note(AskError::Timeout);
        assert_eq!(
            Failures {
                timeout: true,
                ..Failures::default()
            }
            .sum(),
            ResolveError::Timeout
        );
        failures.note(AskError::Failed {
            rcode: ResponseCode::Refused,
            extended_errors: vec![],
        });
        failures.note(AskError::Timeout);
        assert_eq!(
            failures.sum(),
            ResolveError::Failed {
                rcode: ResponseCode::Refused,
                extended_errors: vec![]
            }
        );
    }
}
