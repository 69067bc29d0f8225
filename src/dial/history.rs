//! PURE. Which destinations failed lately, so that a broken one costs its delay once and not with every session.
//!
//! RFC 8305 section 4 lets a client use what it knows of earlier attempts. Known is a network, /48 of IPv6 and /24 of
//! IPv4, for TCP and UDP apart: a network that swallows QUIC may well carry the rest.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::net::Family;

/// How long a failure is remembered. After that the destination is tried in its turn again.
pub const REMEMBERED: Duration = Duration::from_secs(5 * 60);

/// How many networks are remembered; the oldest make room for new ones.
pub const NETWORKS: usize = 4096;

/// What a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Over {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// The networks that failed lately.
#[derive(Debug, Default)]
pub struct History {
    failed: HashMap<(Over, IpNet), Instant>,
    /// In the order of the failures; an entry whose time is not the one in `failed` is void.
    order: VecDeque<((Over, IpNet), Instant)>,
}

/// The network that stands for an address.
pub(super) fn network(address: IpAddr) -> IpNet {
    let length = match Family::of(address) {
        Family::V4 => 24,
        Family::V6 => 48,
    };
    // Both lengths fit their family.
    IpNet::new(address, length).map_or_else(|_| IpNet::from(address), |network| network.trunc())
}

impl History {
    /// An attempt to the address failed, and one to another address of the target did not.
    pub fn failed(&mut self, over: Over, address: IpAddr, now: Instant) {
        let key = (over, network(address));
        if self.failed.insert(key, now) == Some(now) {
            return;
        }
        self.order.push_back((key, now));
        while self.order.len() > NETWORKS {
            let Some((oldest, noted)) = self.order.pop_front() else {
                break;
            };
            if self.failed.get(&oldest) == Some(&noted) {
                self.failed.remove(&oldest);
            }
        }
    }

    /// The address was reached.
    pub fn worked(&mut self, over: Over, address: IpAddr) {
        if !self.failed.is_empty() {
            self.failed.remove(&(over, network(address)));
        }
    }

    /// Whether its network failed lately.
    pub fn doubts(&self, over: Over, address: IpAddr, now: Instant) -> bool {
        !self.failed.is_empty()
            && self
                .failed
                .get(&(over, network(address)))
                .is_some_and(|noted| now.saturating_duration_since(*noted) < REMEMBERED)
    }

    /// Forgets all about a family: what failed while the whole family was ill says nothing about the destinations.
    pub fn forget(&mut self, family: Family) {
        self.failed
            .retain(|(_, network), _| Family::of(network.addr()) != family);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn six(site: u16, host: u16) -> IpAddr {
        format!("2001:db8:{site:x}::{host:x}").parse().unwrap()
    }

    fn start() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant has no other beginning"
        )]
        Instant::now()
    }

    #[test]
    fn a_failure_stands_for_its_network_and_protocol_until_minutes_have_passed() {
        let (mut history, now) = (History::default(), start());
        history.failed(Over::Tcp, six(1, 1), now);
        history.failed(Over::Udp, "203.0.113.1".parse().unwrap(), now);
        for (over, address, doubted) in [
            (Over::Tcp, "2001:db8:1:ffff::9", true),
            (Over::Udp, "2001:db8:1::1", false),
            (Over::Tcp, "2001:db8:2::1", false),
            (Over::Udp, "203.0.113.200", true),
            (Over::Udp, "203.0.112.1", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(history.doubts(over, address, now), doubted, "{address}");
        }
        let soon = now + REMEMBERED - Duration::from_secs(1);
        assert!(history.doubts(Over::Tcp, six(1, 1), soon));
        assert!(!history.doubts(Over::Tcp, six(1, 1), now + REMEMBERED));
    }

    #[test]
    fn a_success_or_the_recovery_of_the_family_ends_the_doubt() {
        let (mut history, now) = (History::default(), start());
        let four = "203.0.113.1".parse().unwrap();
        history.failed(Over::Tcp, six(1, 1), now);
        history.worked(Over::Tcp, six(1, 2));
        assert!(!history.doubts(Over::Tcp, six(1, 1), now));
        history.failed(Over::Tcp, six(1, 1), now);
        history.failed(Over::Tcp, four, now);
        history.forget(Family::V6);
        assert!(!history.doubts(Over::Tcp, six(1, 1), now));
        assert!(history.doubts(Over::Tcp, four, now));
    }

    #[test]
    fn the_oldest_make_room_and_repeated_failures_do_not_grow_the_list() {
        let (mut history, mut now) = (History::default(), start());
        let first = IpAddr::from([1, 0, 0, 1]);
        history.failed(Over::Tcp, first, now);
        let last = |number: usize| {
            let [_, high, low, _] = u32::try_from(number << 8).unwrap().to_be_bytes();
            IpAddr::from([2, high, low, 1])
        };
        for number in 0..NETWORKS {
            now += Duration::from_millis(1);
            history.failed(Over::Tcp, last(number), now);
        }
        assert!(!history.doubts(Over::Tcp, first, now));
        assert!(history.doubts(Over::Tcp, last(0), now));
        for _ in 0..3 * NETWORKS {
            now += Duration::from_millis(1);
            history.failed(Over::Tcp, first, now);
        }
        assert!(history.doubts(Over::Tcp, first, now));
        assert!(history.order.len() <= NETWORKS && history.failed.len() <= NETWORKS);
    }
}
