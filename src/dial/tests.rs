//! The shell with a scripted resolver and a scripted network on paused time, and once with real sockets on loopback.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::ResponseCode;
use nix::errno::Errno;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::config::{Families, Outlet, Via};
use crate::net::Acl;
use crate::telemetry::Side;

use super::tcp::Connect;
use super::*;

/// What a family's lookup comes to, and after how many milliseconds.
pub(super) type Scripted = (u64, Result<Vec<IpAddr>, ResolveError>);

#[derive(Clone)]
pub(super) struct Names {
    pub(super) aaaa: Scripted,
    pub(super) a: Scripted,
}

impl Addresses for Names {
    fn known(&self, _: &Name, family: Family) -> Option<Vec<IpAddr>> {
        match (family, &self.aaaa, &self.a) {
            (Family::V6, (0, Ok(known)), _) | (Family::V4, _, (0, Ok(known))) => {
                Some(known.clone())
            }
            _ => None,
        }
    }

    async fn addresses(&self, _: &Name, family: Family) -> Result<Vec<IpAddr>, ResolveError> {
        let (millis, answer) = match family {
            Family::V6 => &self.aaaa,
            Family::V4 => &self.a,
        };
        sleep(Duration::from_millis(*millis)).await;
        answer.clone()
    }
}

/// A network in which each address behaves as written; one that is not written is a black hole.
#[derive(Default)]
struct Net {
    hosts: HashMap<IpAddr, (u64, Option<Errno>)>,
    local: Option<IpAddr>,
    tried: Mutex<Vec<IpAddr>>,
    dropped: AtomicUsize,
}

struct Dropped<'a>(&'a AtomicUsize);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Connect for Net {
    type Stream = IpAddr;

    async fn connect(&self, address: SocketAddr) -> io::Result<IpAddr> {
        let _dropped = Dropped(&self.dropped);
        self.tried.lock().unwrap().push(address.ip());
        let Some((millis, error)) = self.hosts.get(&address.ip()) else {
            return std::future::pending().await;
        };
        sleep(Duration::from_millis(*millis)).await;
        match error {
            Some(errno) => Err((*errno).into()),
            None => Ok(address.ip()),
        }
    }

    fn local_ip(&self, _: &IpAddr) -> io::Result<IpAddr> {
        Ok(self
            .local
            .unwrap_or(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 250))))
    }
}

impl Net {
    fn with(mut self, address: IpAddr, millis: u64, error: Option<Errno>) -> Self {
        self.hosts.insert(address, (millis, error));
        self
    }
}

pub(super) const BOTH: Families = Families::Ipv6First;

pub(super) fn six() -> IpAddr {
    "2001:db8::1".parse().unwrap()
}

pub(super) fn four() -> IpAddr {
    IpAddr::from([203, 0, 113, 1])
}

pub(super) fn both() -> Names {
    Names {
        aaaa: (5, Ok(vec![six()])),
        a: (5, Ok(vec![four()])),
    }
}

fn egress(allow: &[&str]) -> Egress {
    Egress {
        prefer: Family::V6,
        attempt_delay: Duration::from_millis(250),
        connect_timeout: Duration::from_secs(10),
        allow: Acl::new(allow.iter().map(|network| network.parse().unwrap())),
        deny: Acl::default(),
        via: Via::Direct,
        ipv4: Outlet::default(),
        ipv6: Outlet::default(),
    }
}

pub(super) fn rules(allow: &[&str]) -> Rules {
    let lan = Lan {
        address: "127.0.0.1".parse().unwrap(),
        networks: Acl::new(["127.0.0.0/8".parse().unwrap()]),
        domain: Name::root(),
        allow_public: false,
    };
    let metrics = Arc::new(Metrics::new());
    let memory = Arc::new(Memory::new(Arc::clone(&metrics)));
    Rules::new(&egress(allow), &lan, Vec::new(), memory, metrics)
}

pub(super) fn target() -> Target {
    Target::parse("a.example:443", None).unwrap()
}

async fn reach(names: &Names, net: &Net) -> Result<Reached<IpAddr>, DialError> {
    rules(&[]).reach(&target(), BOTH, names, net).await
}

pub(super) fn failures(rules: &Rules, family: Family) -> u64 {
    rules
        .metrics
        .connect_failures
        .get_or_create(&family.into())
        .get()
}

