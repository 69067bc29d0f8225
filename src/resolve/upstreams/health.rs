//! PURE. What is known of each server of a group: whether it is up, how fast it answers, when it is probed next. Fed by
//! `attempt` and `probe`, read by `order`.
//!
//! Silence and refused connections bring a server down; an answer of any kind brings it up again. A server that has
//! answered something since the lost query was sent is not to blame: the name was. So that this can be told of a server
//! that is asked one thing only, it is probed when half of a query's time is over ([`Health::doubt`]).

use std::time::{Duration, Instant};

/// How long after it went down a server is probed for the first time; twice as long after each probe that was lost.
const FIRST_PROBE: Duration = Duration::from_secs(1);
/// The longest time between two probes of a server that is down.
const RAREST_PROBE: Duration = Duration::from_secs(60);
/// The shortest time between two probes of a server that is up, but slow.
const DOUBT_INTERVAL: Duration = Duration::from_millis(500);
/// So many failures, or losses, one after the other say that there is more to come.
const MANY: u32 = 3;
/// A time measured longer ago than this says little about now.
const OLD: Duration = Duration::from_secs(10);

/// The servers, by their place in the configuration.
#[derive(Debug)]
pub(super) struct Health {
    servers: Vec<Server>,
}

/// What is known of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    /// When it said something last.
    heard: Option<Instant>,
    /// When it was asked last.
    pub(super) asked: Option<Instant>,
    pub(super) down: Option<Down>,
    probe: Probe,
    pub(super) time: Option<AnswerTime>,
    /// Queries since the last good answer that were answered to no use.
    failures: u32,
    /// Queries since the last answer of any kind that got none; the answer to a probe is not one.
    losses: u32,
    pub(super) counts: Counts,
}

/// A server that is down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Down {
    pub(super) since: Instant,
    interval: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Probe {
    next: Option<Instant>,
    last: Option<Instant>,
    under_way: bool,
}

/// What came of the queries to one server, probes aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Queries sent.
    pub asked: u64,
    /// Good answers.
    pub answered: u64,
    /// Answers of no use: SERVFAIL, REFUSED, nonsense.
    pub failed: u64,
    /// No answer, or no way to it.
    pub lost: u64,
}

/// The smoothed time to an answer and its mean deviation, as in RFC 6298 section 2.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerTime {
    pub(super) mean: Duration,
    deviation: Duration,
    measured: Instant,
}

impl AnswerTime {
    fn first(sample: Duration, now: Instant) -> Self {
        Self {
            mean: sample,
            deviation: sample / 2,
            measured: now,
        }
    }

    /// One more sample; it counts for half where the others are old.
    fn and(self, sample: Duration, now: Instant) -> Self {
        let (mean, deviation) = if now.saturating_duration_since(self.measured) > OLD {
            (2, 2)
        } else {
            (8, 4)
        };
        let difference = self.mean.abs_diff(sample);
        Self {
            mean: self.mean - self.mean / mean + sample / mean,
            deviation: self.deviation - self.deviation / deviation + difference / deviation,
            measured: now,
        }
    }

    /// How long an answer takes at the most, mostly.
    pub(super) fn usual(self) -> Duration {
        self.mean + 4 * self.deviation
    }
}

impl Server {
    /// Whether it has only failed lately, and so is of less use than one that answers.
    pub(super) fn only_fails(&self) -> bool {
        self.failures >= MANY
    }

    /// Whether it has been silent to everything but probes lately: up, and of no use.
    pub(super) fn is_mute(&self) -> bool {
        self.losses >= MANY
    }

    fn hear(&mut self, now: Instant) -> bool {
        self.heard = Some(now);
        self.probe.next = None;
        self.down.take().is_some()
    }

    fn lose(&mut self, asked: Instant, now: Instant) -> bool {
        if self.heard.is_some_and(|heard| heard >= asked) || self.down.is_some() {
            return false;
        }
        self.down = Some(Down {
            since: now,
            interval: FIRST_PROBE,
        });
        self.probe.next = Some(now + FIRST_PROBE);
        true
    }
}

impl Health {
    pub(super) fn new(count: usize) -> Self {
        Self {
            servers: vec![Server::default(); count],
        }
    }

