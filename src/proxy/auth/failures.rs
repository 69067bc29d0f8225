//! PURE. Wrong passwords of each client: a bucket of tries each, which fills up again slowly. Used by `auth`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Tries that a client has at first.
pub(super) const BURST: u32 = 10;

/// How long it waits for each further one.
const EACH: Duration = Duration::from_secs(10);

/// Clients held at most. Those who have all their tries again are forgotten; all beyond share one bucket.
const MOST: usize = 4096;

/// The buckets. Each is one moment, that at which it will be full again (ITU-T I.371): the time to it is what was taken.
#[derive(Debug, Default)]
pub(super) struct Failures {
    full_at: HashMap<IpAddr, Instant>,
    /// Of those who found no place.
    shared: Option<Instant>,
}

impl Failures {
    /// Whether a client has no try left.
    pub(super) fn are_too_many(&self, client: IpAddr, now: Instant) -> bool {
        let client = device(client);
        let full_at = match self.full_at.get(&client) {
            Some(full_at) => Some(*full_at),
            None if self.full_at.len() >= MOST => self.shared,
            None => None,
        };
        next(full_at, now).is_none()
    }

    /// Takes a try; `false` where there is none left.
    pub(super) fn note(&mut self, client: IpAddr, now: Instant) -> bool {
        let client = device(client);
        if !self.full_at.contains_key(&client) && self.full_at.len() >= MOST {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        if !self.full_at.contains_key(&client) && self.full_at.len() >= MOST {
            let taken = next(self.shared, now);
            self.shared = taken.or(self.shared);
            return taken.is_some();
        }
        match next(self.full_at.get(&client).copied(), now) {
            Some(full_at) => {
                self.full_at.insert(client, full_at);
                true
            }
            None => false,
        }
    }

    /// Gives back the try of one who was right.
    pub(super) fn take_back(&mut self, client: IpAddr) {
        if let Some(full_at) = self.full_at.get_mut(&device(client)) {
            *full_at = full_at.checked_sub(EACH).unwrap_or(*full_at);
        }
    }
}

/// When the bucket will be full after one more try; `None` where it is empty.
fn next(full_at: Option<Instant>, now: Instant) -> Option<Instant> {
    let next = full_at.map_or(now, |full_at| full_at.max(now)) + EACH;
    (next - now <= EACH * BURST).then_some(next)
}

/// An IPv4 address, or the /64 of an IPv6 one, which one device has to itself to choose from.
fn device(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
    }
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

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_client_has_its_tries_and_gets_one_back_after_a_while() {
        let mut failures = Failures::default();
        let now = start();
        for _ in 0..BURST {
            assert!(failures.note(v4(1), now));
        }
        assert!(failures.are_too_many(v4(1), now));
        assert!(!failures.note(v4(1), now));
        assert!(!failures.are_too_many(v4(2), now));
        let later = now + EACH;
        assert!(failures.note(v4(1), later));
        assert!(!failures.note(v4(1), later));
        failures.take_back(v4(1));
        assert!(failures.note(v4(1), later));
    }

    #[test]
    fn the_addresses_of_one_device_share_its_tries() {
        let mut failures = Failures::default();
        let now = start();
        for number in 0..BURST {
            let address = format!("2001:db8::{number}").parse().unwrap();
            assert!(failures.note(address, now));
        }
        assert!(!failures.note("2001:db8::ffff".parse().unwrap(), now));
        assert!(failures.note("2001:db8:0:1::1".parse().unwrap(), now));
        for _ in 0..BURST {
            failures.note("::ffff:192.0.2.1".parse().unwrap(), now);
        }
        assert!(failures.are_too_many("192.0.2.1".parse().unwrap(), now));
    }

    #[test]
    fn the_table_is_bounded_and_those_beyond_share_a_bucket() {
        let mut failures = Failures::default();
        let now = start();
        let most = u32::try_from(MOST).unwrap();
        for number in 0..most {
            assert!(failures.note(v4(number), now));
        }
        for number in 0..BURST {
            assert!(failures.note(v4(most + number), now));
        }
        assert!(!failures.note(v4(most * 2), now));
        assert!(failures.are_too_many(v4(most * 2), now));
        assert_eq!(failures.full_at.len(), MOST);
        assert!(failures.note(v4(0), now));
        assert!(failures.note(v4(most * 2), now + EACH * BURST));
        assert!(failures.full_at.len() <= 2);
    }
}
