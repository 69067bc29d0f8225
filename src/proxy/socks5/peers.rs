//! PURE. Where the datagrams of one association go, and whom it hears: the addresses that were sent to, and the names,
//! each resolved once and raced until its first reply. Used by `udp`.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::net::{Family, Target};

/// Addresses remembered at most; the one that was sent to longest ago gives way, and is heard no more.
const ADDRESSES: usize = 512;

/// Names remembered at most, likewise.
const NAMES: usize = 256;

/// Names at most that are being resolved, or have addresses left to try.
const UNSETTLED: usize = 16;

/// What is remembered of a name's datagrams for its next address: so many, and so many bytes.
const FLIGHT: (usize, usize) = (8, 8 * 1024);

/// Addresses of a name that are tried, half of them of each family where it has both.
const CANDIDATES: usize = 4;

/// How long an address may take to reply before the next one is tried beside it (RFC 8305 section 5).
const DELAY: Duration = Duration::from_millis(250);

/// How long a guard's verdict holds: own addresses come and go.
const VERDICT: Duration = Duration::from_secs(2);

/// How long a name may stay without reply before it is resolved and raced again.
const UNANSWERED: Duration = Duration::from_secs(10);

/// The peers of one association.
#[derive(Debug, Default)]
pub(super) struct Peers {
    addresses: HashMap<IpAddr, Peer>,
    names: HashMap<Target, Known>,
    /// The names that are asked for, or have addresses left to try.
    unsettled: VecDeque<Target>,
    uses: u64,
}

#[derive(Debug)]
struct Peer {
    port: u16,
    open: bool,
    judged: Instant,
    sent_to: bool,
    used: u64,
}

#[derive(Debug)]
struct Known {
    course: Course,
    /// When the first datagram was sent that has had no reply.
    since: Option<Instant>,
    used: u64,
}

#[derive(Debug)]
enum Course {
    Asking(Flight),
    Racing {
        candidates: Vec<SocketAddr>,
        opened: usize,
        next_at: Instant,
        flight: Flight,
    },
    Settled(SocketAddr),
}

#[derive(Debug, Default)]
struct Flight {
    datagrams: Vec<Box<[u8]>>,
    bytes: usize,
}

/// What becomes of a datagram for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The name is to be resolved; the datagram waits for that.
    Ask,
    /// It waits for the name.
    Wait,
    /// It goes to these addresses.
    To(Vec<SocketAddr>),
    /// It is dropped, because too much waits already.
    Full,
}

impl Flight {
    fn keep(&mut self, payload: &[u8]) -> bool {
        let bytes = self.bytes + payload.len();
        if self.datagrams.len() == FLIGHT.0 || bytes > FLIGHT.1 {
            return false;
        }
        self.bytes = bytes;
        self.datagrams.push(payload.into());
        true
    }
}

impl Peers {
    /// What the guard said of the address a moment ago.
    pub(super) fn verdict(&mut self, to: SocketAddr, now: Instant) -> Option<bool> {
        self.uses += 1;
        let peer = self.addresses.get_mut(&to.ip())?;
        peer.used = self.uses;
        let fresh = peer.port == to.port() && now.saturating_duration_since(peer.judged) < VERDICT;
        fresh.then_some(peer.open)
    }

    /// Remembers what the guard said.
    pub(super) fn judged(&mut self, to: SocketAddr, open: bool, now: Instant) {
        self.uses += 1;
        if !self.addresses.contains_key(&to.ip()) && self.addresses.len() >= ADDRESSES {
            let oldest = self.addresses.iter().min_by_key(|(_, peer)| peer.used);
            let oldest = oldest.map(|(address, _)| *address);
            oldest.and_then(|address| self.addresses.remove(&address));
        }
        let used = self.uses;
        let peer = self.addresses.entry(to.ip()).or_insert_with(|| Peer {
            port: to.port(),
            open,
            judged: now,
            sent_to: false,
            used,
        });
        (peer.port, peer.open, peer.judged) = (to.port(), open, now);
    }

    /// Notes that something was sent there: from now on the address is heard.
    pub(super) fn sent(&mut self, to: SocketAddr) {
        if let Some(peer) = self.addresses.get_mut(&to.ip()) {
            peer.sent_to = true;
        }
    }

    /// Whether this address was sent to.
    pub(super) fn hears(&self, from: SocketAddr) -> bool {
        let peer = self.addresses.get(&from.ip());
        peer.is_some_and(|peer| peer.sent_to)
    }

    /// Addresses that were sent to and are remembered.
    pub(super) fn count(&self) -> usize {
        self.addresses.values().filter(|peer| peer.sent_to).count()
    }

