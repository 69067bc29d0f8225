//! PURE. Whether a whole family is ill: one that has no route to the internet, or one over which different destinations
//! fail one after the other although the other family reaches them.
//!
//! While a family is silent the other one goes first, and one destination that clients lately wanted is tried every
//! [`PROBE_EVERY`]: any answer of it ends the illness. Nobody else on the internet is ever asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::history::network;
use crate::net::Family;

/// How many different destinations in a row must fail.
pub const FAILURES: usize = 3;

/// How often an ill family is tried.
pub const PROBE_EVERY: Duration = Duration::from_secs(2);

/// How many destinations that worked, and how many that failed, are known for probes.
const KNOWN: usize = 4;

/// How a family is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Well, as far as anybody knows.
    #[default]
    Well,
    /// The kernel knows no way to the internet.
    NoRoute,
    /// There is a route, but nothing comes back.
    Silent,
}

impl State {
    /// The word in logs and in `/ready`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::NoRoute => "no route",
            Self::Silent => "no answers",
        }
    }
}

/// A family that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The family.
    pub family: Family,
    /// How it is from now on.
    pub to: State,
}

/// Both families.
#[derive(Debug, Default)]
pub struct Health {
    v4: Patient,
    v6: Patient,
}

#[derive(Debug, Default)]
struct Patient {
    routeless: bool,
    silent: bool,
    /// The networks that failed since the last success, all different.
    failures: Vec<IpNet>,
    /// Destinations, the latest at the front.
    worked: VecDeque<SocketAddr>,
    failed: VecDeque<SocketAddr>,
    next_probe: Option<Instant>,
    probes: usize,
}

impl Patient {
    fn state(&self) -> State {
        if self.routeless {
            State::NoRoute
        } else if self.silent {
            State::Silent
        } else {
            State::Well
        }
    }

    fn recover(&mut self) {
        self.silent = false;
        self.failures.clear();
        self.next_probe = None;
    }
}

fn remember(list: &mut VecDeque<SocketAddr>, address: SocketAddr) {
    if list.front() == Some(&address) {
        return;
    }
    list.retain(|known| *known != address);
    list.push_front(address);
    list.truncate(KNOWN);
}

