//! PURE. Who is asked when, for one question: the strategies, hedging and failover. Run by `group`, which has the clock
//! and the sockets.
//!
//! `ordered` begins with the first server that is up, `fastest` with the one that answers fastest, `race` with all that
//! are up. A server that fails is followed by the next at once, one that is slow by the next beside it. Those that are
//! down come last: for them nobody waits who has any word from a server that is up. Where all are down, all are asked
//! at once.
//!
//! `fastest` knows only the times of those it asks. So one that was not asked for a while is tried: asked beside the
//! fastest, and its answer is as good as any. So it is, in any order, with one that answers probes but nothing else, and
//! therefore stands behind the others.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::health::{Health, Server};
use crate::config::Strategy;

/// How long a server may take before the next is asked beside it. Less where there are many: the last one is to be asked
/// when half of the time is over at the latest.
const LONGEST_PATIENCE: Duration = Duration::from_millis(400);
/// `fastest` waits as long as the server usually takes, but not less than this: any server has to ask others at times.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(100);
/// How long after it was asked last a server is tried beside the fastest.
const TRIAL_AFTER: Duration = Duration::from_secs(30);

/// The servers for one question.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Up, and not yet asked.
    live: VecDeque<usize>,
    /// Down, and not yet asked.
    down: VecDeque<usize>,
    /// How many of the live are asked at the beginning.
    first: usize,
    trial: Option<usize>,
    patience: Duration,
    live_under_way: Vec<usize>,
    down_under_way: usize,
    begun: bool,
    /// A server has failed, and the next is to follow.
    owed: bool,
    /// A server that said something, if of no use.
    told: bool,
    next: Instant,
}

impl Schedule {
    pub(super) fn new(
        strategy: Strategy,
        health: &Health,
        timeout: Duration,
        now: Instant,
    ) -> Self {
        let (down, mut live): (Vec<usize>, Vec<usize>) =
            (0..health.len()).partition(|&index| health.is_down(index));
        let mut trial = None;
        live.sort_by_key(|&index| health.server(index).map(|server| rank(strategy, server)));
        if strategy != Strategy::Race {
            trial = live.iter().skip(1).copied().find(|&index| {
                health.server(index).is_some_and(|server| {
                    let due = |asked: Instant| now >= asked + TRIAL_AFTER;
                    let can_rise = strategy == Strategy::Fastest || server.is_mute();
                    can_rise && server.asked.is_none_or(due)
                })
            });
            live.retain(|&index| Some(index) != trial);
        }
        let count = u32::try_from(health.len().max(1)).unwrap_or(u32::MAX);
        let longest = LONGEST_PATIENCE.min(timeout / 2 / count);
        let usual = live
            .first()
            .filter(|_| strategy == Strategy::Fastest)
            .and_then(|&index| health.server(index)?.time)
            .map_or(longest, |time| time.usual());
        Self {
            first: if strategy == Strategy::Race {
                live.len()
            } else {
                1
            },
            live: live.into(),
            down: down.into(),
            trial,
            patience: usual.clamp(SHORTEST_PATIENCE.min(longest), longest),
            live_under_way: Vec::new(),
            down_under_way: 0,
            begun: false,
            owed: false,
            told: false,
            next: now,
        }
    }

    /// One of those that are up, by itself: so many after the first that is written.
    pub(super) fn alone(mut self, nth: usize) -> Self {
        self.live.extend(self.trial.take());
        self.live.make_contiguous().sort_unstable();
        self.live
            .rotate_left(nth.checked_rem(self.live.len()).unwrap_or(0));
        self.live.truncate(1);
        self.down.clear();
        self
    }

    /// The servers to be asked now.
    pub(super) fn start(&mut self, now: Instant) -> Vec<usize> {
        let mut live = Vec::new();
        let mut down = Vec::new();
        if !self.begun {
            self.begun = true;
            let first = self.first.min(self.live.len());
            live.extend(self.live.drain(..first));
            live.extend(self.trial);
        } else if self.owed || now >= self.next {
            match self.live.pop_front() {
                Some(index) => live.push(index),
                None if !self.told => down.extend(self.down.pop_front()),
                None => {}
            }
        }
        self.owed = false;
        self.live_under_way.extend(&live);
        if self.live.is_empty() && self.live_under_way.is_empty() && !self.told {
            down.extend(self.down.drain(..));
        }
        self.down_under_way += down.len();
        live.extend(down);
        if !live.is_empty() {
            self.next = now + self.patience;
        }
        live
    }