    /// Where a datagram for a name goes.
    pub(super) fn send(&mut self, target: &Target, payload: &[u8], now: Instant) -> Way {
        self.uses += 1;
        if let Some(known) = self.names.get_mut(target) {
            known.used = self.uses;
            let since = *known.since.get_or_insert(now);
            let is_over = match &mut known.course {
                Course::Asking(flight) => {
                    return if flight.keep(payload) {
                        Way::Wait
                    } else {
                        Way::Full
                    };
                }
                Course::Racing {
                    candidates,
                    opened,
                    flight,
                    ..
                } => {
                    let is_over = *opened == candidates.len();
                    if !is_over {
                        flight.keep(payload);
                    }
                    is_over
                }
                Course::Settled(_) => true,
            };
            if !(is_over && now.saturating_duration_since(since) >= UNANSWERED) {
                return Way::To(known.course.open().to_vec());
            }
            self.names.remove(target);
        }
        let mut flight = Flight::default();
        if self.unsettled.len() >= UNSETTLED || !flight.keep(payload) {
            return Way::Full;
        }
        if self.names.len() >= NAMES {
            let oldest = self.names.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(target, _)| target.clone()) {
                self.forget(&oldest);
            }
        }
        let known = Known {
            course: Course::Asking(flight),
            since: Some(now),
            used: self.uses,
        };
        self.names.insert(target.clone(), known);
        self.unsettled.push_back(target.clone());
        Way::Ask
    }

    /// The addresses of a name were found, the first to be tried at the front.
    pub(super) fn resolved(&mut self, target: &Target, addresses: &[SocketAddr], now: Instant) {
        let Some(known) = self.names.get_mut(target) else {
            return;
        };
        if let Course::Asking(flight) = &mut known.course {
            known.course = Course::Racing {
                candidates: chosen(addresses),
                opened: 0,
                next_at: now,
                flight: std::mem::take(flight),
            };
        }
    }

    /// Forgets a name.
    pub(super) fn forget(&mut self, target: &Target) {
        self.names.remove(target);
        self.unsettled.retain(|other| other != target);
    }

    /// An address whose turn it is, and what it is to be sent.
    pub(super) fn due(&mut self, now: Instant) -> Option<(SocketAddr, Vec<Box<[u8]>>)> {
        for place in 0..self.unsettled.len() {
            let known = self
                .unsettled
                .get(place)
                .and_then(|t| self.names.get_mut(t));
            let Some(known) = known else { continue };
            if let Course::Racing {
                candidates,
                opened,
                next_at,
                flight,
            } = &mut known.course
                && *next_at <= now
                && let Some(candidate) = candidates.get(*opened).copied()
            {
                *opened += 1;
                *next_at = now + DELAY;
                let last = *opened == candidates.len();
                let datagrams = if last {
                    std::mem::take(flight).datagrams
                } else {
                    flight.datagrams.clone()
                };
                if last {
                    self.unsettled.remove(place);
                }
                return Some((candidate, datagrams));
            }
        }
        None
    }

    /// An address could not be sent to: those that tried it last try the next one now.
    pub(super) fn lost(&mut self, address: SocketAddr, now: Instant) {
        for target in &self.unsettled {
            if let Some(known) = self.names.get_mut(target)
                && known.course.open().last() == Some(&address)
                && let Course::Racing { next_at, .. } = &mut known.course
            {
                *next_at = now;
            }
        }
    }

    /// When [`Peers::due`] has something again.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let known = self.unsettled.iter().filter_map(|t| self.names.get(t));
        let times = known.filter_map(|known| match &known.course {
            Course::Racing { next_at, .. } => Some(*next_at),
            Course::Asking(_) | Course::Settled(_) => None,
        });
        times.min()
    }

    /// Something came from there: the names that were tried there have found their address.
    pub(super) fn replied(&mut self, from: SocketAddr) {
        for (target, known) in &mut self.names {
            if !known.course.open().contains(&from) {
                continue;
            }
            known.since = None;
            if matches!(known.course, Course::Racing { .. }) {
                known.course = Course::Settled(from);
                self.unsettled.retain(|other| other != target);
            }
        }
    }
}

impl Course {
    /// The addresses that get what the client sends.
    fn open(&self) -> &[SocketAddr] {
        match self {
            Self::Asking(_) => &[],
            Self::Racing {
                candidates, opened, ..
            } => candidates.get(..*opened).unwrap_or_default(),
            Self::Settled(address) => std::slice::from_ref(address),
        }
    }
}

