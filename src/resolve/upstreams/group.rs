//! The servers of one domain, or of all the others: one question, put to them as `order` says. Called by
//! [`Upstreams`](super::Upstreams).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::upstream::{AskError, Trust, repeat_interval};
use super::super::{Answer, Question, ResolveError, now};
use super::attempt::attempt;
use super::failures::Failures;
use super::order::Schedule;
use super::servers::Servers;
use super::status::{ServerState, ServerStatus};
use crate::config::Upstream;
use crate::telemetry::Metrics;

/// How long after the end of the asker's time the first server's own word on it is still waited for.
const GRACE: Duration = Duration::from_millis(20);

/// The servers; the prober ends when this is dropped.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) servers: Arc<Servers>,
    _stop: DropGuard,
}

impl Group {
    /// Servers of which nothing is known yet.
    pub(super) fn new(
        domain: Option<Name>,
        config: Upstream,
        trust: &Trust,
        metrics: Arc<Metrics>,
    ) -> Self {
        let stop = CancellationToken::new();
        let servers = Servers::new(domain, config, trust, metrics, stop.clone());
        Self {
            servers: Arc::new(servers),
            _stop: stop.drop_guard(),
        }
    }

    /// Whether it is for this domain and made of this.
    pub(super) fn is_of(&self, domain: Option<&Name>, config: &Upstream, trust: &Trust) -> bool {
        self.servers.domain.as_ref() == domain
            && self.servers.config == *config
            && self.servers.trust == *trust
    }

    /// Whether every server is down, as far as is known now.
    pub(super) fn is_down(&self) -> bool {
        let health = self.servers.health();
        health.len() > 0 && health.down() == health.len()
    }

    /// How the servers are.
    pub(super) fn status(&self) -> Vec<ServerStatus> {
        let now = now();
        let health = self.servers.health();
        let servers = self.servers.config.servers.iter().enumerate();
        servers
            .filter_map(|(index, server)| {
                let known = health.server(index)?;
                Some(ServerStatus {
                    domain: self.servers.domain.clone(),
                    address: server.address,
                    transport: server.transport,
                    state: match known.down {
                        Some(down) => ServerState::Down(now.saturating_duration_since(down.since)),
                        None if known.counts.asked == 0 => ServerState::Unknown,
                        None => ServerState::Up,
                    },
                    answer_time: known.time.map(|time| time.mean),
                    counts: known.counts,
                })
            })
            .collect()
    }

    /// How many servers are not down, as far as is known now.
    pub(super) fn live(&self) -> usize {
        let health = self.servers.health();
        health.len() - health.down()
    }

    /// The first good answer, within the time that one server has, however many there are.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] when every server failed or the time is over.
    pub(super) async fn ask(&self, question: &Question) -> Result<Answer, ResolveError> {
        let Upstream {
            strategy, timeout, ..
        } = self.servers.config;
        let schedule = Schedule::new(strategy, &self.servers.health(), timeout, now());
        self.ask_as(question, schedule).await
    }

    /// The one server that a question is put to first, where it is to be asked over UDP; and how long it has before something
    /// else is to happen.
    pub(super) fn plain(&self, now: std::time::Instant) -> Option<(Arc<Servers>, usize, Duration)> {
        let Upstream {
            strategy, timeout, ..
        } = self.servers.config;
        let health = self.servers.health();
        let repeat = repeat_interval(timeout);
        let (index, patience) = if health.len() == 1 {
            (!health.is_down(0)).then_some((0, repeat))?
        } else {
            let mut schedule = Schedule::new(strategy, &health, timeout, now);
            let [index] = *schedule.start(now) else {
                return None;
            };
            let next = schedule.next().map_or(repeat, |next| next - now);
            (!health.is_down(index)).then_some((index, next.min(repeat)))?
        };
        drop(health);
        self.servers.peer(index)?;
        Some((Arc::clone(&self.servers), index, patience))
    }

    /// Likewise, of one of those that are up.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] when it failed, there is none, or the time is over.
    pub(super) async fn ask_one(
        &self,
        question: &Question,
        nth: usize,
    ) -> Result<Answer, ResolveError> {
        let Upstream {
            strategy, timeout, ..
        } = self.servers.config;
        let schedule = Schedule::new(strategy, &self.servers.health(), timeout, now());
        self.ask_as(question, schedule.alone(nth)).await
    }

    async fn ask_as(
        &self,
        question: &Question,
        mut schedule: Schedule,
    ) -> Result<Answer, ResolveError> {
        // It may have been asked already.
        let mut given = self.servers.take_given(question);
        let begun = given.as_ref().map_or_else(now, |given| given.asked);
        let end = begun + self.servers.config.timeout + GRACE;
        let mut over = pin!(sleep_until(Instant::from_std(end)));
        let mut asked = JoinSet::new();
        let mut failures = Failures::default();
        let mut time = begun;
        loop {
            for index in schedule.start(time) {
                let servers = Arc::clone(&self.servers);
                let given = given.take_if(|given| given.index == index);
                asked.spawn(attempt(servers, index, question.clone(), given));
            }
            if schedule.is_over() {
                asked.detach_all();
                return Err(failures.sum());
            }
            let next = schedule.next();
            let tick = async {
                match next {
                    Some(next) => sleep_until(Instant::from_std(next)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(ended) = asked.join_next() => match ended {
                    Ok((_, Ok(answer))) => {
                        asked.detach_all();
                        return Ok(answer);
                    }
                    Ok((index, Err(failure))) => {
                        let told = matches!(failure, AskError::Failed { .. } | AskError::Malformed(_));
                        schedule.failed(index, told);
                        failures.note(failure);
                    }
                    Err(_) => {}
                },
                () = &mut over => {
                    asked.detach_all();
                    failures.note(AskError::Timeout);
                    return Err(failures.sum());
                }
                () = tick => {}
            }
            time = now();
        }
    }
}
