//! CONNECT: a tunnel that carries every byte and both ends' ends, or an error that says why not.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::thread;

use crate::support::{
    Gate, Origin, Reach, Service, Setup, Upstream, connect, read_response, request, tls_get, tunnel,
};

fn home() -> (Upstream, Gate) {
    let upstream = Upstream::start();
    upstream.addresses("www.origin.example", &["127.0.0.1", "::1"]);
    let gate = Gate::start(&Setup::new(&upstream));
    (upstream, gate)
}

#[test]
fn a_tunnel_carries_tls_from_end_to_end() {
    let (_upstream, gate) = home();
    let origin = Origin::start(Service::Tls);
    let target = format!("www.origin.example:{}", origin.port());
    let (stream, response) = tunnel(gate.addr("http"), &target);
    assert_eq!(response.status, 200);
    assert_eq!(
        response.header("content-length"),
        None,
        "RFC 9110 section 9.3.6"
    );
    assert_eq!(response.header("transfer-encoding"), None);
    let response = tls_get(stream, "www.origin.example", "/").unwrap();
    assert_eq!(response.status, 200);
}

#[test]
fn the_end_of_one_direction_leaves_the_other_open() {
    let (_upstream, gate) = home();
    let origin = Origin::start(Service::Echo);
    let target = format!("www.origin.example:{}", origin.port());
    let (mut stream, _) = tunnel(gate.addr("http"), &target);
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "last wordsbye");
}

#[test]
fn bytes_sent_with_the_request_belong_to_the_tunnel() {
    let (_upstream, gate) = home();
    let origin = Origin::start(Service::Echo);
    let target = format!("www.origin.example:{}", origin.port());
    let mut stream = connect(gate.addr("http"));
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nearly");
    stream.write_all(head.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 200"), "{all}");
    assert!(all.ends_with("\r\n\r\nearlybye"), "{all}");
}

#[test]
fn a_big_transfer_is_whole_in_both_directions() {
    const SIZE: usize = 20_000_000;
    let (_upstream, gate) = home();
    let origin = Origin::start(Service::Echo);
    let target = format!("www.origin.example:{}", origin.port());
    let (mut stream, _) = tunnel(gate.addr("http"), &target);
    let mut writer = stream.try_clone().unwrap();
    let sent: Vec<u8> = (0..SIZE).map(|n| (n % 251).to_le_bytes()[0]).collect();
    let mut expected = sent.clone();
    expected.extend(b"bye");
    let writing = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    writing.join().unwrap();
    assert!(all == expected, "{} of {} bytes", all.len(), expected.len());
}

#[test]
fn an_address_is_a_target_too() {
    let (_upstream, gate) = home();
    let origin = Origin::start(Service::Http);
    for host in ["127.0.0.1", "[::1]"] {
        if host != "127.0.0.1" && !crate::support::has_ipv6() {
            println!("skipped: this machine has no ::1");
            continue;
        }
        let (mut stream, response) =
            tunnel(gate.addr("http"), &format!("{host}:{}", origin.port()));
        assert_eq!(response.status, 200, "{host}");
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        assert_eq!(read_response(&mut stream).unwrap().status, 200);
    }
}

#[test]
fn a_refused_connection_is_a_bad_gateway() {
    let (_upstream, gate) = home();
    let origin = Origin::reached(Service::Http, Reach::Refuses, Reach::Refuses);
    let target = format!("www.origin.example:{}", origin.port());
    let (_, response) = tunnel(gate.addr("http"), &target);
    assert_eq!(response.status, 502);
    let why = response.header("proxy-status").unwrap();
    assert!(why.contains("error=connection_refused"), "{why}");
    assert!(!response.body.is_empty());
}

#[test]
fn silence_is_a_gateway_timeout() {
    let upstream = Upstream::start();
    upstream.addresses("www.origin.example", &["127.0.0.1", "::1"]);
    let gate = Gate::start(&Setup::new(&upstream).set("egress.connect-timeout", r#""800ms""#));
    let origin = Origin::reached(Service::Http, Reach::Swallows, Reach::Swallows);
    let target = format!("www.origin.example:{}", origin.port());
    let (_, response) = tunnel(gate.addr("http"), &target);
    assert_eq!(response.status, 504);
    let why = response.header("proxy-status").unwrap();
    assert!(why.contains("error=connection_timeout"), "{why}");
}

#[test]
fn a_target_without_a_port_or_with_a_bad_one_is_a_bad_request() {
    let (_upstream, gate) = home();
    for target in [
        "www.origin.example",
        "www.origin.example:0",
        "www.origin.example:99999",
        ":443",
    ] {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let response = request(gate.addr("http"), head.as_bytes()).expect("an answer");
        assert_eq!(response.status, 400, "{target}");
    }
}