    /// A server failed; `told`: it said so itself.
    pub(super) fn failed(&mut self, index: usize, told: bool) {
        self.told |= told;
        match self.live_under_way.iter().position(|&it| it == index) {
            Some(place) => {
                self.live_under_way.swap_remove(place);
            }
            None => self.down_under_way = self.down_under_way.saturating_sub(1),
        }
        // The fastest is still under way beside its trial.
        self.owed |= self.trial != Some(index) || self.live_under_way.is_empty();
    }

    /// When [`Schedule::start`] has more, if nothing happens until then.
    pub(super) fn next(&self) -> Option<Instant> {
        let more = !self.live.is_empty() || (!self.told && !self.down.is_empty());
        more.then_some(self.next)
    }

    /// Whether no server is left whose answer is worth waiting for.
    pub(super) fn is_over(&self) -> bool {
        let none = self.down_under_way == 0 && self.down.is_empty();
        self.live.is_empty() && self.live_under_way.is_empty() && (self.told || none)
    }
}

/// The less, the earlier; those of the same rank stand as they are written. Without a time a server stands behind those
/// that have one, and is tried soon.
fn rank(strategy: Strategy, server: &Server) -> (bool, bool, Duration) {
    match strategy {
        Strategy::Ordered | Strategy::Race => (server.is_mute(), false, Duration::ZERO),
        Strategy::Fastest => (
            server.is_mute(),
            server.only_fails(),
            server.time.map_or(Duration::MAX, |time| time.mean),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::now;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLISECOND: Duration = Duration::from_millis(1);
    const TIMEOUT: Duration = Duration::from_secs(2);

    /// Servers that were asked just now, and took so many milliseconds.
    fn measured(times: &[u32], now: Instant) -> Health {
        let mut health = Health::new(times.len());
        for (index, time) in times.iter().enumerate() {
            health.begun(index, now);
            health.answered(index, now - MILLISECOND * *time, now);
        }
        health
    }

    fn schedule(strategy: Strategy, health: &Health, now: Instant) -> Schedule {
        Schedule::new(strategy, health, TIMEOUT, now)
    }

    #[test]
    fn ordered_asks_one_after_the_other_as_they_are_written() {
        let start = now();
        let health = measured(&[30, 20, 10], start);
        let mut order = schedule(Strategy::Ordered, &health, start);
        assert_eq!(order.start(start), [0]);
        assert!(order.start(start + MILLISECOND).is_empty(), "it has time");
        let next = order.next().unwrap();
        assert!(next > start && next <= start + LONGEST_PATIENCE);
        assert_eq!(order.start(next), [1], "beside one that is slow");
        order.failed(1, true);
        assert_eq!(order.start(next), [2], "at once after one that failed");
        assert_eq!(order.next(), None);
        order.failed(2, true);
        assert!(!order.is_over(), "the first may still answer");
        order.failed(0, false);
        assert!(order.start(next).is_empty() && order.is_over());
    }

    #[test]
    fn fastest_begins_with_the_one_that_answers_fastest() {
        let start = now();
        let health = measured(&[30, 20, 10], start);
        let mut order = schedule(Strategy::Fastest, &health, start);
        assert_eq!(order.start(start), [2]);
        order.failed(2, true);
        assert_eq!(order.start(start), [1]);
        order.failed(1, false);
        assert_eq!(order.start(start), [0]);
    }

    #[test]
    fn fastest_waits_as_long_as_the_fastest_usually_takes_within_bounds() {
        let start = now();
        for (times, patience) in [
            ([1, 2], SHORTEST_PATIENCE),
            ([60, 80], 180 * MILLISECOND),
            ([900, 950], LONGEST_PATIENCE),
        ] {
            let health = measured(&times, start);
            let mut order = schedule(Strategy::Fastest, &health, start);
            order.start(start);
            assert_eq!(order.next(), Some(start + patience), "{times:?}");
        }
    }

    #[test]
    fn fastest_tries_one_of_those_not_asked_for_a_while_beside_and_not_instead() {
        let start = now();
        let mut health = measured(&[10, 20, 30], start);
        let later = start + TRIAL_AFTER;
        health.begun(0, later);
        let mut order = schedule(Strategy::Fastest, &health, later);
        assert_eq!(order.start(later), [0, 1]);
        order.failed(1, true);
        assert!(order.start(later).is_empty(), "the fastest has its time");
        health.begun(1, later);
        let mut order = schedule(Strategy::Fastest, &health, later);
        assert_eq!(order.start(later), [0, 2]);
        health.begun(2, later);
        let mut order = schedule(Strategy::Fastest, &health, later);
        assert_eq!(order.start(later), [0]);
    }

    #[test]
    fn fastest_gets_to_know_all_servers_with_its_first_questions() {
        let start = now();
        let mut health = Health::new(3);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let begun = schedule(Strategy::Fastest, &health, start).start(start);
            for &index in &begun {
                health.begun(index, start);
            }
            seen.push(begun);
        }
        assert_eq!(seen, [vec![0, 1], vec![0, 2], vec![0]]);
    }

    #[test]
    fn fastest_asks_one_that_only_fails_after_those_that_answer() {
        let start = now();
        let mut health = measured(&[1, 50], start);
        for _ in 0..3 {
            health.failed(0, start);
        }
        let mut order = schedule(Strategy::Fastest, &health, start);
        assert_eq!(order.start(start), [1]);
        health.answered(0, start, start);
        let mut order = schedule(Strategy::Fastest, &health, start);
        assert_eq!(order.start(start), [0]);
    }

    #[test]
    fn one_that_answers_only_probes_stands_behind_the_others_and_is_tried_beside() {
        let start = now();
        let mut health = measured(&[1, 50], start);
        for _ in 0..3 {
            health.lost(0, start - SECOND, start);
        }
        assert!(!health.is_down(0), "it was heard");
        for strategy in [Strategy::Ordered, Strategy::Fastest] {
            let asked = schedule(strategy, &health, start).start(start);
            assert_eq!(asked, [1], "{strategy:?}");
            let later = start + TRIAL_AFTER;
            let asked = schedule(strategy, &health, later).start(later);
            assert_eq!(asked, [1, 0], "{strategy:?}");
        }
        health.failed(0, start);
        let mut order = schedule(Strategy::Ordered, &health, start);
        assert_eq!(order.start(start), [0], "it has spoken");
    }

    #[test]
    fn race_asks_all_that_are_up_at_once() {
        let start = now();
        let mut health = measured(&[10, 20, 30], start);
        health.lost(1, start + SECOND, start + 2 * SECOND);
        let later = start + 3 * SECOND;
        let mut order = schedule(Strategy::Race, &health, later);
        assert_eq!(order.start(later), [0, 2]);
        order.failed(0, true);
        assert!(order.start(later).is_empty() && !order.is_over());
        order.failed(2, true);
        assert!(order.is_over(), "nobody waits for the dead one");
    }

    #[test]
    fn one_that_is_down_is_asked_last_and_not_waited_for_after_any_word() {
        let start = now();
        let mut health = Health::new(3);
        health.lost(0, start, start);
        for strategy in [Strategy::Ordered, Strategy::Fastest] {
            let mut order = schedule(strategy, &health, start);
            let mut asked = order.start(start);
            order.failed(1, true);
            asked.extend(order.start(start));
            order.failed(2, true);
            asked.extend(order.start(start));
            assert_eq!(asked, [1, 2], "{strategy:?}");
            assert!(order.is_over());
        }
    }

    #[test]
    fn one_that_is_down_is_asked_where_the_others_say_nothing() {
        let start = now();
        let mut health = Health::new(2);
        health.lost(0, start, start);
        let mut order = schedule(Strategy::Ordered, &health, start);
        assert_eq!(order.start(start), [1]);
        let next = order.next().unwrap();
        assert_eq!(order.start(next), [0], "beside");
        order.failed(1, true);
        assert!(order.is_over(), "one that is up has spoken");

        let mut order = schedule(Strategy::Ordered, &health, start);
        order.start(start);
        order.failed(1, false);
        assert_eq!(order.start(start), [0], "at once");
        assert!(!order.is_over());
        order.failed(0, false);
        assert!(order.is_over());
    }

    #[test]
    fn where_all_are_down_all_are_asked_at_once() {
        let start = now();
        let mut health = Health::new(3);
        for index in 0..3 {
            health.lost(index, start, start);
        }
        for strategy in [Strategy::Ordered, Strategy::Fastest, Strategy::Race] {
            let mut order = schedule(strategy, &health, start);
            assert_eq!(order.start(start), [0, 1, 2], "{strategy:?}");
            for index in 0..3 {
                assert!(!order.is_over());
                order.failed(index, false);
            }
            assert!(order.is_over() && order.start(start).is_empty());
        }
    }

    #[test]
    fn the_last_of_many_is_asked_when_half_of_the_time_is_over() {
        let start = now();
        let health = Health::new(12);
        let mut order = schedule(Strategy::Ordered, &health, start);
        let mut asked = order.start(start);
        let mut at = start;
        while let Some(next) = order.next() {
            at = next;
            asked.extend(order.start(at));
        }
        assert_eq!(asked, (0..12).collect::<Vec<_>>());
        assert!(at <= start + TIMEOUT / 2);
    }

    #[test]
    fn without_servers_it_is_over_at_once() {
        let start = now();
        let mut order = schedule(Strategy::Fastest, &Health::new(0), start);
        assert!(order.start(start).is_empty() && order.is_over());
    }
}
