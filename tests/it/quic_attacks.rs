//! What somebody may send who wants to do harm by QUIC, to the gate, to its clients, or by it to others: floods at the
//! bound of flows, answers sent back, Retry without end, packets in one datagram that do not belong together.

use std::net::{SocketAddr, UdpSocket};

use sekisho::proxy::sniff::quic::client_initial;
use sekisho::proxy::sniff::quic::packet::{Long, Version};

use super::quic::{HOST, begun, flight, flight_of, raw, scripted};
use crate::support::{Gate, PATIENCE, Setup, Upstream};

const SESSIONS: &str = "sekisho_sessions_total{inbound=\"quic\"}";
const STRAYS: &str = "sekisho_udp_dropped_total{reason=\"stray\"}";

/// A client at another address of loopback.
fn raw_at(gate: &Gate, last: u8) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(gate.addr("quic")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// An Initial packet under an ID of its own, with nothing of a hello yet.
fn initial(made: &[u8], source: &[u8]) -> Vec<u8> {
    client_initial(made, Version::V1, made, source, 0, &[1], 1200).unwrap()
}

/// As its header says it; `kind` is the first byte.
fn long_header(kind: u8, destination: &[u8], source: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0, 1, u8::try_from(destination.len()).unwrap()];
    bytes.extend(destination);
    bytes.push(u8::try_from(source.len()).unwrap());
    bytes.extend(source);
    bytes
}

/// Early data, of `length` bytes behind its header (RFC 9000 section 17.2.3).
fn early(destination: &[u8], length: u16) -> Vec<u8> {
    let mut bytes = long_header(0xd0, destination, b"me");
    bytes.extend((0x4000 | length).to_be_bytes());
    bytes.resize(bytes.len() + usize::from(length), 7);
    bytes
}

fn of_other_version(mut datagram: Vec<u8>) -> Vec<u8> {
    datagram[1..5].copy_from_slice(&0xff00_001d_u32.to_be_bytes());
    datagram
}

fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut room = [0; 2000];
    let length = socket.recv(&mut room).unwrap();
    room[..length].to_vec()
}

/// Has the gate say something elsewhere, so that whatever it had to say before has come.
fn assert_silence(gate: &Gate, client: &UdpSocket) {
    let fence = raw_at(gate, 3);
    let asking = of_other_version(initial(b"of another", b"me"));
    fence.send(&asking).unwrap();
    assert_eq!(Long::read(&received(&fence)).unwrap().version, 0);
    client.set_nonblocking(true).unwrap();
    client.recv(&mut [0; 100]).unwrap_err();
    client.set_nonblocking(false).unwrap();
}

