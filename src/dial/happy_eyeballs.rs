//! PURE. Which address is tried when: Happy Eyeballs version 2 (RFC 8305), sections 3 to 5.
//!
//! The shell (`dial/tcp.rs`) asks for both families at once, tells the race what happened, and does what
//! [`Race::poll`] says until it says the end. The race has no clock, no socket and no timer.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::net::Family;

/// How long the other family waits for the answer of the preferred one (RFC 8305 section 3).
pub const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Addresses tried per family. Those after it, in the order of the answer, are left out: nobody waits for a ninth.
pub const ADDRESSES_PER_FAMILY: usize = 8;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The lookup of a family is over; no address where it failed or the name has none.
    Resolved(Family, Vec<IpAddr>),
    /// An attempt failed.
    Failed(IpAddr),
    /// An attempt succeeded.
    Connected(IpAddr),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Begin an attempt to this address, then ask again.
    Start(IpAddr),
    /// Ask again at this time, or when something happened.
    WaitUntil(Instant),
    /// Ask again when something happened.
    Wait,
    /// This address won: give up the other attempts.
    Done(IpAddr),
    /// Both lookups are over, and every address has failed.
    GiveUp,
}

/// One race to one target.
#[derive(Debug)]
pub struct Race {
    prefer: Family,
    attempt_delay: Duration,
    preferred: Queue,
    other: Queue,
    /// The family of the attempt begun last.
    last: Option<Family>,
    /// When the preferred family has had its head start over the other one's answer.
    head_start_until: Option<Instant>,
    /// When the attempt begun last has had its time for itself; `None` when it failed or there was none.
    next_attempt: Option<Instant>,
    running: Vec<IpAddr>,
    winner: Option<IpAddr>,
}

/// The addresses of one family.
#[derive(Debug, Default)]
struct Queue {
    resolved: bool,
    /// Each of its addresses failed lately.
    doubted: bool,
    waiting: VecDeque<IpAddr>,
}

impl Race {
    /// A race in which `prefer` goes first and each attempt has `attempt_delay` (RFC 8305: Connection Attempt Delay)
    /// for itself.
    pub fn new(prefer: Family, attempt_delay: Duration) -> Self {
        Self {
            prefer,
            attempt_delay,
            preferred: Queue::default(),
            other: Queue::default(),
            last: None,
            head_start_until: None,
            next_attempt: None,
            running: Vec::new(),
            winner: None,
        }
    }

    /// The attempts that have neither failed nor won.
    pub fn running(&self) -> &[IpAddr] {
        &self.running
    }

    /// Whether an address waits for its turn.
    pub fn is_waiting(&self) -> bool {
        !(self.preferred.waiting.is_empty() && self.other.waiting.is_empty())
    }

    /// Lets the other family go first, once, if it has an address that is not doubted too: every address that the family
    /// is about to have failed lately (section 4 allows for such a history).
    pub fn doubt(&mut self, family: Family) {
        self.queue(family).doubted = true;
    }

    /// Takes note of what happened.
    pub fn note(&mut self, input: Input, now: Instant) {
        match input {
            Input::Resolved(family, addresses) => self.resolved(family, addresses, now),
            Input::Failed(address) => {
                self.running.retain(|running| *running != address);
                // Section 5: a failure ends the wait, whichever attempt it was.
                self.next_attempt = None;
            }
            Input::Connected(address) => {
                self.winner.get_or_insert(address);
            }
        }
    }