    pub(super) fn server(&self, index: usize) -> Option<&Server> {
        self.servers.get(index)
    }

    pub(super) fn len(&self) -> usize {
        self.servers.len()
    }

    pub(super) fn is_down(&self, index: usize) -> bool {
        self.server(index).is_some_and(|it| it.down.is_some())
    }

    /// How many are down.
    pub(super) fn down(&self) -> usize {
        self.servers.iter().filter(|it| it.down.is_some()).count()
    }

    /// A query goes out.
    pub(super) fn begun(&mut self, index: usize, now: Instant) {
        if let Some(server) = self.servers.get_mut(index) {
            server.asked = Some(now);
            server.counts.asked += 1;
        }
    }

    /// The query sent at `asked` has its answer. Says whether the server counted as down until now.
    pub(super) fn answered(&mut self, index: usize, asked: Instant, now: Instant) -> bool {
        self.servers.get_mut(index).is_some_and(|server| {
            let sample = now.saturating_duration_since(asked);
            server.time = Some(match server.time {
                Some(time) => time.and(sample, now),
                None => AnswerTime::first(sample, now),
            });
            server.failures = 0;
            server.losses = 0;
            server.counts.answered += 1;
            server.hear(now)
        })
    }

    /// The server said something that is of no use. Says whether it counted as down until now.
    pub(super) fn failed(&mut self, index: usize, now: Instant) -> bool {
        self.servers.get_mut(index).is_some_and(|server| {
            server.failures = server.failures.saturating_add(1);
            server.losses = 0;
            server.counts.failed += 1;
            server.hear(now)
        })
    }

    /// The query sent at `asked` got no answer. Says whether the server counted as up until now, and is down.
    pub(super) fn lost(&mut self, index: usize, asked: Instant, now: Instant) -> bool {
        self.servers.get_mut(index).is_some_and(|server| {
            server.losses = server.losses.saturating_add(1);
            server.counts.lost += 1;
            server.lose(asked, now)
        })
    }

    /// The query sent at `asked` takes long: is it the server or the name? Says whether a probe is due that will tell.
    pub(super) fn doubt(&mut self, index: usize, asked: Instant, now: Instant) -> bool {
        let Some(server) = self.servers.get_mut(index) else {
            return false;
        };
        let told = server.heard.is_some_and(|heard| heard >= asked);
        let probe = &mut server.probe;
        let probed = probe.under_way || probe.next.is_some();
        if told || probed || server.down.is_some() {
            return false;
        }
        probe.next = Some(match probe.last {
            Some(last) => now.max(last + DOUBT_INTERVAL),
            None => now,
        });
        true
    }

