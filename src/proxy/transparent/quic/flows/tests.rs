//! The table of flows, with datagrams as clients and servers send them.

use super::super::super::super::sniff::quic::client_initial;
use super::super::super::super::sniff::quic::packet::Version;
use super::*;

const LIMITS: (usize, usize) = (5, 3);

fn path(client: &str) -> Path {
    Path {
        client: client.parse().unwrap(),
        local: Some([192, 168, 1, 2].into()),
    }
}

fn initial(made: &[u8]) -> Vec<u8> {
    client_initial(made, Version::V1, made, b"client", 0, &[1], 1200).unwrap()
}

/// An answer of a server, or a later packet of a client.
fn handshake(destination: &[u8], source: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xe0, 0, 0, 0, 1, u8::try_from(destination.len()).unwrap()];
    bytes.extend(destination);
    bytes.push(u8::try_from(source.len()).unwrap());
    bytes.extend(source);
    bytes.extend([0x40, 20]);
    bytes.extend([0; 20]);
    bytes
}

fn short(destination: &[u8]) -> Vec<u8> {
    [&[0x40][..], destination, &[9; 30]].concat()
}

fn begun(flows: &mut Flows<Key>, path: Path, made: &[u8]) -> Key {
    let datagram = initial(made);
    assert_eq!(flows.find(path, &datagram), Found::New);
    flows.insert(path, &datagram, LIMITS, |key| key).unwrap()
}

#[test]
fn all_datagrams_of_a_path_with_one_flow_are_its() {
    let mut flows = Flows::default();
    let here = path("192.168.1.9:4000");
    let key = begun(&mut flows, here, b"made by client");
    for datagram in [
        initial(b"made by client"),
        handshake(b"whatever", b"client"),
        short(b"whatever"),
        vec![0x40],
    ] {
        assert_eq!(flows.find(here, &datagram), Found::Flow(key));
    }
    flows.remove(key);
    assert_eq!(flows.find(here, &short(b"whatever")), Found::Stray);
    assert_eq!(flows.find(here, &initial(b"made by client")), Found::New);
}

#[test]
fn a_client_may_have_many_connections_on_one_port() {
    let mut flows = Flows::default();
    let here = path("192.168.1.9:4000");
    let one = begun(&mut flows, here, b"made for one");
    let two = begun(&mut flows, here, b"made for two");
    flows.learn(one, &handshake(b"client", b"server one"));
    flows.learn(two, &handshake(b"client", b"server two, longer"));
    for (datagram, key) in [
        (initial(b"made for one"), one),
        (handshake(b"server one", b"client"), one),
        (short(b"server one"), one),
        (handshake(b"server two, longer", b"client"), two),
        (short(b"server two, longer"), two),
        (short(b"not seen"), two),
    ] {
        assert_eq!(flows.find(here, &datagram), Found::Flow(key));
    }
}

#[test]
fn after_a_retry_the_new_initial_packet_is_of_the_same_flow() {
    let mut flows = Flows::default();
    let here = path("192.168.1.9:4000");
    let key = begun(&mut flows, here, b"made by client");
    let mut retry = handshake(b"client", b"of the retry");
    retry[0] = 0xf0;
    flows.learn(key, &retry);
    assert_eq!(
        flows.find(here, &initial(b"of the retry")),
        Found::Flow(key)
    );
}

#[test]
fn a_flow_follows_its_client_to_another_port_by_its_id() {
    let mut flows = Flows::default();
    let (old, new) = (path("192.168.1.9:4000"), path("192.168.1.9:5000"));
    let key = begun(&mut flows, old, b"made by client");
    begun(&mut flows, path("192.168.1.9:4001"), b"another one");
    flows.learn(key, &handshake(b"client", b"the server"));
    assert_eq!(flows.find(new, &short(b"the server")), Found::Flow(key));
    assert_eq!(flows.path(key), Some(new));
    // Another device does not get at it.
    let other = path("192.168.1.10:4000");
    assert_eq!(flows.find(other, &short(b"the server")), Found::Stray);
    assert_eq!(
        flows.find(other, &handshake(b"the server", b"")),
        Found::Stray
    );
    assert_eq!(flows.path(key), Some(new));
}