    /// What to do now.
    pub fn poll(&mut self, now: Instant) -> Output {
        if let Some(winner) = self.winner {
            return Output::Done(winner);
        }
        if !self.is_waiting() {
            let over = self.preferred.resolved && self.other.resolved && self.running.is_empty();
            return if over { Output::GiveUp } else { Output::Wait };
        }
        let leader = if self.leader() == self.prefer {
            &self.preferred
        } else {
            &self.other
        };
        let not_before = if self.last.is_none() && !leader.resolved {
            self.head_start_until
        } else {
            self.next_attempt
        };
        if let Some(time) = not_before
            && now < time
        {
            return Output::WaitUntil(time);
        }
        let Some(address) = self.next_address() else {
            return Output::Wait;
        };
        self.last = Some(Family::of(address));
        self.next_attempt = now.checked_add(self.attempt_delay);
        self.running.push(address);
        Output::Start(address)
    }

    fn queue(&mut self, family: Family) -> &mut Queue {
        if family == self.prefer {
            &mut self.preferred
        } else {
            &mut self.other
        }
    }

    fn resolved(&mut self, family: Family, addresses: Vec<IpAddr>, now: Instant) {
        let queue = self.queue(family);
        if queue.resolved {
            return;
        }
        queue.resolved = true;
        for address in addresses {
            // An IPv4-mapped address in an AAAA record would leave by IPv4 under IPv6's name.
            let fits =
                Family::of(address.to_canonical()) == family && Family::of(address) == family;
            if fits
                && queue.waiting.len() < ADDRESSES_PER_FAMILY
                && !queue.waiting.contains(&address)
            {
                queue.waiting.push_back(address);
            }
        }
        if !self.queue(family.other()).resolved {
            self.head_start_until = now.checked_add(RESOLUTION_DELAY);
        }
    }

    /// The family whose address is tried first: the preferred one, unless only that one is doubted.
    fn leader(&self) -> Family {
        let other_is_no_better =
            self.other.resolved && (self.other.doubted || self.other.waiting.is_empty());
        if self.last.is_none() && self.preferred.doubted && !other_is_no_better {
            self.prefer.other()
        } else {
            self.prefer
        }
    }

    /// The families take turns, the preferred one first (section 4, First Address Family Count 1); an answer that
    /// came late takes its turn as soon as it is there.
    fn next_address(&mut self) -> Option<IpAddr> {
        let first = match self.last {
            None => self.leader(),
            Some(last) => last.other(),
        };
        let address = self.queue(first).waiting.pop_front();
        address.or_else(|| self.queue(first.other()).waiting.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use Family::{V4, V6};
    use Output::{Done, GiveUp, Start, Wait, WaitUntil};

    use super::*;

    /// A race and its virtual clock.
    struct Track {
        race: Race,
        start: Instant,
        now: Instant,
    }

    impl Track {
        fn new(prefer: Family) -> Self {
            #[expect(
                clippy::disallowed_methods,
                reason = "an Instant has no other beginning"
            )]
            let start = Instant::now();
            Self {
                race: Race::new(prefer, Duration::from_millis(250)),
                start,
                now: start,
            }
        }

        /// At this many milliseconds from the start, this happened; what does the race say?
        fn at(&mut self, millis: u64, input: Input) -> Output {
            self.now = self.start + Duration::from_millis(millis);
            self.race.note(input, self.now);
            self.race.poll(self.now)
        }

        /// At this many milliseconds from the start, only time has passed.
        fn tick(&mut self, millis: u64) -> Output {
            self.now = self.start + Duration::from_millis(millis);
            self.race.poll(self.now)
        }

        fn until(&self, millis: u64) -> Output {
            WaitUntil(self.start + Duration::from_millis(millis))
        }
    }

    fn six(last: u16) -> IpAddr {
        format!("2001:db8::{last:x}").parse().unwrap()
    }

