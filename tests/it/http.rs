//! Transparent HTTP: the origin is read from Host, and every byte passes unchanged.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use crate::support::{
    Gate, Origin, Service, Setup, Upstream, connect, has_ipv6, read_response, request,
};

const HOST: &str = "www.origin.example";

fn home() -> (Upstream, Gate, Origin) {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1", "::1"]);
    let origin = Origin::start(Service::Http);
    let port = origin.port().to_string();
    let gate = Gate::start(&Setup::new(&upstream).set("proxy.plain-origin-port", &port));
    (upstream, gate, origin)
}

#[test]
fn a_head_passes_with_its_case_order_and_spaces() {
    let (_upstream, gate, origin) = home();
    let head = format!(
        "BREW /p?q=%20 HTTP/1.1\r\nx-FIRST:   1\r\nhOsT: {HOST}\r\nX-dup: a\r\nX-Dup: b\r\n\
         Proxy-Connection: kept\r\nConnection: close\r\n\r\n"
    );
    let response = request(gate.addr("plain"), head.as_bytes()).unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(origin.heads(), [head]);
    assert_eq!(
        response.header("via"),
        None,
        "nothing is added on the way back"
    );
}

#[test]
fn a_head_in_segments_of_one_byte_is_understood() {
    let (_upstream, gate, origin) = home();
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut stream = connect(gate.addr("plain"));
    for byte in head.bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(read_response(&mut stream).unwrap().status, 200);
    assert_eq!(origin.heads(), [head]);
}

#[test]
fn a_port_in_host_is_the_port_of_the_origin() {
    let (_upstream, gate, _origin) = home();
    let other = Origin::start(Service::Http);
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}:{}\r\n\r\n", other.port());
    assert_eq!(
        request(gate.addr("plain"), head.as_bytes()).unwrap().status,
        200
    );
    assert_eq!(other.connections(), 1);
}

#[test]
fn the_target_of_an_absolute_request_stands_above_host() {
    let (_upstream, gate, origin) = home();
    let head = format!("GET http://{HOST}/ HTTP/1.1\r\nHost: missing.example\r\n\r\n");
    if let Some(response) = request(gate.addr("plain"), head.as_bytes()) {
        assert!(response.status == 200 || response.status >= 400);
        assert_eq!(response.status == 200, origin.connections() == 1);
    }
}

#[test]
fn an_upgraded_connection_carries_whatever_comes() {
    let (_upstream, gate, _origin) = home();
    let mut stream = connect(gate.addr("plain"));
    let head = format!(
        "GET /chat HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let response = read_response(&mut stream).unwrap();
    assert_eq!(response.status, 101);
    assert_eq!(response.header("upgrade"), Some("websocket"));
    for round in 0..20_u8 {
        let frame = [0x81, 3, round, 0, 255];
        stream.write_all(&frame).unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, frame);
    }
}

#[test]
fn a_body_and_the_next_request_pass_on_the_same_connection() {
    let (_upstream, gate, origin) = home();
    let mut stream = connect(gate.addr("plain"));
    for size in [0, 1, 200_000] {
        let head =
            format!("POST /{size} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {size}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b'b'; size]).unwrap();
        let response = read_response(&mut stream).unwrap();
        assert_eq!(response.report()["body"], size);
        if has_ipv6() {
            assert_eq!(response.family(), "ipv6");
        }
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn no_host_two_hosts_and_noise_are_turned_away() {
    let (_upstream, gate, origin) = home();
    for bytes in [
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: missing.example\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(),
        "\u{1}\u{2}\u{3}\r\n\r\n".to_owned(),
    ] {
        let mut stream = connect(gate.addr("plain"));
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).ok();
        if let Some(response) = read_response(&mut stream) {
            assert!(
                (400..500).contains(&response.status),
                "{bytes:?}: {}",
                response.head
            );
        }
        assert_eq!(origin.connections(), 0, "{bytes:?}");
    }
}