#[tokio::test(start_paused = true)]
async fn ipv6_is_reached_first_and_the_time_includes_the_lookup() {
    let net = Net::default().with(six(), 20, None).with(four(), 1, None);
    let reached = reach(&both(), &net).await.unwrap();
    assert_eq!(reached.address, SocketAddr::new(six(), 443));
    assert_eq!((reached.stream, reached.attempts), (six(), 1));
    assert!(
        (25..30).contains(&reached.elapsed.as_millis()),
        "{:?}",
        reached.elapsed
    );
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_costs_the_attempt_delay_and_is_given_up() {
    let rules = rules(&[]);
    let net = Net::default().with(four(), 10, None);
    let reached = rules.reach(&target(), BOTH, &both(), &net).await.unwrap();
    assert_eq!((reached.stream, reached.attempts), (four(), 2));
    assert!(
        (265..270).contains(&reached.elapsed.as_millis()),
        "{:?}",
        reached.elapsed
    );
    assert_eq!(
        net.dropped.load(Ordering::Relaxed),
        2,
        "the loser is cancelled"
    );
    let text = rules.metrics.encode();
    assert!(
        text.contains("sekisho_connect_seconds_count{family=\"ipv4\"} 1"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_attempt_costs_no_delay() {
    let rules = rules(&[]);
    let net = Net::default()
        .with(six(), 10, Some(Errno::ECONNREFUSED))
        .with(four(), 10, None);
    let reached = rules.reach(&target(), BOTH, &both(), &net).await.unwrap();
    assert_eq!((reached.stream, reached.attempts), (four(), 2));
    assert!(
        reached.elapsed < Duration::from_millis(30),
        "{:?}",
        reached.elapsed
    );
    assert_eq!(failures(&rules, Family::V6), 1);
    assert_eq!(failures(&rules, Family::V4), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_aaaa_costs_the_resolution_delay() {
    let mut names = both();
    names.aaaa.0 = 2000;
    let net = Net::default().with(six(), 1, None).with(four(), 10, None);
    let reached = reach(&names, &net).await.unwrap();
    assert_eq!(reached.stream, four());
    assert!(
        (65..70).contains(&reached.elapsed.as_millis()),
        "{:?}",
        reached.elapsed
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_a_does_not_hold_up_ipv6() {
    let mut names = both();
    names.a.0 = 2000;
    let net = Net::default().with(six(), 10, None);
    let reached = reach(&names, &net).await.unwrap();
    assert_eq!(reached.stream, six());
    assert!(
        reached.elapsed < Duration::from_millis(20),
        "{:?}",
        reached.elapsed
    );
}

#[tokio::test(start_paused = true)]
async fn one_failed_lookup_is_no_obstacle_and_two_are_the_upstreams_fault() {
    let failed = || {
        Err(ResolveError::Failed {
            rcode: ResponseCode::ServFail,
            extended_errors: Vec::new(),
        })
    };
    let net = Net::default().with(six(), 1, None).with(four(), 1, None);
    let mut names = both();
    names.aaaa.1 = failed();
    assert_eq!(reach(&names, &net).await.unwrap().stream, four());
    names.a.1 = failed();
    let error = reach(&names, &net).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.side()),
        (DialErrorKind::ResolveFailed, Side::Upstream)
    );
    names.a.1 = Ok(Vec::new());
    let error = reach(&names, &net).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::ResolveFailed, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_name_without_address_is_not_found() {
    let names = Names {
        aaaa: (1, Ok(Vec::new())),
        a: (1, Ok(Vec::new())),
    };
    let error = reach(&names, &Net::default()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.side()),
        (DialErrorKind::NotFound, Side::Origin)
    );
    assert_eq!(error.to_string(), "a.example:443 has no address");
}

#[tokio::test(start_paused = true)]
async fn the_timeout_covers_lookups_and_attempts() {
    let rules = rules(&[]);
    let begun = now();
    let error = rules
        .reach(&target(), BOTH, &both(), &Net::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.side()),
        (DialErrorKind::ConnectTimeout, Side::Origin)
    );
    assert!(begun.elapsed() < Duration::from_millis(10_010));
    assert_eq!(failures(&rules, Family::V6), 1);
    assert_eq!(failures(&rules, Family::V4), 1);

    let silent = Names {
        aaaa: (60_000, Ok(Vec::new())),
        a: (60_000, Ok(Vec::new())),
    };
    let error = rules
        .reach(&target(), BOTH, &silent, &Net::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.side()),
        (DialErrorKind::ResolveTimeout, Side::Upstream)
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_address_is_skipped_and_only_refused_ones_are_a_refusal() {
    let mut names = both();
    names.aaaa.1 = Ok(vec!["fd00::1".parse().unwrap(), "::1".parse().unwrap()]);
    let net = Net::default().with(four(), 1, None);
    assert_eq!(reach(&names, &net).await.unwrap().stream, four());
    names.a.1 = Ok(vec!["192.168.1.1".parse().unwrap()]);
    let error = reach(&names, &net).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.side()),
        (DialErrorKind::Prohibited, Side::Client)
    );
    assert_eq!(*net.tried.lock().unwrap(), [four()]);
}

#[tokio::test(start_paused = true)]
async fn a_literal_is_judged_like_any_other_address() {
    let net = Net::default().with(four(), 1, None);
    for (text, kind) in [
        ("127.0.0.1:443", DialErrorKind::Prohibited),
        ("[::ffff:10.0.0.1]:443", DialErrorKind::Prohibited),
        ("[::]:443", DialErrorKind::Prohibited),
    ] {
        let target = Target::parse(text, None).unwrap();
        let error = rules(&[])
            .reach(&target, BOTH, &both(), &net)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{text}");
    }
    let target = Target::parse("203.0.113.1:443", None).unwrap();
    let reached = rules(&[])
        .reach(&target, BOTH, &both(), &net)
        .await
        .unwrap();
    assert_eq!(reached.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn each_policy_of_families_has_its_first_and_leaves_out_what_it_does_not_name() {
    let net = || Net::default().with(six(), 9, None).with(four(), 9, None);
    for (families, first) in [
        (Families::Ipv6First, six()),
        (Families::Ipv4First, four()),
        (Families::Ipv6Only, six()),
        (Families::Ipv4Only, four()),
    ] {
        let net = net();
        let reached = rules(&[]).reach(&target(), families, &both(), &net).await;
        assert_eq!(reached.unwrap().stream, first, "{families:?}");
        assert_eq!(*net.tried.lock().unwrap(), [first], "{families:?}");
    }
    // The other one is not even asked for: it would never answer.
    let mut names = both();
    names.aaaa = (60_000, Ok(vec![six()]));
    names.a.1 = Ok(Vec::new());
    let reached = rules(&[])
        .reach(&target(), Families::Ipv4Only, &names, &net())
        .await;
    assert_eq!(reached.unwrap_err().kind(), DialErrorKind::LeftOut);
    // Nor is it gone over to where all attempts fail, or while its own family is ill.
    let net = Net::default()
        .with(six(), 9, Some(Errno::ECONNREFUSED))
        .with(four(), 9, None);
    let reached = rules(&[])
        .reach(&target(), Families::Ipv6Only, &both(), &net)
        .await;
    assert_eq!(
        reached.unwrap_err().kind(),
        DialErrorKind::ConnectionRefused
    );
    assert_eq!(*net.tried.lock().unwrap(), [six()]);
}

#[tokio::test(start_paused = true)]
async fn a_transition_mechanism_is_tried_after_what_is_native() {
    let mut names = both();
    names.aaaa.1 = Ok(vec!["2002:808:808::1".parse().unwrap(), six()]);
    let net = Net::default().with(six(), 9, None);
    assert_eq!(reach(&names, &net).await.unwrap().stream, six());
    assert_eq!(*net.tried.lock().unwrap(), [six()]);
}

#[tokio::test(start_paused = true)]
async fn an_address_of_a_family_that_the_rule_leaves_out_is_refused() {
    let net = Net::default().with(four(), 1, None);
    let literal = Target::new(four(), 443);
    let rules = rules(&[]);
    let error = rules
        .reach(&literal, Families::Ipv6Only, &both(), &net)
        .await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::LeftOut);
    assert!(
        error
            .to_string()
            .ends_with(" is an IPv4 address, and its rule says `families = \"ipv6-only\"`"),
        "{error}"
    );
    let reached = rules
        .reach(&literal, Families::Ipv4Only, &both(), &net)
        .await;
    assert_eq!(reached.unwrap().stream, four());
}

#[tokio::test(start_paused = true)]
async fn a_connection_to_ourselves_is_refused_although_no_snapshot_knew_the_address() {
    let mut net = Net::default().with(six(), 1, None);
    net.local = Some(six());
    let mut names = both();
    names.a.1 = Ok(Vec::new());
    let error = reach(&names, &net).await.unwrap_err();
    assert!(
        matches!(error, DialError::Refused { why: Refusal::Own, address, .. } if address == six()),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_broken_destination_costs_its_delay_once_and_is_tried_again_minutes_later() {
    let rules = rules(&[]);
    let silent = Net::default().with(four(), 10, None);
    let took = async |net: &Net| {
        let reached = rules.reach(&target(), BOTH, &both(), net).await.unwrap();
        (reached.stream, reached.elapsed.as_millis())
    };
    assert_eq!(took(&silent).await, (four(), 265));
    assert_eq!(took(&silent).await, (four(), 15));
    let healed = Net::default().with(six(), 10, None).with(four(), 10, None);
    assert_eq!(took(&healed).await.0, four(), "still doubted");
    tokio::time::advance(history::REMEMBERED).await;
    assert_eq!(took(&healed).await.0, six());
    assert_eq!(took(&healed).await.0, six());
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_refuses_one_family_is_remembered_and_its_family_stays_well() {
    let rules = rules(&[]);
    let net = Net::default()
        .with(six(), 20, Some(Errno::ECONNREFUSED))
        .with(four(), 10, None);
    for (attempts, millis) in [(2, 35), (1, 15)] {
        let reached = rules.reach(&target(), BOTH, &both(), &net).await.unwrap();
        assert_eq!(
            (reached.attempts, reached.elapsed.as_millis()),
            (attempts, millis)
        );
    }
    assert!(rules.memory.ill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_had_no_time_is_not_held_against_its_destination() {
    let rules = rules(&[]);
    let net = Net::default().with(six(), 300, None);
    let reached = rules.reach(&target(), BOTH, &both(), &net).await.unwrap();
    assert_eq!((reached.stream, reached.attempts), (six(), 2));
    let only_four = Names {
        aaaa: (5, Ok(Vec::new())),
        ..both()
    };
    let net = Net::default().with(six(), 10, None).with(four(), 10, None);
    rules
        .reach(&target(), BOTH, &only_four, &net)
        .await
        .unwrap();
    let reached = rules.reach(&target(), BOTH, &both(), &net).await.unwrap();
    assert_eq!(reached.stream, six());
}

/// Names of three sites with an address of each family, all of them on different networks.
fn site(number: u8) -> Names {
    Names {
        aaaa: (5, Ok(vec![site_six(number)])),
        a: (5, Ok(vec![IpAddr::from([203, 0, number, 1])])),
    }
}

fn site_six(number: u8) -> IpAddr {
    format!("2001:db8:{number}::1").parse().unwrap()
}

fn gauge(rules: &Rules, family: Family) -> i64 {
    let ill = &rules.metrics.family_ill;
    ill.get_or_create(&family.into()).get()
}

#[tokio::test(start_paused = true)]
async fn when_ipv6_dies_ipv4_goes_first_everywhere_until_one_ipv6_answer() {
    let rules = rules(&[]);
    let mut net = Net::default();
    for number in 1..=9 {
        net = net.with(IpAddr::from([203, 0, number, 1]), 10, None);
    }
    for number in 1..=3 {
        let reached = rules
            .reach(&target(), BOTH, &site(number), &net)
            .await
            .unwrap();
        assert_eq!(reached.attempts, 2, "site {number}");
    }
    assert_eq!(rules.memory.ill(), [(Family::V6, "no answers")]);
    assert_eq!(gauge(&rules, Family::V6), 1);
    let reached = rules.reach(&target(), BOTH, &site(4), &net).await.unwrap();
    assert_eq!((reached.attempts, reached.elapsed.as_millis()), (1, 15));

    // A name with IPv6 only is still tried over it, and its answer ends the illness for all.
    net = net.with(site_six(5), 10, None).with(site_six(1), 10, None);
    let mut only_six = site(5);
    only_six.a.1 = Ok(Vec::new());
    rules.reach(&target(), BOTH, &only_six, &net).await.unwrap();
    assert!(rules.memory.ill().is_empty());
    assert_eq!(gauge(&rules, Family::V6), 0);
    let reached = rules.reach(&target(), BOTH, &site(1), &net).await.unwrap();
    assert_eq!(
        reached.stream,
        site_six(1),
        "what failed meanwhile is forgotten"
    );
}

#[tokio::test]
async fn over_loopback_a_refused_port_falls_back_to_the_other_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let names = Names {
        aaaa: (0, Ok(Vec::new())),
        a: (
            0,
            Ok(vec![
                IpAddr::from([127, 0, 0, 2]),
                IpAddr::from([127, 0, 0, 1]),
            ]),
        ),
    };
    let target = Target::new(target().host, port);
    let rules = rules(&["127.0.0.0/8"]);
    let reached = rules
        .reach(&target, BOTH, &names, &Tcp(&rules.ways))
        .await
        .unwrap();
    assert_eq!(
        reached.stream.peer_addr().unwrap(),
        listener.local_addr().unwrap()
    );
    assert_eq!(reached.attempts, 2);
    drop(listener);
    let error = rules
        .reach(&target, BOTH, &names, &Tcp(&rules.ways))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::ConnectionRefused, "{error}");
}

#[test]
fn a_dial_may_move_between_threads() {
    fn movable<'a>(dialer: &'a Dialer, target: &'a Target) -> impl Future + Send + 'a {
        dialer.dial(target, None)
    }
    let _: fn(&'static Dialer, &'static Target) -> _ = movable;
}
