//! Flows over a scripted network on paused time, and over loopback.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use nix::errno::Errno;
use tokio::io::ReadBuf;
use tokio::time::{Sleep, sleep};

use super::super::rules::Rules;
use super::super::tests::{BOTH, Names, both, failures, four, rules, six, target};
use super::super::{DialErrorKind, now};
use super::flight::Flight;
use super::leg::{Leg, Wire};
use super::*;
use crate::config::Families;
use crate::telemetry::Side;

/// What an address does with the first datagram; one that is not written is silent.
#[derive(Clone, Copy)]
enum Does {
    /// Replies after so many milliseconds, with its own address.
    Reply(u64),
    /// Is found to be closed after so many milliseconds.
    Refuse(u64),
    /// Cannot be routed to.
    NoRoute,
    /// Leads back here.
    Loop,
}

/// What was sent, and to whom.
type Sent = Vec<(IpAddr, Vec<u8>)>;

#[derive(Clone, Default)]
struct Net {
    hosts: HashMap<IpAddr, Does>,
    sent: Arc<Mutex<Sent>>,
}

struct Socket {
    address: IpAddr,
    does: Option<Does>,
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
    net: Net,
}

impl Net {
    fn with(mut self, address: IpAddr, does: Does) -> Self {
        self.hosts.insert(address, does);
        self
    }

    /// The first bytes of what each address got, in order.
    fn sent(&self) -> Vec<(IpAddr, u8)> {
        let sent = self.sent.lock().unwrap();
        sent.iter().map(|(to, data)| (*to, data[0])).collect()
    }
}

impl Wire for Net {
    type Socket = Socket;

    fn open(&self, to: SocketAddr) -> io::Result<Socket> {
        let does = self.hosts.get(&to.ip()).copied();
        if matches!(does, Some(Does::NoRoute)) {
            return Err(Errno::ENETUNREACH.into());
        }
        Ok(Socket {
            address: to.ip(),
            does,
            timer: Mutex::default(),
            net: self.clone(),
        })
    }
}

impl Leg for Socket {
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        if datagram.len() > 1400 {
            return Err(Errno::EMSGSIZE.into());
        }
        let sent = (self.address, datagram.to_vec());
        self.net.sent.lock().unwrap().push(sent);
        if let Some(Does::Reply(millis) | Does::Refuse(millis)) = self.does {
            let timer = || Box::pin(sleep(Duration::from_millis(millis)));
            self.timer.lock().unwrap().get_or_insert_with(timer);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut held = self.timer.lock().unwrap();
        let Some(timer) = held.as_mut() else {
            return Poll::Pending;
        };
        std::task::ready!(timer.as_mut().poll(context));
        *held = None;
        if let Some(Does::Refuse(_)) = self.does {
            return Poll::Ready(Err(Errno::ECONNREFUSED.into()));
        }
        buffer.put_slice(self.address.to_string().as_bytes());
        Poll::Ready(Ok(()))
    }

    fn local_ip(&self) -> io::Result<IpAddr> {
        Ok(match self.does {
            Some(Does::Loop) => self.address,
            _ => IpAddr::from([203, 0, 113, 250]),
        })
    }
}

fn client() -> ClientAddr {
    ClientAddr::new("192.168.1.5:4000".parse().unwrap())
}

/// A flow whose client has sent one datagram, `1`.
fn flow_by(rules: &Arc<Rules>, names: &Names, net: &Net) -> Course<Net> {
    let mut flow = Course::new(
        Arc::clone(rules),
        BOTH,
        names,
        net.clone(),
        client(),
        &target(),
    );
    flow.send(&[1]);
    flow
}

fn flow(names: &Names, net: &Net) -> Course<Net> {
    flow_by(&Arc::new(rules(&[])), names, net)
}

fn how(flow: &Course<Net>) -> Settled {
    match &flow.state {
        State::Settled(winner) => winner.how,
        _ => panic!("not settled"),
    }
}