/// The first addresses, with room for both families.
fn chosen(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut chosen: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        let family = Family::of(address.ip());
        let same = chosen
            .iter()
            .filter(|other| Family::of(other.ip()) == family);
        if same.count() < CANDIDATES / 2 {
            chosen.push(*address);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant has no other beginning"
        )]
        Instant::now()
    }

    fn name(text: &str) -> Target {
        Target::parse(text, None).unwrap()
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A name with an address of each family, and its first datagram, which waits.
    fn asked(peers: &mut Peers, now: Instant) -> (Target, SocketAddr, SocketAddr) {
        let target = name("a.example:53");
        let (v6, v4) = (at("[2001:db8::1]:53"), at("192.0.2.1:53"));
        assert_eq!(peers.send(&target, b"one", now), Way::Ask);
        assert_eq!(peers.send(&target, b"two", now), Way::Wait);
        assert_eq!(peers.due(now), None);
        peers.resolved(&target, &[v6, v4], now);
        (target, v6, v4)
    }

    #[test]
    fn the_first_reply_decides_where_a_name_is() {
        let mut peers = Peers::default();
        let now = start();
        let (target, v6, v4) = asked(&mut peers, now);
        let flight = vec![Box::from(&b"one"[..]), Box::from(&b"two"[..])];
        assert_eq!(peers.due(now), Some((v6, flight.clone())));
        assert_eq!(peers.due(now), None);
        assert_eq!(peers.next_at(), Some(now + DELAY));
        let later = now + DELAY;
        assert_eq!(peers.due(later), Some((v4, flight)));
        assert_eq!(peers.next_at(), None);
        assert_eq!(peers.send(&target, b"three", later), Way::To(vec![v6, v4]));
        peers.replied(v4);
        assert_eq!(peers.send(&target, b"four", later), Way::To(vec![v4]));
        peers.replied(v6);
        assert_eq!(peers.send(&target, b"five", later), Way::To(vec![v4]));
    }

    #[test]
    fn an_address_that_cannot_be_sent_to_is_followed_by_the_next_at_once() {
        let mut peers = Peers::default();
        let now = start();
        let (_, v6, v4) = asked(&mut peers, now);
        assert_eq!(peers.due(now).unwrap().0, v6);
        peers.lost(v6, now);
        assert_eq!(peers.due(now).unwrap().0, v4);
    }

    #[test]
    fn a_name_without_replies_is_resolved_again_after_a_while() {
        let mut peers = Peers::default();
        let now = start();
        let (target, v6, _) = asked(&mut peers, now);
        peers.due(now).unwrap();
        peers.replied(v6);
        assert_eq!(peers.send(&target, b"x", now), Way::To(vec![v6]));
        let soon = now + UNANSWERED - Duration::from_millis(1);
        assert_eq!(peers.send(&target, b"x", soon), Way::To(vec![v6]));
        let later = now + UNANSWERED;
        assert_eq!(peers.send(&target, b"x", later), Way::Ask);
        peers.forget(&target);
        assert_eq!(peers.send(&target, b"x", later), Way::Ask);
    }

    #[test]
    fn only_who_was_sent_to_is_heard_at_any_port() {
        let mut peers = Peers::default();
        let now = start();
        let (to, other) = (at("192.0.2.1:53"), at("192.0.2.2:53"));
        peers.judged(to, true, now);
        peers.judged(other, true, now);
        assert!(!peers.hears(to));
        peers.sent(to);
        assert!(peers.hears(to) && peers.hears(at("192.0.2.1:5353")));
        assert!(!peers.hears(other));
        assert_eq!(peers.count(), 1);
    }

    #[test]
    fn a_verdict_holds_for_a_moment_and_one_port() {
        let mut peers = Peers::default();
        let now = start();
        let to = at("192.0.2.1:53");
        assert_eq!(peers.verdict(to, now), None);
        for open in [true, false] {
            peers.judged(to, open, now);
            assert_eq!(peers.verdict(to, now), Some(open));
            assert_eq!(peers.verdict(at("192.0.2.1:54"), now), None);
            assert_eq!(peers.verdict(to, now + VERDICT), None);
        }
    }

    #[test]
    fn every_table_is_bounded_and_the_oldest_gives_way() {
        let mut peers = Peers::default();
        let now = start();
        let address = |number: u32| SocketAddr::new(IpAddr::V4((0x0a00_0000 + number).into()), 53);
        for number in 0..2_000 {
            peers.judged(address(number), true, now);
            peers.sent(address(number));
            peers.verdict(address(0), now);
        }
        assert_eq!(peers.addresses.len(), ADDRESSES);
        assert!(peers.hears(address(0)) && peers.hears(address(1_999)));
        assert!(!peers.hears(address(1)));
        for number in 0..1_000 {
            let target = name(&format!("n{number}.example:53"));
            assert_eq!(peers.send(&target, b"x", now), Way::Ask);
            peers.resolved(&target, &[address(1)], now);
            peers.due(now).unwrap();
        }
        assert_eq!(peers.names.len(), NAMES);
        assert!(peers.unsettled.is_empty());
        for number in 0..UNSETTLED {
            let target = name(&format!("m{number}.example:53"));
            assert_eq!(peers.send(&target, b"x", now), Way::Ask);
        }
        assert_eq!(peers.send(&name("more.example:53"), b"x", now), Way::Full);
        let target = name("m0.example:53");
        for _ in 1..FLIGHT.0 {
            assert_eq!(peers.send(&target, b"x", now), Way::Wait);
        }
        assert_eq!(peers.send(&target, b"x", now), Way::Full);
        let long = vec![0; FLIGHT.1];
        assert_eq!(peers.send(&name("m1.example:53"), &long, now), Way::Full);
    }

    #[test]
    fn both_families_of_a_name_are_tried() {
        let addresses = [
            "[2001:db8::1]:1",
            "[2001:db8::2]:1",
            "[2001:db8::3]:1",
            "192.0.2.1:1",
            "192.0.2.2:1",
            "192.0.2.3:1",
        ];
        let chosen = chosen(&addresses.map(at));
        assert_eq!(chosen, [0, 1, 3, 4].map(|place| at(addresses[place])));
    }
}