    fn four(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn answer(addresses: &[IpAddr]) -> Input {
        Input::Resolved(Family::of(addresses[0]), addresses.to_vec())
    }

    fn nothing(family: Family) -> Input {
        Input::Resolved(family, Vec::new())
    }

    #[test]
    fn ipv6_starts_before_the_other_answer_is_there_and_wins() {
        let mut track = Track::new(V6);
        assert_eq!(track.tick(0), Wait);
        assert_eq!(track.at(5, answer(&[six(1)])), Start(six(1)));
        assert_eq!(track.tick(5), Wait);
        assert_eq!(track.at(10, answer(&[four(1)])), track.until(255));
        assert_eq!(track.at(30, Input::Connected(six(1))), Done(six(1)));
        assert_eq!(track.tick(400), Done(six(1)));
    }

    #[test]
    fn behind_a_black_hole_the_other_family_starts_after_the_attempt_delay() {
        let mut track = Track::new(V6);
        track.race.note(answer(&[four(1)]), track.now);
        assert_eq!(track.at(0, answer(&[six(1)])), Start(six(1)));
        assert_eq!(track.tick(249), track.until(250));
        assert_eq!(track.tick(250), Start(four(1)));
        assert_eq!(track.tick(250), Wait);
        assert_eq!(track.race.running(), [six(1), four(1)]);
        assert_eq!(track.at(260, Input::Connected(four(1))), Done(four(1)));
    }

    #[test]
    fn a_refused_attempt_lets_the_next_start_at_once() {
        let mut track = Track::new(V6);
        track.race.note(answer(&[four(1)]), track.now);
        assert_eq!(track.at(0, answer(&[six(1)])), Start(six(1)));
        assert_eq!(track.at(3, Input::Failed(six(1))), Start(four(1)));
        assert_eq!(track.race.running(), [four(1)]);
    }

    #[test]
    fn a_slow_aaaa_delays_ipv4_by_the_resolution_delay_and_joins_when_it_comes() {
        let mut track = Track::new(V6);
        assert_eq!(track.at(10, answer(&[four(1), four(2)])), track.until(60));
        assert_eq!(track.tick(60), Start(four(1)));
        assert_eq!(track.at(100, answer(&[six(1)])), track.until(310));
        assert_eq!(track.tick(310), Start(six(1)));
        assert_eq!(track.tick(560), Start(four(2)));
        assert_eq!(track.at(570, Input::Connected(six(1))), Done(six(1)));
    }

    #[test]
    fn an_aaaa_within_the_resolution_delay_goes_first() {
        let mut track = Track::new(V6);
        assert_eq!(track.at(10, answer(&[four(1)])), track.until(60));
        assert_eq!(track.at(59, answer(&[six(1)])), Start(six(1)));
        assert_eq!(track.tick(60), track.until(309));
    }

    #[test]
    fn an_empty_aaaa_ends_the_head_start() {
        let mut track = Track::new(V6);
        assert_eq!(track.at(10, answer(&[four(1)])), track.until(60));
        assert_eq!(track.at(20, nothing(V6)), Start(four(1)));
    }

    #[test]
    fn a_slow_a_joins_at_its_turn() {
        let mut track = Track::new(V6);
        let all = [six(1), six(2), six(3)];
        assert_eq!(track.at(0, answer(&all)), Start(six(1)));
        assert_eq!(track.tick(250), Start(six(2)));
        assert_eq!(track.at(300, answer(&[four(1)])), track.until(500));
        assert_eq!(track.tick(500), Start(four(1)));
        assert_eq!(track.tick(750), Start(six(3)));
    }

    #[test]
    fn one_family_alone_is_tried_to_the_end() {
        for (family, other, first, second) in [(V6, V4, six(1), six(2)), (V4, V6, four(1), four(2))]
        {
            let mut track = Track::new(V6);
            track.race.note(nothing(other), track.now);
            let begun = track.at(0, answer(&[first, second]));
            assert_eq!((begun, family), (Start(first), Family::of(first)));
            assert_eq!(track.tick(250), Start(second));
            assert_eq!(track.at(300, Input::Failed(first)), Wait);
            assert_eq!(track.at(310, Input::Failed(second)), GiveUp);
        }
    }

    #[test]
    fn a_name_without_address_is_given_up_when_both_answers_are_there() {
        let mut track = Track::new(V6);
        assert_eq!(track.at(1, nothing(V4)), Wait);
        assert_eq!(track.at(2, nothing(V6)), GiveUp);
    }

    #[test]
    fn the_race_is_not_given_up_while_an_answer_is_missing() {
        let mut track = Track::new(V6);
        assert_eq!(track.at(0, answer(&[six(1)])), Start(six(1)));
        assert_eq!(track.at(5, Input::Failed(six(1))), Wait);
        assert_eq!(track.at(900, answer(&[four(1)])), Start(four(1)));
        assert_eq!(track.at(901, Input::Failed(four(1))), GiveUp);
    }

    #[test]
    fn a_late_answer_starts_at_once_when_the_running_attempts_have_had_their_time() {
        let mut track = Track::new(V6);
        assert_eq!(track.at(0, answer(&[six(1)])), Start(six(1)));
        assert_eq!(track.at(800, answer(&[four(1)])), Start(four(1)));
    }

    #[test]
    fn preferring_ipv4_turns_everything_round() {
        let mut track = Track::new(V4);
        assert_eq!(track.at(0, answer(&[six(1), six(2)])), track.until(50));
        assert_eq!(track.at(20, answer(&[four(1), four(2)])), Start(four(1)));
        assert_eq!(track.tick(270), Start(six(1)));
        assert_eq!(track.at(280, Input::Failed(six(1))), Start(four(2)));
        assert_eq!(track.at(281, Input::Failed(four(2))), Start(six(2)));
    }

    #[test]
    fn a_doubted_family_lets_the_other_one_go_first() {
        let mut track = Track::new(V6);
        track.race.doubt(V6);
        assert_eq!(track.at(5, answer(&[six(1), six(2)])), track.until(55));
        assert_eq!(track.at(10, answer(&[four(1), four(2)])), Start(four(1)));
        assert_eq!(track.tick(260), Start(six(1)));
        assert_eq!(track.tick(510), Start(four(2)));
    }

    #[test]
    fn a_doubted_family_is_tried_when_the_other_one_is_late_empty_or_doubted_too() {
        let mut track = Track::new(V6);
        track.race.doubt(V6);
        assert_eq!(track.at(5, answer(&[six(1)])), track.until(55));
        assert_eq!(track.tick(55), Start(six(1)));

        let mut track = Track::new(V6);
        track.race.doubt(V6);
        assert_eq!(track.at(5, answer(&[six(1)])), track.until(55));
        assert_eq!(track.at(6, nothing(V4)), Start(six(1)));

        let mut track = Track::new(V6);
        track.race.doubt(V6);
        track.race.doubt(V4);
        assert_eq!(track.at(5, answer(&[four(1)])), track.until(55));
        assert_eq!(track.at(6, answer(&[six(1)])), Start(six(1)));
    }

    #[test]
    fn a_literal_address_is_a_race_of_one() {
        let mut track = Track::new(V6);
        track.race.note(nothing(V6), track.now);
        assert_eq!(track.at(0, answer(&[four(1)])), Start(four(1)));
        assert_eq!(track.at(1, Input::Failed(four(1))), GiveUp);
    }

    #[test]
    fn no_address_is_tried_twice_or_under_the_wrong_family_and_the_list_is_bounded() {
        let mut track = Track::new(V6);
        let mapped: IpAddr = "::ffff:192.0.2.9".parse().unwrap();
        let mut list = vec![six(1), mapped, six(1), four(1)];
        list.extend((2..100).map(six));
        track.race.note(nothing(V4), track.now);
        track.race.note(Input::Resolved(V6, list), track.now);
        track.race.note(answer(&[six(77)]), track.now);
        let mut tried = Vec::new();
        for round in 0..100 {
            if let Start(address) = track.tick(round * 250) {
                tried.push(address);
            }
        }
        assert_eq!(tried, (1..=8).map(six).collect::<Vec<_>>());
    }
}
