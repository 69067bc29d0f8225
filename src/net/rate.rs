//! PURE. How many queries, or connections, a second one client may make: a token bucket each.
//!
//! Asked by `dns`, where `dns.rate-limit` is set, and by `proxy`, where `proxy.rate-limit` is. A bucket is one moment, that at which it will be full again (the
//! theoretical arrival time of the generic cell rate algorithm, ITU-T I.371): the time to it is what was taken out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Buckets at most. Those that are full again are forgotten; where that is not enough, all further clients share one.
const MOST: usize = 4096;
/// How long the buckets are not looked through again after that.
const PAUSE: Duration = Duration::from_millis(100);

/// One household device: an IPv4 address, or the /64 of an IPv6 address, which one device has to itself to choose from.
pub fn device(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
    }
}

/// The buckets.
#[derive(Debug, Default)]
pub struct Buckets {
    full_at: HashMap<IpAddr, Instant>,
    /// Of those who found no place.
    shared: Option<Instant>,
    looked_through: Option<Instant>,
}

impl Buckets {
    /// Takes one out of the bucket of a client, which holds `burst` and is filled with `rate` a second; `false` where it
    /// is empty. A rate of 0 is no limit.
    pub fn take(&mut self, client: IpAddr, rate: u32, burst: u32, now: Instant) -> bool {
        let Some(each) = Duration::from_secs(1).checked_div(rate) else {
            return true;
        };
        let whole = Duration::from_secs(1) * burst / rate;
        let client = device(client);
        if !self.full_at.contains_key(&client) && !self.has_room(now) {
            let full_at = self.shared.unwrap_or(now);
            let next = taken(full_at, each, whole, now);
            self.shared = next.or(self.shared);
            return next.is_some();
        }
        let full_at = self.full_at.entry(client).or_insert(now);
        match taken(*full_at, each, whole, now) {
            Some(next) => {
                *full_at = next;
                true
            }
            None => false,
        }
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.full_at.len() < MOST {
            return true;
        }
        let lately = |then: Instant| now.saturating_duration_since(then) < PAUSE;
        if !self.looked_through.is_some_and(lately) {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.looked_through = Some(now);
        }
        self.full_at.len() < MOST
    }
}

/// When a bucket will be full again after one more is taken; `None` where there is none left.
fn taken(full_at: Instant, each: Duration, whole: Duration, now: Instant) -> Option<Instant> {
    let next = full_at.max(now) + each;
    (next.saturating_duration_since(now) <= whole).then_some(next)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn start() -> Instant {
        tokio_start()
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn tokio_start() -> Instant {
        Instant::now()
    }

    fn client(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))
    }

    fn granted(buckets: &mut Buckets, client: IpAddr, rate: u32, now: Instant) -> usize {
        (0..1000)
            .take_while(|_| buckets.take(client, rate, rate, now))
            .count()
    }

    #[test]
    fn a_client_gets_a_seconds_worth_at_once_and_then_as_many_as_the_time_brings() {
        let (mut buckets, now) = (Buckets::default(), start());
        let ms = Duration::from_millis;
        assert_eq!(granted(&mut buckets, client(1), 10, now), 10);
        assert_eq!(granted(&mut buckets, client(1), 10, now + ms(99)), 0);
        assert_eq!(granted(&mut buckets, client(1), 10, now + ms(100)), 1);
        assert_eq!(granted(&mut buckets, client(1), 10, now + ms(600)), 5);
        assert_eq!(granted(&mut buckets, client(1), 10, now + ms(9000)), 10);
        assert_eq!(granted(&mut buckets, client(2), 10, now), 10, "another");
        assert_eq!(granted(&mut buckets, client(3), 1, now), 1);
        assert_eq!(granted(&mut buckets, client(4), 7, now), 7);
        assert_eq!(granted(&mut buckets, client(5), 0, now), 1000, "no limit");
    }

    #[test]
    fn a_burst_is_granted_at_once_and_then_the_rate() {
        let (mut buckets, now) = (Buckets::default(), start());
        let mut granted = |after| {
            let now = now + Duration::from_millis(after);
            (0..1000)
                .take_while(|_| buckets.take(client(1), 10, 30, now))
                .count()
        };
        assert_eq!(granted(0), 30);
        assert_eq!(granted(99), 0);
        assert_eq!(granted(500), 5);
        assert_eq!(granted(60_000), 30);
        assert!(buckets.take(client(2), 10, 1, now), "one is always held");
        assert!(!buckets.take(client(2), 10, 1, now));
    }

    #[test]
    fn the_addresses_of_a_64_are_one_client() {
        let (mut buckets, now) = (Buckets::default(), start());
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(buckets.take(parse("2001:db8::1"), 1, 1, now));
        assert!(!buckets.take(parse("2001:db8::ffff:1"), 1, 1, now));
        assert!(buckets.take(parse("2001:db8:0:1::1"), 1, 1, now));
        assert!(buckets.take(parse("::ffff:192.168.1.5"), 1, 1, now));
        assert!(!buckets.take(parse("192.168.1.5"), 1, 1, now));
    }

    #[test]
    fn the_table_is_bounded_and_who_finds_no_place_shares_one_bucket() {
        let (mut buckets, now) = (Buckets::default(), start());
        for number in 0..5000 {
            buckets.take(client(number), 2, 2, now);
        }
        assert_eq!(buckets.full_at.len(), MOST);
        assert!(
            !buckets.take(client(6000), 2, 2, now),
            "the shared one is empty"
        );
        assert!(buckets.take(client(7), 2, 2, now), "who has one keeps it");
        let later = now + Duration::from_secs(2);
        assert_eq!(granted(&mut buckets, client(6000), 2, later), 2);
        assert_eq!(buckets.full_at.len(), 1, "full buckets are forgotten");
    }
}