#[test]
fn the_only_flow_of_a_client_follows_it_once_it_is_silent_where_it_was() {
    let mut flows = Flows::default();
    let (old, new) = (path("192.168.1.9:4000"), path("192.168.1.9:5000"));
    let key = begun(&mut flows, old, b"made by client");
    // Last words of a flow that is forgotten come between those of the one that lives.
    for _ in 0..3 {
        assert_eq!(flows.find(new, &short(b"unknown")), Found::Flow(key));
        assert_eq!(flows.find(old, &short(b"any")), Found::Flow(key));
        assert_eq!(flows.path(key), Some(old));
    }
    flows.find(new, &short(b"unknown"));
    flows.find(new, &short(b"unknown"));
    assert_eq!(flows.path(key), Some(new));
    // And back.
    flows.find(old, &short(b"unknown"));
    flows.find(old, &short(b"unknown"));
    assert_eq!(flows.path(key), Some(old));
    // With two of them there is no telling.
    begun(&mut flows, path("192.168.1.9:4001"), b"another one");
    assert_eq!(flows.find(new, &short(b"unknown")), Found::Stray);
}

#[test]
fn who_speaks_another_version_is_told_ours_and_one_within_a_flow_is_passed_on() {
    let mut flows = Flows::default();
    let here = path("192.168.1.9:4000");
    let mut other = initial(b"made by client");
    other[4] = 0x1d;
    assert!(matches!(flows.find(here, &other), Found::Negotiate(_)));
    let key = begun(&mut flows, here, b"made by another");
    assert_eq!(flows.find(here, &other), Found::Flow(key));
}

#[test]
fn an_initial_packet_that_repeats_an_id_is_of_its_flow_until_that_is_forgotten() {
    let mut flows = Flows::default();
    let here = path("192.168.1.9:4000");
    let key = begun(&mut flows, here, b"made by client");
    flows.learn(key, &handshake(b"client", b"the server"));
    let again = initial(b"made by client");
    assert_eq!(flows.find(here, &again), Found::Flow(key));
    // Others make up what they like.
    let other = path("192.168.1.10:4000");
    assert_eq!(flows.find(other, &again), Found::New);
    flows.remove(key);
    assert_eq!(flows.find(here, &again), Found::New);
}

#[test]
fn an_id_that_is_made_up_again_for_another_connection_is_its_own() {
    let mut flows = Flows::default();
    let here = path("192.168.1.9:4000");
    let old = begun(&mut flows, here, b"made by client");
    flows.learn(old, &handshake(b"client", b"the server"));
    let made = b"made by client";
    let anew = client_initial(made, Version::V1, made, b"anew", 0, &[1], 1200).unwrap();
    assert_eq!(flows.find(here, &anew), Found::New);
    let new = flows.insert(here, &anew, LIMITS, |key| key).unwrap();
    for _ in 0..2 {
        assert_eq!(flows.find(here, &anew), Found::Flow(new));
        assert_eq!(flows.find(here, &short(b"the server")), Found::Flow(old));
    }
    // A server's ID is not the client's to make up: whatever comes with it is for that server.
    let named = b"the server";
    let odd = client_initial(named, Version::V1, named, b"anew", 0, &[1], 1200).unwrap();
    assert_eq!(flows.find(here, &odd), Found::Flow(old));
    flows.remove(old);
    assert_eq!(flows.find(here, &anew), Found::Flow(new));
    flows.remove(new);
    assert!(flows.paths.is_empty() && flows.clients.is_empty());
    assert_eq!(flows.ids, Ids::default());
}

