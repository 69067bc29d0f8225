//! Transparent QUIC: the origin is read from the SNI in the first packets, and everything is passed on as it came.

use std::net::{SocketAddr, UdpSocket};

use nix::sys::signal::Signal;
use quinn::ConnectionError;
use sekisho::proxy::sniff::quic::client_initial;
use sekisho::proxy::sniff::quic::packet::{Long, Version};

use crate::support::{
    Gate, PATIENCE, QuicClient, QuicOrigin, Setup, Upstream, clock, has_ipv6, quic_hello,
};

pub(crate) const HOST: &str = "www.origin.example";
const OTHER: &str = "other.origin.example";

fn setup(upstream: &Upstream, origin: &QuicOrigin) -> Setup {
    for host in [HOST, OTHER] {
        upstream.addresses(host, &["127.0.0.1", "::1"]);
    }
    Setup::new(upstream).set("proxy.quic-origin-port", &origin.port().to_string())
}

fn home(origin: &QuicOrigin) -> (Upstream, Gate) {
    let upstream = Upstream::start();
    let gate = Gate::start(&setup(&upstream, origin));
    (upstream, gate)
}

/// The first word of the origin: its family.
fn family() -> &'static str {
    if has_ipv6() { "ipv6" } else { "ipv4" }
}

fn answer(host: &str, text: &str) -> String {
    format!("{} {host} {text}", family())
}

fn said(client: &QuicClient, connection: &quinn::Connection, text: &str) -> String {
    String::from_utf8(client.say(connection, text.as_bytes())).unwrap()
}

/// Whether the gate's refusal is what ended the attempt, and not its patience.
fn assert_refused(outcome: Result<quinn::Connection, ConnectionError>) {
    match outcome {
        Err(ConnectionError::ConnectionClosed(close)) => {
            assert_eq!(
                close.error_code,
                quinn::TransportErrorCode::CONNECTION_REFUSED
            );
            assert_eq!(&close.reason[..], b"sekisho");
        }
        other => panic!("{other:?}"),
    }
}