async fn said(flow: &mut Course<Net>) -> Result<String, DialError> {
    let mut buffer = [0; 100];
    let length = flow.recv(&mut buffer).await?;
    Ok(String::from_utf8(buffer[..length].to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_preferred_family_is_sent_to_and_its_reply_decides() {
    let net = Net::default()
        .with(six(), Does::Reply(20))
        .with(four(), Does::Reply(1));
    let mut flow = flow(&both(), &net);
    assert_eq!(said(&mut flow).await.unwrap(), six().to_string());
    let how = how(&flow);
    assert_eq!(how.address, SocketAddr::new(six(), 443));
    assert_eq!((how.family, how.attempts), (Family::V6, 1));
    assert!((25..30).contains(&how.elapsed.as_millis()), "{how:?}");
    flow.send(&[2]);
    assert_eq!(said(&mut flow).await.unwrap(), six().to_string());
    assert_eq!(net.sent(), [(six(), 1), (six(), 2)]);
}

#[tokio::test(start_paused = true)]
async fn silence_costs_the_attempt_delay_and_the_whole_flight_goes_to_the_next() {
    let net = Net::default().with(four(), Does::Reply(10));
    let mut flow = flow(&both(), &net);
    flow.send(&[2]);
    assert_eq!(said(&mut flow).await.unwrap(), four().to_string());
    let how = how(&flow);
    assert_eq!((how.family, how.attempts), (Family::V4, 2));
    assert!((265..270).contains(&how.elapsed.as_millis()), "{how:?}");
    flow.send(&[3]);
    assert_eq!(
        net.sent(),
        [
            (six(), 1),
            (six(), 2),
            (four(), 1),
            (four(), 2),
            (four(), 3)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_network_that_swallows_udp_costs_its_delay_once() {
    let rules = Arc::new(rules(&[]));
    let net = Net::default().with(four(), Does::Reply(10));
    for millis in [265, 15] {
        let mut flow = flow_by(&rules, &both(), &net);
        assert_eq!(said(&mut flow).await.unwrap(), four().to_string());
        assert_eq!(how(&flow).elapsed.as_millis(), millis);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_or_a_missing_route_costs_no_delay() {
    for does in [Does::Refuse(3), Does::NoRoute] {
        let rules = Arc::new(rules(&[]));
        let net = Net::default()
            .with(six(), does)
            .with(four(), Does::Reply(10));
        let mut flow = flow_by(&rules, &both(), &net);
        assert_eq!(said(&mut flow).await.unwrap(), four().to_string());
        assert!(how(&flow).elapsed < Duration::from_millis(30));
        assert_eq!(failures(&rules, Family::V6), 1);
        assert_eq!(failures(&rules, Family::V4), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn where_all_refuse_the_flow_ends_at_once_and_stays_ended() {
    let net = Net::default()
        .with(six(), Does::Refuse(3))
        .with(four(), Does::Refuse(4));
    let begun = now();
    let mut flow = flow(&both(), &net);
    let error = said(&mut flow).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.side()),
        (DialErrorKind::ConnectionRefused, Side::Origin)
    );
    assert!(begun.elapsed() < Duration::from_millis(30));
    flow.send(&[2]);
    assert!(said(&mut flow).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn where_nobody_replies_the_flow_ends_at_the_connect_timeout() {
    let rules = Arc::new(rules(&[]));
    let mut flow = flow_by(&rules, &both(), &Net::default());
    let error = said(&mut flow).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::ConnectTimeout);
    assert_eq!(failures(&rules, Family::V6), 1);
    assert_eq!(failures(&rules, Family::V4), 1);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_was_given_time_may_still_win() {
    let net = Net::default().with(six(), Does::Reply(400));
    let mut flow = flow(&both(), &net);
    assert_eq!(said(&mut flow).await.unwrap(), six().to_string());
    assert_eq!(how(&flow).attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn while_nobody_has_replied_all_who_are_open_get_the_next_datagram() {
    let net = Net::default();
    let mut flow = flow(&both(), &net);
    let mut buffer = [0; 10];
    tokio::select! {
        _ = flow.recv(&mut buffer) => panic!("nobody speaks"),
        () = sleep(Duration::from_millis(300)) => {}
    }
    flow.send(&[2]);
    let mut sent = net.sent();
    sent.sort();
    assert_eq!(sent, [(four(), 1), (four(), 2), (six(), 1), (six(), 2)]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_sent_to_before_the_client_has_spoken() {
    let net = Net::default().with(six(), Does::Reply(1));
    let rules = Arc::new(rules(&[]));
    let mut flow = Course::new(rules, BOTH, &both(), net.clone(), client(), &target());
    let mut buffer = [0; 100];
    tokio::select! {
        _ = flow.recv(&mut buffer) => panic!("nobody speaks"),
        () = sleep(Duration::from_millis(900)) => {}
    }
    assert!(net.sent().is_empty());
    flow.send(&[1]);
    assert_eq!(said(&mut flow).await.unwrap(), six().to_string());
    assert_eq!(how(&flow).attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn the_flight_is_bounded_and_what_is_beyond_is_counted() {
    let mut many = Flight::default();
    assert!((0..FLIGHT_DATAGRAMS).all(|_| many.keep(&[0])));
    assert!(!many.keep(&[0]));
    let mut large = Flight::default();
    assert!(large.keep(&[0; FLIGHT_BYTES]));
    assert!(!large.keep(&[0]));

    let rules = Arc::new(rules(&[]));
    let net = Net::default().with(six(), Does::Reply(10));
    let mut flow = flow_by(&rules, &both(), &net);
    for _ in 0..20 {
        flow.send(&[2]);
    }
    said(&mut flow).await.unwrap();
    assert_eq!(net.sent().len(), FLIGHT_DATAGRAMS);
    let text = rules.metrics.encode();
    assert!(
        text.contains("sekisho_udp_dropped_total{reason=\"flight\"} 5"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_datagram_too_long_for_the_path_is_dropped_and_counted() {
    let rules = Arc::new(rules(&[]));
    let net = Net::default().with(six(), Does::Reply(10));
    let mut flow = flow_by(&rules, &both(), &net);
    flow.send(&[9; 1401]);
    assert_eq!(said(&mut flow).await.unwrap(), six().to_string());
    assert_eq!(net.sent(), [(six(), 1)]);
    let text = rules.metrics.encode();
    assert!(text.contains("reason=\"too-long\"} 1"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn refused_addresses_are_never_sent_to() {
    let mut names = both();
    names.aaaa.1 = Ok(vec!["fd00::1".parse().unwrap(), "::1".parse().unwrap()]);
    names.a.1 = Ok(vec!["192.168.1.1".parse().unwrap()]);
    let net = Net::default();
    let error = said(&mut flow(&names, &net)).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::Prohibited);
    assert!(net.sent().is_empty());

    let net = Net::default().with(six(), Does::Loop);
    names.aaaa.1 = Ok(vec![six()]);
    let error = said(&mut flow(&names, &net)).await.unwrap_err();
    assert!(
        matches!(error, DialError::Refused { address, .. } if address == six()),
        "{error}"
    );
    assert!(net.sent().is_empty(), "an own address got a datagram");
}

#[tokio::test(start_paused = true)]
async fn flows_and_candidates_keep_to_the_families_of_their_rule() {
    let net = Net::default()
        .with(six(), Does::Reply(9))
        .with(four(), Does::Reply(9));
    for (families, expected) in [
        (Families::Ipv4First, vec![four(), six()]),
        (Families::Ipv4Only, vec![four()]),
        (Families::Ipv6Only, vec![six()]),
    ] {
        let rules = Arc::new(rules(&[]));
        let (names, net) = (both(), net.clone());
        let mut flow = Course::new(
            Arc::clone(&rules),
            families,
            &names,
            net.clone(),
            client(),
            &target(),
        );
        flow.send(&[1]);
        assert_eq!(said(&mut flow).await.unwrap(), expected[0].to_string());
        let found = rules
            .candidates(client(), &target(), families, &names)
            .await;
        let found: Vec<_> = found.unwrap().iter().map(SocketAddr::ip).collect();
        assert_eq!(found, expected, "{families:?}");
        // Written out, it is judged likewise.
        let literal = Target::new(six(), 443);
        let found = rules.candidates(client(), &literal, families, &names).await;
        assert_eq!(found.is_ok(), families.allow(Family::V6), "{families:?}");
        let mut flow = Course::new(rules, families, &names, net, client(), &literal);
        flow.send(&[1]);
        assert_eq!(said(&mut flow).await.is_ok(), families.allow(Family::V6));
    }
}

#[tokio::test(start_paused = true)]
async fn candidates_take_turns_and_the_slow_family_is_waited_for_only_shortly() {
    let candidates = async |names: &Names| {
        let rules = rules(&[]);
        let found = rules.candidates(client(), &target(), BOTH, names).await;
        found.map(|found| found.iter().map(SocketAddr::ip).collect::<Vec<_>>())
    };
    let mut names = both();
    names.aaaa.1 = Ok(vec![six(), "2001:db8::2".parse().unwrap()]);
    assert_eq!(
        candidates(&names).await.unwrap(),
        [six(), four(), "2001:db8::2".parse().unwrap()]
    );
    names.aaaa.0 = 3000;
    let begun = now();
    assert_eq!(candidates(&names).await.unwrap(), [four()]);
    assert!(begun.elapsed() < Duration::from_millis(60));
    names.a.0 = 60_000;
    names.aaaa.0 = 60_000;
    let error = candidates(&names).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::ResolveTimeout);
}

#[tokio::test]
async fn over_loopback_a_closed_port_is_told_after_one_datagram() {
    let origin = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = origin.local_addr().unwrap().port();
    drop(origin);
    let names = Names {
        aaaa: (0, Ok(Vec::new())),
        a: (0, Ok(vec![[127, 0, 0, 1].into()])),
    };
    let rules = Arc::new(rules(&["127.0.0.0/8"]));
    let target = Target::new(target().host, port);
    let system = System(rules.ways.clone());
    let mut flow = Course::new(Arc::clone(&rules), BOTH, &names, system, client(), &target);
    flow.send(b"hello");
    let error = flow.recv(&mut [0; 100]).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::ConnectionRefused, "{error}");
}

#[tokio::test]
async fn over_loopback_a_closed_port_is_left_for_the_address_that_answers() {
    let origin = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = origin.local_addr().unwrap().port();
    let names = Names {
        aaaa: (0, Ok(Vec::new())),
        a: (0, Ok(vec![[127, 0, 0, 2].into(), [127, 0, 0, 1].into()])),
    };
    let rules = Arc::new(rules(&["127.0.0.0/8"]));
    let target = Target::new(target().host, port);
    let system = System(rules.ways.clone());
    let mut flow = Course::new(Arc::clone(&rules), BOTH, &names, system, client(), &target);
    flow.send(b"hello");
    let echo = async {
        let mut buffer = [0; 100];
        let (length, from) = origin.recv_from(&mut buffer).await.unwrap();
        origin.send_to(&buffer[..length], from).await.unwrap();
    };
    let mut buffer = [0; 100];
    let (length, ()) = tokio::join!(flow.recv(&mut buffer), echo);
    assert_eq!(&buffer[..length.unwrap()], b"hello");
    drop(origin);
    flow.send(b"still there?");
    let error = flow.recv(&mut buffer).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::ConnectionRefused, "{error}");
}

#[test]
fn a_flow_may_move_between_threads() {
    fn movable<'a>(flow: &'a mut Flow, buffer: &'a mut [u8]) -> impl Future + Send + 'a {
        flow.recv(buffer)
    }
    let _: fn(&'static mut Flow, &'static mut [u8]) -> _ = movable;
}