#[test]
fn what_comes_before_the_first_packet_of_a_connection_is_of_no_flow_beside_it() {
    let mut flows = Flows::default();
    let here = path("192.168.1.9:4000");
    let key = begun(&mut flows, here, b"made by client");
    let mut early = handshake(b"of another", b"client");
    early[0] = 0xd0;
    // Shorter than any datagram may be that begins a connection (RFC 9000 section 14.1).
    let made = b"of another";
    let small = client_initial(made, Version::V1, made, b"client", 0, &[1], 1199).unwrap();
    for datagram in [early, small] {
        assert_eq!(flows.find(here, &datagram), Found::Stray);
        let elsewhere = path("192.168.1.9:4001");
        assert_eq!(flows.find(elsewhere, &datagram), Found::Stray);
    }
    let mut early = handshake(b"made by client", b"client");
    early[0] = 0xd0;
    assert_eq!(flows.find(here, &early), Found::Flow(key));
}

#[test]
fn ends_without_an_id_are_told_apart_by_their_path() {
    let mut flows = Flows::default();
    let (here, there) = (path("192.168.1.9:4000"), path("192.168.1.9:4001"));
    let made = b"made by client";
    let first = |made: &[u8]| client_initial(made, Version::V1, made, b"", 0, &[1], 1200);
    let datagram = first(made).unwrap();
    assert_eq!(flows.find(here, &datagram), Found::New);
    let one = flows.insert(here, &datagram, LIMITS, |key| key).unwrap();
    let two = begun(&mut flows, there, b"another one");
    flows.learn(one, &handshake(b"", b""));
    let nameless = client_initial(made, Version::V1, b"", b"", 1, &[1], 1200).unwrap();
    for datagram in [nameless, handshake(b"", b""), short(b"")] {
        assert_eq!(flows.find(here, &datagram), Found::Flow(one));
        assert_eq!(flows.find(there, &datagram), Found::Flow(two));
    }
    // Nothing begins with an ID that is too short to be made up (RFC 9000 section 7.2).
    let third = path("192.168.1.10:4002");
    for made in [&b""[..], b"seven!!"] {
        let datagram = first(made).unwrap();
        assert_eq!(flows.find(third, &datagram), Found::Stray);
    }
}

#[test]
fn at_the_limits_no_flow_is_taken_up_and_one_that_ends_makes_room() {
    let mut flows = Flows::default();
    let here = path("192.168.1.9:4000");
    let made = |n: u8| [n; 8];
    let first = begun(&mut flows, here, &made(1));
    begun(&mut flows, here, &made(2));
    begun(&mut flows, here, &made(3));
    let more = |flows: &mut Flows<Key>, client, n| {
        flows.insert(path(client), &initial(&made(n)), LIMITS, |key| key)
    };
    assert_eq!(more(&mut flows, "192.168.1.9:5000", 4), Err(Full::Client));
    assert!(more(&mut flows, "192.168.1.10:1", 5).is_ok());
    assert!(more(&mut flows, "192.168.1.11:1", 6).is_ok());
    assert_eq!(more(&mut flows, "192.168.1.12:1", 7), Err(Full::All));
    flows.remove(first);
    assert!(more(&mut flows, "192.168.1.9:5000", 8).is_ok());
}

#[test]
fn nothing_is_left_of_flows_that_ended() {
    let mut flows = Flows::default();
    let here = path("192.168.1.9:4000");
    for n in 0..3 {
        let key = begun(&mut flows, here, &[n; 8]);
        for more in 0..10 {
            flows.learn(key, &handshake(b"client", &[n, more, 1, 1, 1]));
        }
        flows.find(path("192.168.1.9:4001"), &short(&[n, 0, 1, 1, 1]));
    }
    assert_eq!(flows.ids.len(), 3 * MOST_IDS);
    for key in 0..3 {
        assert!(flows.remove(key).is_some());
        assert!(flows.remove(key).is_none());
    }
    assert!(flows.paths.is_empty() && flows.clients.is_empty());
    assert_eq!(flows.ids, Ids::default());
}

#[test]
fn no_datagram_panics() {
    let mut flows = Flows::default();
    let here = path("192.168.1.9:4000");
    begun(&mut flows, here, b"made by client");
    let datagram = initial(b"made by client");
    for length in 0..60 {
        flows.find(here, &datagram[..length]);
        flows.find(path("192.168.1.9:4001"), &datagram[..length]);
        flows.find(path("192.168.1.10:4001"), &datagram[..length]);
    }
}