#[test]
fn a_flood_at_the_bound_is_refused_one_by_one_and_no_flow_suffers() {
    let origin = UdpSocket::bind("127.0.0.1:0").unwrap();
    origin.set_read_timeout(Some(PATIENCE)).unwrap();
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    let port = origin.local_addr().unwrap().port().to_string();
    let gate = Gate::start(
        &Setup::new(&upstream)
            .set("proxy.quic-origin-port", &port)
            .set("proxy.quic-flows", "4")
            .set("proxy.quic-flows-per-client", "2")
            .set("proxy.sniff-timeout", "\"2m\"")
            .set("egress.connect-timeout", "\"2m\""),
    );
    // One that is carried, one whose origin has not answered yet, and two that have not said where they go.
    let carried = raw(&gate);
    let (_, of_carried) = begun(&carried, &origin, b"carried");
    origin.send_to(b"\x40 first word", of_carried).unwrap();
    assert_eq!(received(&carried), b"\x40 first word");
    let dialing = raw(&gate);
    let (_, of_dialing) = begun(&dialing, &origin, b"dialing");
    let reading = raw_at(&gate, 2);
    let mut of_reading = vec![initial(b"made up!", b"reading")];
    of_reading.extend(flight_of(Version::V1, HOST, b"reading"));
    reading.send(&of_reading[0]).unwrap();
    reading.send(&initial(b"half of it", b"half")).unwrap();

    let goes_on = |round: u32| {
        let word = [&b"\x40 round "[..], &round.to_be_bytes()].concat();
        let mut room = [0; 100];
        carried.send(&word).unwrap();
        let (length, from) = origin.recv_from(&mut room).unwrap();
        assert_eq!((&room[..length], from), (word.as_slice(), of_carried));
        origin.send_to(&word, of_carried).unwrap();
        assert_eq!(received(&carried), word);
    };
    let strangers: Vec<UdpSocket> = (10..50).map(|last| raw_at(&gate, last)).collect();
    for round in 0..10_u32 {
        for (place, stranger) in (0_u32..).zip(&strangers) {
            let made = [&b"made"[..], &round.to_be_bytes(), &place.to_be_bytes()].concat();
            stranger.send(&initial(&made, b"me")).unwrap();
            // Each is answered, by less than it sent (RFC 9000 section 8.1).
            let refusal = received(stranger);
            let long = Long::read(&refusal).unwrap();
            assert_eq!((long.version, long.destination), (1, &b"me"[..]));
            assert!(refusal.len() <= 1200, "{}", refusal.len());
        }
        goes_on(round);
    }
    let refused = "sekisho_sessions_refused_total{reason=\"flows\"}";
    assert_eq!(gate.metric(refused), 400.0);
    origin.send_to(b"\x40 at last", of_dialing).unwrap();
    assert_eq!(received(&dialing), b"\x40 at last");
    for datagram in &of_reading[1..] {
        reading.send(datagram).unwrap();
    }
    let mut room = [0; 2000];
    for datagram in &of_reading {
        let (length, _) = origin.recv_from(&mut room).unwrap();
        assert_eq!(&room[..length], datagram.as_slice());
    }
    goes_on(10);
    assert_eq!(gate.metric(SESSIONS), 3.0);
}

#[test]
fn what_a_dialing_flow_is_flooded_with_stays_within_its_bounds() {
    let (origin, _upstream, gate) = scripted();
    let client = raw(&gate);
    let (_, from) = begun(&client, &origin, b"me");
    // Nobody answers; most of it is lost, here or on its way, and the flow still waits for its origin.
    for _ in 0..2_000 {
        client.send(&[0x40; 1200]).unwrap();
    }
    origin.send_to(b"\x40 at last", from).unwrap();
    assert_eq!(received(&client), b"\x40 at last");
    client.send(b"\x40 the end").unwrap();
    let mut room = [0; 2000];
    loop {
        let (length, same) = origin.recv_from(&mut room).unwrap();
        assert_eq!(same, from, "one candidate, one socket");
        if &room[..length] == b"\x40 the end" {
            break;
        }
        client.send(b"\x40 the end").unwrap();
    }
    assert_eq!(gate.metric(SESSIONS), 1.0);
}

#[test]
fn a_second_retry_is_passed_on_and_the_flow_stays_one() {
    let (origin, _upstream, gate) = scripted();
    let client = raw(&gate);
    let (_, from) = begun(&client, &origin, b"me");
    for retry in [&b"retry one"[..], b"retry two"] {
        let mut packet = long_header(0xf0, b"me", retry);
        packet.extend([9; 40]);
        origin.send_to(&packet, from).unwrap();
        assert_eq!(received(&client), packet);
        // The client makes its keys anew, from the ID of the Retry (RFC 9001 section 5.2).
        let again = initial(retry, b"me");
        client.send(&again).unwrap();
        let mut room = [0; 2000];
        let (length, same) = origin.recv_from(&mut room).unwrap();
        assert_eq!((&room[..length], same), (again.as_slice(), from));
    }
    assert_eq!(gate.metric(SESSIONS), 1.0);
}