impl Health {
    fn patient(&self, family: Family) -> &Patient {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn patient_mut(&mut self, family: Family) -> &mut Patient {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// How a family is.
    pub fn state(&self, family: Family) -> State {
        self.patient(family).state()
    }

    /// The family that sessions try first. One without a route keeps its place: the kernel says at once that there is
    /// none, and a destination may have a route of its own.
    pub fn leader(&self, prefer: Family) -> Family {
        let silent = |family| self.state(family) == State::Silent;
        if silent(prefer) && !silent(prefer.other()) {
            prefer.other()
        } else {
            prefer
        }
    }

    /// The address was reached.
    pub fn worked(&mut self, address: SocketAddr) -> Option<Change> {
        self.changed(Family::of(address.ip()), |patient| {
            remember(&mut patient.worked, address);
            patient.recover();
        })
    }

    /// The address was not reached, and the other family reached the same target.
    pub fn failed(&mut self, address: SocketAddr, now: Instant) -> Option<Change> {
        self.changed(Family::of(address.ip()), |patient| {
            // Without a route this is nothing new.
            if patient.routeless {
                return;
            }
            remember(&mut patient.failed, address);
            let network = network(address.ip());
            if !patient.silent && !patient.failures.contains(&network) {
                patient.failures.push(network);
            }
            if !patient.silent && patient.failures.len() >= FAILURES {
                patient.silent = true;
                patient.next_probe = Some(now);
            }
        })
    }

    /// What the kernel says about a way to the internet. A new way ends every illness.
    pub fn routed(&mut self, family: Family, routed: bool) -> Option<Change> {
        self.changed(family, |patient| {
            if patient.routeless && routed {
                patient.recover();
            }
            patient.routeless = !routed;
        })
    }

    /// A destination of the family that the kernel may be asked about.
    pub fn known(&self, family: Family) -> Option<SocketAddr> {
        let patient = self.patient(family);
        let worked = patient.worked.front();
        worked.or_else(|| patient.failed.front()).copied()
    }

    /// The address to try now, if one is due: those that worked before the illness and those that failed take turns.
    pub fn due(&mut self, family: Family, now: Instant) -> Option<SocketAddr> {
        let patient = self.patient_mut(family);
        if patient.state() != State::Silent || patient.next_probe.is_some_and(|next| now < next) {
            return None;
        }
        patient.next_probe = now.checked_add(PROBE_EVERY);
        let all = patient.worked.len().max(patient.failed.len());
        let turn = patient.probes;
        patient.probes = patient.probes.wrapping_add(1);
        let place = (turn / 2).checked_rem(all)?;
        let (first, second) = if turn.is_multiple_of(2) {
            (&patient.worked, &patient.failed)
        } else {
            (&patient.failed, &patient.worked)
        };
        let pick = |list: &VecDeque<SocketAddr>| {
            let place = place.checked_rem(list.len())?;
            list.get(place).copied()
        };
        pick(first).or_else(|| pick(second))
    }

    fn changed(&mut self, family: Family, what: impl FnOnce(&mut Patient)) -> Option<Change> {
        let patient = self.patient_mut(family);
        let before = patient.state();
        what(patient);
        let to = patient.state();
        (to != before).then_some(Change { family, to })
    }
}

#[cfg(test)]
mod tests {
    use Family::{V4, V6};

    use super::*;

    fn six(site: u16) -> SocketAddr {
        format!("[2001:db8:{site:x}::1]:443").parse().unwrap()
    }

    fn start() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant has no other beginning"
        )]
        Instant::now()
    }

    fn silent() -> (Health, Instant) {
        let (mut health, now) = (Health::default(), start());
        health.worked(six(9));
        for site in 1..=3 {
            health.failed(six(site), now);
        }
        assert_eq!(health.state(V6), State::Silent);
        (health, now)
    }

    #[test]
    fn different_destinations_in_a_row_make_a_family_ill() {
        let (mut health, now) = (Health::default(), start());
        assert_eq!(health.failed(six(1), now), None);
        assert_eq!(health.failed(six(2), now), None);
        assert_eq!(health.leader(V6), V6);
        let change = health.failed(six(3), now);
        assert_eq!(
            change,
            Some(Change {
                family: V6,
                to: State::Silent
            })
        );
        assert_eq!(health.failed(six(4), now), None, "told once");
        assert_eq!((health.leader(V6), health.leader(V4)), (V4, V4));
    }

    #[test]
    fn one_broken_destination_or_a_success_between_does_not() {
        let (mut health, now) = (Health::default(), start());
        for _ in 0..10 {
            assert_eq!(health.failed(six(1), now), None);
        }
        health.failed(six(2), now);
        health.worked(six(5));
        health.failed(six(3), now);
        health.failed(six(4), now);
        assert_eq!(health.state(V6), State::Well);
    }

    #[test]
    fn ipv4_falls_ill_likewise_and_where_both_are_the_preferred_one_leads() {
        let (mut health, now) = silent();
        for last in 1..=3 {
            health.failed(format!("203.0.{last}.1:443").parse().unwrap(), now);
        }
        assert_eq!(health.state(V4), State::Silent);
        assert_eq!((health.leader(V6), health.leader(V4)), (V6, V4));
    }

    #[test]
    fn any_answer_ends_the_illness() {
        let (mut health, _) = silent();
        let change = health.worked(six(2));
        assert_eq!(
            change,
            Some(Change {
                family: V6,
                to: State::Well
            })
        );
        assert_eq!(health.leader(V6), V6);
    }

    #[test]
    fn a_probe_is_due_at_once_and_then_at_the_pace_over_known_destinations_by_turns() {
        let (mut health, now) = silent();
        assert_eq!(health.due(V6, now), Some(six(9)));
        assert_eq!(health.due(V6, now + PROBE_EVERY / 2), None);
        let mut tried = Vec::new();
        for turn in 1..=6 {
            tried.extend(health.due(V6, now + PROBE_EVERY * turn));
        }
        assert_eq!(tried, [six(3), six(9), six(2), six(9), six(1), six(9)]);
        assert_eq!(health.due(V4, now), None);
        health.worked(six(9));
        assert_eq!(health.due(V6, now + PROBE_EVERY * 9), None);
    }

    #[test]
    fn no_route_is_told_changes_no_order_and_its_return_ends_all() {
        let (mut health, now) = silent();
        let change = health.routed(V6, false);
        assert_eq!(
            change,
            Some(Change {
                family: V6,
                to: State::NoRoute
            })
        );
        assert_eq!(health.routed(V6, false), None);
        assert_eq!(health.leader(V6), V6);
        assert_eq!(health.due(V6, now + PROBE_EVERY), None, "there is no way");
        assert_eq!(health.failed(six(7), now), None);
        let change = health.routed(V6, true);
        assert_eq!(
            change,
            Some(Change {
                family: V6,
                to: State::Well
            })
        );
    }

    #[test]
    fn what_is_known_is_bounded() {
        let (mut health, now) = silent();
        for site in 0..100 {
            health.failed(six(site), now);
            health.worked(six(site));
        }
        assert!(health.v6.worked.len() <= KNOWN && health.v6.failed.len() <= KNOWN);
        assert_eq!(health.known(V6), Some(six(99)));
    }
}