    /// When the next probe is due.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        let waiting = self.servers.iter().filter(|it| !it.probe.under_way);
        waiting.filter_map(|server| server.probe.next).min()
    }

    /// The servers to be probed now, each until [`Health::probed`].
    pub(super) fn due(&mut self, now: Instant) -> Vec<usize> {
        let mut due = Vec::new();
        for (index, server) in self.servers.iter_mut().enumerate() {
            let probe = &mut server.probe;
            if !probe.under_way && probe.next.is_some_and(|next| next <= now) {
                *probe = Probe {
                    next: None,
                    last: Some(now),
                    under_way: true,
                };
                due.push(index);
            }
        }
        due
    }

    /// What came of a probe. Says whether the server was up and is down, or the other way round.
    pub(super) fn probed(&mut self, index: usize, heard: bool, now: Instant) -> bool {
        let Some(server) = self.servers.get_mut(index) else {
            return false;
        };
        server.probe.under_way = false;
        if heard {
            return server.hear(now);
        }
        match &mut server.down {
            Some(down) => {
                down.interval = (2 * down.interval).min(RAREST_PROBE);
                server.probe.next = Some(now + down.interval);
                false
            }
            None => {
                let sent = server.probe.last.unwrap_or(now);
                server.lose(sent, now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::now;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn a_server_that_stays_down_or_comes_back_is_told_once() {
        let start = now();
        let mut health = Health::new(2);
        assert!(health.lost(0, start, start + SECOND));
        assert!(!health.lost(0, start, start + 20 * SECOND));
        assert!(health.is_down(0) && !health.is_down(1));
        assert!(health.answered(0, start + 20 * SECOND, start + 22 * SECOND));
        assert!(!health.answered(0, start + 20 * SECOND, start + 23 * SECOND));
        assert_eq!(health.down(), 0);
        assert_eq!(
            health.server(0).unwrap().counts,
            Counts {
                asked: 0,
                answered: 2,
                failed: 0,
                lost: 2
            }
        );
    }

    #[test]
    fn a_name_that_nobody_can_resolve_does_not_bring_its_server_down() {
        let start = now();
        let mut health = Health::new(2);
        health.failed(0, start + SECOND);
        assert!(!health.lost(0, start, start + 2 * SECOND));
        assert_eq!(health.down(), 0);
    }

    #[test]
    fn a_server_that_is_slow_with_one_name_is_probed_before_it_is_judged() {
        let start = now();
        let mut health = Health::new(1);
        assert!(health.doubt(0, start, start + SECOND));
        assert_eq!(health.due(start + SECOND), [0]);
        assert!(!health.doubt(0, start, start + SECOND), "one at a time");
        assert!(!health.probed(0, true, start + SECOND + MILLISECOND));
        assert!(
            !health.lost(0, start, start + 2 * SECOND),
            "it has answered"
        );
        assert_eq!(health.next_probe(), None);

        let again = start + 10 * SECOND;
        assert!(health.doubt(0, again, again + SECOND));
        health.due(again + SECOND);
        assert!(health.lost(0, again, again + 2 * SECOND), "it has not");
        assert!(!health.probed(0, false, again + 3 * SECOND), "told already");
        assert!(!health.doubt(0, again, again + 4 * SECOND), "known already");
    }

    #[test]
    fn many_slow_names_cost_two_probes_a_second() {
        let start = now();
        let mut health = Health::new(1);
        let mut probes = 0;
        for tick in 0..100 {
            let at = start + 100 * MILLISECOND * tick;
            health.doubt(0, at - MILLISECOND, at);
            probes += health.due(at).len();
            health.probed(0, true, at);
        }
        assert_eq!(probes, 20);
    }

    #[test]
    fn probes_of_a_dead_server_become_rare_and_end_when_it_is_back() {
        let start = now();
        let mut health = Health::new(2);
        health.lost(1, start, start);
        let mut at = start;
        let mut waits = Vec::new();
        for _ in 0..9 {
            let next = health.next_probe().unwrap();
            waits.push((next - at).as_secs());
            at = next;
            assert!(health.due(at - MILLISECOND).is_empty());
            assert_eq!(health.due(at), [1]);
            assert!(health.due(at).is_empty(), "one at a time");
            assert!(!health.probed(1, false, at));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        at += 60 * SECOND;
        assert_eq!(health.due(at), [1]);
        assert!(health.probed(1, true, at));
        assert_eq!((health.down(), health.next_probe()), (0, None));
    }

    #[test]
    fn a_probe_that_is_lost_brings_down_too() {
        let start = now();
        let mut health = Health::new(1);
        health.doubt(0, start, start + SECOND);
        health.due(start + SECOND);
        assert!(health.probed(0, false, start + 2 * SECOND));
        assert_eq!(health.next_probe(), Some(start + 3 * SECOND));
    }

    #[test]
    fn the_time_follows_slowly_while_it_is_fresh_and_quickly_when_it_is_old() {
        let start = now();
        let mut health = Health::new(1);
        let mean = |health: &Health| health.server(0).unwrap().time.unwrap().mean;
        health.answered(0, start, start + 80 * MILLISECOND);
        assert_eq!(mean(&health), 80 * MILLISECOND);
        health.answered(0, start, start + 160 * MILLISECOND);
        assert_eq!(mean(&health), 90 * MILLISECOND);
        let later = start + 60 * SECOND;
        health.answered(0, later, later + 10 * MILLISECOND);
        assert_eq!(mean(&health), 50 * MILLISECOND);
        assert!(health.server(0).unwrap().time.unwrap().usual() > 100 * MILLISECOND);
    }
}