/// A socket that says what it is told, without knowing QUIC.
pub(crate) fn raw(gate: &Gate) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(gate.addr("quic")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Initial packets that hold a hello: two datagrams.
pub(crate) fn flight(version: Version, host: &str) -> Vec<Vec<u8>> {
    flight_of(version, host, b"me")
}

/// As [`flight`], of a client that calls itself `source`.
pub(crate) fn flight_of(version: Version, host: &str, source: &[u8]) -> Vec<Vec<u8>> {
    let hello = quic_hello(host);
    let pieces = hello.chunks(900).enumerate();
    pieces
        .map(|(place, piece)| {
            let mut frames = vec![6];
            let offset = u32::try_from(place * 900).unwrap();
            frames.extend((0x8000_0000 | offset).to_be_bytes());
            frames.extend((0x4000 | u16::try_from(piece.len()).unwrap()).to_be_bytes());
            frames.extend(piece);
            let number = u32::try_from(place).unwrap();
            client_initial(
                b"made up!",
                version,
                b"made up!",
                source,
                number,
                &frames,
                1200,
            )
            .unwrap()
        })
        .collect()
}

#[test]
fn a_connection_is_carried_to_the_origin_that_the_client_names() {
    let origin = QuicOrigin::start();
    let (_upstream, gate) = home(&origin);
    let client = QuicClient::new();
    let connection = client.connect(gate.addr("quic"), HOST).unwrap();
    assert_eq!(said(&client, &connection, "hello"), answer(HOST, "hello"));
    assert_eq!(gate.metric("sekisho_sessions_total{inbound=\"quic\"}"), 1.0);
    assert_eq!(gate.metric("sekisho_sessions_active"), 1.0);
}

#[test]
fn connections_of_one_port_go_to_different_origins() {
    let origin = QuicOrigin::start();
    let (_upstream, gate) = home(&origin);
    let client = QuicClient::new();
    let one = client.connect(gate.addr("quic"), HOST).unwrap();
    let two = client.connect(gate.addr("quic"), OTHER).unwrap();
    for round in ["first", "second"] {
        assert_eq!(said(&client, &one, round), answer(HOST, round));
        assert_eq!(said(&client, &two, round), answer(OTHER, round));
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn megabytes_come_through_whole_both_ways() {
    let origin = QuicOrigin::start();
    let (_upstream, gate) = home(&origin);
    let client = QuicClient::new();
    let connection = client.connect(gate.addr("quic"), HOST).unwrap();
    let text: Vec<u8> = (0..4_000_000_u32).map(|n| (n * 31 % 251) as u8).collect();
    let back = client.say(&connection, &text);
    let head = answer(HOST, "").into_bytes();
    assert_eq!(back.len(), head.len() + text.len());
    assert!(back.ends_with(&text));
}

#[test]
fn a_retry_of_the_origin_is_passed_on_and_answered() {
    let origin = QuicOrigin::with_retry();
    let (_upstream, gate) = home(&origin);
    let client = QuicClient::new();
    let connection = client.connect(gate.addr("quic"), HOST).unwrap();
    assert_eq!(said(&client, &connection, "hello"), answer(HOST, "hello"));
    assert_eq!(gate.metric("sekisho_sessions_total{inbound=\"quic\"}"), 1.0);
}

#[test]
fn a_connection_goes_on_from_another_port_of_the_client() {
    let origin = QuicOrigin::start();
    let (_upstream, gate) = home(&origin);
    let client = QuicClient::new();
    let connection = client.connect(gate.addr("quic"), HOST).unwrap();
    assert_eq!(said(&client, &connection, "here"), answer(HOST, "here"));
    client.rebind();
    assert_eq!(said(&client, &connection, "there"), answer(HOST, "there"));
    assert_eq!(origin.connections(), 1);
    assert_eq!(gate.metric("sekisho_sessions_total{inbound=\"quic\"}"), 1.0);
}

#[test]
fn who_cannot_be_served_is_refused_at_once() {
    let origin = QuicOrigin::start();
    let upstream = Upstream::start();
    let gate = Gate::start(&setup(&upstream, &origin).set("egress.allow", "[]"));
    let client = QuicClient::new();
    let begun = clock();
    assert_refused(client.connect(gate.addr("quic"), "missing.example"));
    // The guard closes loopback.
    assert_refused(client.connect(gate.addr("quic"), HOST));
    assert!(begun.elapsed() < PATIENCE / 2);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn what_leaves_by_an_upstream_proxy_does_not_leave_past_it() {
    let origin = QuicOrigin::start();
    let upstream = Upstream::start();
    let setup = setup(&upstream, &origin);
    let gate = Gate::start(&setup.set("egress.via", "\"socks5://127.0.0.1:9\""));
    assert_refused(QuicClient::new().connect(gate.addr("quic"), HOST));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_hello_without_a_name_is_refused_and_told() {
    let origin = QuicOrigin::start();
    let (_upstream, gate) = home(&origin);
    let client = QuicClient::new();
    // quinn sends no SNI where it is given an address.
    assert_refused(client.connect(gate.addr("quic"), "127.0.0.1"));
    let line = gate.wait_for_log("names no server");
    assert!(line.contains("inbound=\"quic\""), "{line}");
    gate.wait_for_metric("sekisho_sessions_nameless_total{inbound=\"quic\"}", 1.0);
    gate.wait_for_log("put what it asks for into steer.never");
}

#[test]
fn version_2_is_read_and_passed_on_byte_for_byte() {
    let origin = UdpSocket::bind("127.0.0.1:0").unwrap();
    origin.set_read_timeout(Some(PATIENCE)).unwrap();
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    let port = origin.local_addr().unwrap().port().to_string();
    let gate = Gate::start(&Setup::new(&upstream).set("proxy.quic-origin-port", &port));
    for version in [Version::V2, Version::V1] {
        let client = raw(&gate);
        let datagrams = flight(version, HOST);
        assert!(datagrams.len() > 1);
        // The last first.
        for datagram in datagrams.iter().rev() {
            client.send(datagram).unwrap();
        }
        let mut room = [0; 2000];
        let mut from = None;
        for datagram in datagrams.iter().rev() {
            let (length, peer) = origin.recv_from(&mut room).unwrap();
            assert_eq!(&room[..length], datagram.as_slice());
            from = Some(peer);
        }
        origin.send_to(b"\x40 whatever", from.unwrap()).unwrap();
        let length = client.recv(&mut room).unwrap();
        assert_eq!(&room[..length], b"\x40 whatever");
    }
}

#[test]
fn another_version_is_answered_with_those_that_are_carried() {
    let origin = QuicOrigin::start();
    let (_upstream, gate) = home(&origin);
    let client = raw(&gate);
    let mut datagram = flight(Version::V1, HOST).swap_remove(0);
    datagram[1..5].copy_from_slice(&0xff00_001d_u32.to_be_bytes());
    client.send(&datagram).unwrap();
    let mut room = [0; 2000];
    let length = client.recv(&mut room).unwrap();
    let long = Long::read(&room[..length]).unwrap();
    assert_eq!((long.version, long.destination), (0, &b"me"[..]));
    assert_eq!(long.rest, [0, 0, 0, 1, 0x6b, 0x33, 0x43, 0xcf]);
}

#[test]
fn strays_are_counted_and_get_no_answer() {
    let origin = QuicOrigin::start();
    let (_upstream, gate) = home(&origin);
    let client = raw(&gate);
    client.send(&[0x40; 50]).unwrap();
    gate.wait_for_metric("sekisho_udp_dropped_total{reason=\"stray\"}", 1.0);
    // An Initial packet that nobody can open.
    let mut broken = flight(Version::V1, HOST).swap_remove(0);
    broken[600] ^= 1;
    client.send(&broken).unwrap();
    gate.wait_for_metric("sekisho_udp_dropped_total{reason=\"not-quic\"}", 1.0);
    client.set_nonblocking(true).unwrap();
    client.recv(&mut [0; 100]).unwrap_err();
}

#[test]
fn at_the_limits_a_connection_is_refused_at_once_and_a_metric_counts_it() {
    for (key, reason) in [
        ("proxy.quic-flows-per-client", "flows-per-client"),
        ("proxy.quic-flows", "flows"),
        ("proxy.max-sessions-per-client", "per-client"),
        ("proxy.max-sessions", "total"),
    ] {
        let origin = QuicOrigin::start();
        let upstream = Upstream::start();
        let mut setup = setup(&upstream, &origin).set(key, "1");
        if key == "proxy.quic-flows" {
            setup = setup.set("proxy.quic-flows-per-client", "1").set(key, "1");
        }
        if key == "proxy.max-sessions" {
            setup = setup.set("proxy.max-sessions-per-client", "1");
        }
        let gate = Gate::start(&setup);
        let client = QuicClient::new();
        let first = client.connect(gate.addr("quic"), HOST).unwrap();
        assert_refused(client.connect(gate.addr("quic"), OTHER));
        let metric = format!("sekisho_sessions_refused_total{{reason=\"{reason}\"}}");
        assert!(gate.metric(&metric) >= 1.0, "{reason}");
        assert_eq!(said(&client, &first, "still"), answer(HOST, "still"));
    }
}

#[test]
fn a_silent_flow_is_forgotten_with_a_line_in_the_log() {
    let origin = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    let port = origin.local_addr().unwrap().port().to_string();
    let gate = Gate::start(
        &Setup::new(&upstream)
            .set("proxy.quic-origin-port", &port)
            .set("proxy.quic-idle-timeout", "\"800ms\""),
    );
    let client = raw(&gate);
    for datagram in flight(Version::V1, HOST) {
        client.send(&datagram).unwrap();
    }
    let mut room = [0; 2000];
    let (_, from) = origin.recv_from(&mut room).unwrap();
    origin.send_to(b"\x40 whatever", from).unwrap();
    let line = gate.wait_for_log("ended=\"idle\"");
    for part in [
        "inbound=\"quic\"",
        "family=\"ipv4\"",
        "sent=2400",
        "received=10",
    ] {
        assert!(line.contains(part), "{line}");
    }
    gate.wait_for_metric("sekisho_sessions_active", 0.0);
}

#[test]
fn an_origin_whose_port_is_closed_is_told_at_once() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    // Whoever talks to another is nobody for us.
    holder
        .connect(SocketAddr::from(([127, 0, 0, 1], 9)))
        .unwrap();
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    let gate = Gate::start(&Setup::new(&upstream).set("proxy.quic-origin-port", &port.to_string()));
    let begun = clock();
    assert_refused(QuicClient::new().connect(gate.addr("quic"), HOST));
    assert!(begun.elapsed() < PATIENCE / 2);
}

#[test]
fn a_port_that_closes_later_ends_the_flow_and_who_begins_again_is_told() {
    let (origin, _upstream, gate) = scripted();
    let client = raw(&gate);
    let (_, from) = begun(&client, &origin, b"me");
    origin.send_to(b"\x40 whatever", from).unwrap();
    let mut room = [0; 2000];
    client.recv(&mut room).unwrap();
    // Whoever talks to another is nobody for us; and nobody else gets the port.
    let other = SocketAddr::from(([127, 0, 0, 1], 9));
    origin.connect(other).unwrap();
    // The first one meets the closed port, whatever becomes of it.
    client.send(b"\x40 still there?").unwrap();
    let line = gate.wait_for_log("ended=\"broken-origin\"");
    assert!(line.contains("inbound=\"quic\""), "{line}");
    gate.wait_for_metric("sekisho_sessions_active", 0.0);
    // The same ID, once more.
    for datagram in flight(Version::V1, HOST) {
        client.send(&datagram).unwrap();
    }
    let length = client.recv(&mut room).unwrap();
    let long = Long::read(&room[..length]).unwrap();
    assert_eq!((long.version, long.destination), (1, &b"me"[..]));
}

#[test]
fn a_new_connection_under_an_old_id_does_not_end_in_the_old_flow() {
    let (origin, _upstream, gate) = scripted();
    let client = raw(&gate);
    let (first, old) = begun(&client, &origin, b"me");
    origin.send_to(b"\x40 whatever", old).unwrap();
    let mut room = [0; 2000];
    client.recv(&mut room).unwrap();
    // Sent again by a client that has not heard of the reply.
    client.send(&first).unwrap();
    let (length, from) = origin.recv_from(&mut room).unwrap();
    assert_eq!((&room[..length], from), (first.as_slice(), old));
    let (_, new) = begun(&client, &origin, b"somebody else");
    assert_ne!(old, new);
    gate.wait_for_metric("sekisho_sessions_total{inbound=\"quic\"}", 2.0);
}

#[test]
fn what_cannot_begin_a_connection_gets_no_answer_and_leads_nowhere() {
    let (origin, _upstream, gate) = scripted();
    let client = raw(&gate);
    let strays = "sekisho_udp_dropped_total{reason=\"stray\"}";
    let made = b"made up!";
    // RFC 9000 section 14.1: dropped, for the answer could be the longer one.
    let small = client_initial(made, Version::V1, made, b"me", 0, &[1], 1199).unwrap();
    client.send(&small).unwrap();
    gate.wait_for_metric(strays, 1.0);
    // Early data that has overtaken the packet which it follows.
    let mut early = small.clone();
    early[0] = early[0] & 0xcf | 0x10;
    client.send(&early).unwrap();
    gate.wait_for_metric(strays, 2.0);
    let (_, from) = begun(&client, &origin, b"me");
    // Now it belongs to somebody; so does the small one, and it is for the origin to judge.
    for datagram in [&early, &small] {
        client.send(datagram).unwrap();
        let mut room = [0; 2000];
        let (length, same) = origin.recv_from(&mut room).unwrap();
        assert_eq!((&room[..length], same), (datagram.as_slice(), from));
    }
    assert_eq!(gate.metric(strays), 2.0);
    client.set_nonblocking(true).unwrap();
    client.recv(&mut [0; 100]).unwrap_err();
}

/// A gate in front of an origin that says what the test lets it say.
pub(crate) fn scripted() -> (UdpSocket, Upstream, Gate) {
    let origin = UdpSocket::bind("127.0.0.1:0").unwrap();
    origin.set_read_timeout(Some(PATIENCE)).unwrap();
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    let port = origin.local_addr().unwrap().port().to_string();
    let gate = Gate::start(&Setup::new(&upstream).set("proxy.quic-origin-port", &port));
    (origin, upstream, gate)
}

/// Sends a first flight and sees it arrive; gives back its first datagram, and whom the origin takes for the client.
pub(crate) fn begun(
    client: &UdpSocket,
    origin: &UdpSocket,
    source: &[u8],
) -> (Vec<u8>, SocketAddr) {
    let mut datagrams = flight_of(Version::V1, HOST, source);
    for datagram in &datagrams {
        client.send(datagram).unwrap();
    }
    let mut room = [0; 2000];
    let mut from = None;
    for datagram in &datagrams {
        let (length, peer) = origin.recv_from(&mut room).unwrap();
        assert_eq!(&room[..length], datagram.as_slice());
        from = Some(peer);
    }
    (datagrams.swap_remove(0), from.unwrap())
}

#[test]
fn a_reload_cuts_no_flow() {
    let origin = QuicOrigin::start();
    let upstream = Upstream::start();
    let setup = setup(&upstream, &origin);
    let gate = Gate::start(&setup);
    let client = QuicClient::new();
    let connection = client.connect(gate.addr("quic"), HOST).unwrap();
    gate.reload(&setup.set("proxy.quic-flows", "7"), "reloaded");
    assert_eq!(said(&client, &connection, "on"), answer(HOST, "on"));
}

#[test]
fn a_stop_refuses_new_connections_lets_old_ones_go_on_and_cuts_them_at_last() {
    let origin = QuicOrigin::start();
    let (_upstream, mut gate) = home(&origin);
    let client = QuicClient::new();
    let connection = client.connect(gate.addr("quic"), HOST).unwrap();
    let address = gate.addr("quic");
    gate.signal(Signal::SIGTERM);
    gate.wait_for_log("draining");
    assert_refused(client.connect(address, OTHER));
    // Kept alive by its client, so that it is not taken for an idle one.
    assert_eq!(said(&client, &connection, "last"), answer(HOST, "last"));
    gate.signal(Signal::SIGTERM);
    let line = gate.wait_for_log("ended=\"cut\"");
    assert!(line.contains("inbound=\"quic\""), "{line}");
    assert!(gate.wait_for_exit().success());
}

#[test]
fn a_flow_that_says_nothing_does_not_hold_up_a_stop() {
    let origin = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    let port = origin.local_addr().unwrap().port().to_string();
    let mut gate = Gate::start(&Setup::new(&upstream).set("proxy.quic-origin-port", &port));
    let client = raw(&gate);
    for datagram in flight(Version::V1, HOST) {
        client.send(&datagram).unwrap();
    }
    let mut room = [0; 2000];
    let (_, from) = origin.recv_from(&mut room).unwrap();
    origin.send_to(b"\x40 whatever", from).unwrap();
    client.recv(&mut room).unwrap();
    gate.signal(Signal::SIGTERM);
    let line = gate.wait_for_log("stopped");
    assert!(line.contains("cut=0"), "{line}");
    assert!(gate.wait_for_exit().success());
}