#[test]
fn what_the_gate_says_is_not_answered_when_it_comes_back() {
    let (_origin, _upstream, gate) = scripted();
    let client = raw(&gate);
    client
        .send(&of_other_version(initial(b"made up!", b"long enough")))
        .unwrap();
    let negotiation = received(&client);
    assert_eq!(Long::read(&negotiation).unwrap().version, 0);
    for datagram in flight_of(Version::V1, "missing.example", b"long enough") {
        client.send(&datagram).unwrap();
    }
    let refusal = received(&client);
    assert_eq!(Long::read(&refusal).unwrap().version, 1);
    // To where no flow is: as they are, and as long as a first datagram has to be.
    let client = raw_at(&gate, 2);
    for said in [&negotiation, &refusal] {
        let mut longer = said.clone();
        longer.resize(1200, 0);
        client.send(said).unwrap();
        client.send(&longer).unwrap();
    }
    gate.wait_for_metric(STRAYS, 3.0);
    // Taken for the beginning of a connection, but nothing opens it.
    gate.wait_for_metric("sekisho_udp_dropped_total{reason=\"not-quic\"}", 1.0);
    assert_silence(&gate, &client);
    assert_eq!(gate.metric(SESSIONS), 1.0);
}

#[test]
fn packets_in_one_datagram_go_on_together() {
    let (origin, _upstream, gate) = scripted();
    let client = raw(&gate);
    let made = b"made up!";
    let flight = flight(Version::V1, HOST);
    // Early data stands behind what it needs (RFC 9000 section 12.2), or nobody knows whose it is.
    let wrong = [&early(made, 100)[..], &flight[0]].concat();
    client.send(&wrong).unwrap();
    gate.wait_for_metric(STRAYS, 1.0);
    let mut room = [0; 2000];
    let datagrams: Vec<Vec<u8>> = flight
        .iter()
        .map(|packet| [&packet[..], &early(made, 100)].concat())
        .collect();
    for datagram in &datagrams {
        client.send(datagram).unwrap();
    }
    for datagram in &datagrams {
        let (length, _) = origin.recv_from(&mut room).unwrap();
        assert_eq!(&room[..length], datagram.as_slice());
    }
    // Now it is known.
    client.send(&wrong).unwrap();
    let (length, _) = origin.recv_from(&mut room).unwrap();
    assert_eq!(&room[..length], wrong.as_slice());
    assert_eq!(gate.metric(STRAYS), 1.0);
}

/// RFC 9000 section 8.1 allows three times as much; the gate needs no more than one.
#[test]
fn nobody_gets_more_from_the_gate_than_was_sent_in_his_name() {
    let (origin, _upstream, gate) = scripted();
    let other = vec![of_other_version(initial(&[7; 20], &[8; 20]))];
    let unknown = flight(Version::V1, "missing.example");
    let halves = [&unknown[..], &unknown, &unknown].concat();
    // Each at an address of its own: by the same IDs, what is still said to one of them would go to the next.
    for (last, datagrams) in (2..).zip([other, unknown, halves]) {
        let client = raw_at(&gate, last);
        let mut sent = 0;
        for datagram in &datagrams {
            sent += client.send(datagram).unwrap();
        }
        let mut got = received(&client).len();
        gate.wait_for_metric("sekisho_sessions_active", 0.0);
        client.set_nonblocking(true).unwrap();
        while let Ok(more) = client.recv(&mut [0; 2000]) {
            got += more;
        }
        assert!(got * 3 < sent, "{got} of {sent}");
    }
    // What is too short to begin anything gets nothing, nor does anybody before the origin has spoken.
    let client = raw(&gate);
    let mut short = of_other_version(initial(b"made up!", b"me"));
    short.truncate(1199);
    client.send(&short).unwrap();
    assert_silence(&gate, &client);
    begun(&client, &origin, b"me");
    assert_silence(&gate, &client);
}
