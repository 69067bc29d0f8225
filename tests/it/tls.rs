//! Transparent TLS: the origin is read from SNI, however the hello is cut, and nothing is decrypted.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};

use rustls::{ClientConnection, StreamOwned};

use crate::support::{
    Gate, Origin, Response, Service, Setup, Upstream, client_hello, connect, read_response,
};

const HOST: &str = "www.origin.example";

fn home() -> (Upstream, Gate, Origin) {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1", "::1"]);
    let origin = Origin::start(Service::Tls);
    let port = origin.port().to_string();
    let gate = Gate::start(&Setup::new(&upstream).set("proxy.tls-origin-port", &port));
    (upstream, gate, origin)
}

/// A request after the hello has been sent by other means.
fn finish(client: ClientConnection, stream: TcpStream) -> Option<Response> {
    let mut tls = StreamOwned::new(client, stream);
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    tls.write_all(head.as_bytes()).ok()?;
    read_response(&mut tls)
}

/// The hello of one record cut into records of `size` bytes each.
fn records(hello: &[u8], size: usize) -> Vec<u8> {
    let (header, body) = hello.split_at(5);
    assert_eq!(
        usize::from(u16::from_be_bytes([header[3], header[4]])),
        body.len()
    );
    let mut cut = Vec::new();
    for part in body.chunks(size) {
        cut.extend(&header[..3]);
        cut.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        cut.extend(part);
    }
    cut
}

#[test]
fn a_hello_in_segments_of_one_byte_is_understood() {
    let (_upstream, gate, _origin) = home();
    let (client, hello) = client_hello(HOST);
    let mut stream = connect(gate.addr("tls"));
    for byte in hello {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(finish(client, stream).unwrap().status, 200);
}

#[test]
fn a_hello_in_many_records_is_understood() {
    let (_upstream, gate, _origin) = home();
    for size in [1, 7, 64, 300] {
        let (client, hello) = client_hello(HOST);
        let mut stream = connect(gate.addr("tls"));
        // The origin is a real TLS server: it takes a hello in records, too, if none is absurdly small.
        stream.write_all(&records(&hello, size)).unwrap();
        let response = finish(client, stream);
        if size >= 64 {
            assert_eq!(
                response.expect("an answer").status,
                200,
                "records of {size}"
            );
        }
    }
}

#[test]
fn the_session_is_with_the_origin_itself() {
    let (_upstream, gate, origin) = home();
    let (client, hello) = client_hello(HOST);
    let mut stream = connect(gate.addr("tls"));
    stream.write_all(&hello).unwrap();
    let response = finish(client, stream).unwrap();
    assert_eq!(response.report()["host"], HOST);
    assert_eq!(origin.connections(), 1);
}

/// Sends bytes and asserts that the gate ends the session and no origin hears of it.
fn assert_turned_away(gate: &Gate, origin: &Origin, bytes: &[u8]) {
    let mut stream = connect(gate.addr("tls"));
    stream.write_all(bytes).ok();
    let mut back = Vec::new();
    // A reset is an end as well.
    stream.read_to_end(&mut back).ok();
    assert!(
        back.is_empty() || back[0] == 21,
        "an alert at most: {back:?}"
    );
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_hello_without_a_name_is_turned_away() {
    let (upstream, gate, origin) = home();
    let (_, hello) = client_hello("127.0.0.1");
    assert_turned_away(&gate, &origin, &hello);
    gate.wait_for_metric("sekisho_sessions_nameless_total{inbound=\"tls\"}", 1.0);
    gate.wait_for_log("put what it asks for into steer.never");
    assert!(upstream.seen().is_empty());
}

#[test]
fn what_is_not_tls_is_turned_away() {
    let (_upstream, gate, origin) = home();
    let http = b"GET / HTTP/1.1\r\nHost: www.origin.example\r\n\r\n";
    for bytes in [
        &http[..],
        &[0; 64],
        &[0x16, 3, 1, 0, 0],
        &[0x16, 3, 1, 0xff, 0xff, 9, 9, 9],
    ] {
        assert_turned_away(&gate, &origin, bytes);
    }
}

#[test]
fn a_name_that_does_not_exist_ends_the_session() {
    let (_upstream, gate, origin) = home();
    let (_, hello) = client_hello("missing.example");
    assert_turned_away(&gate, &origin, &hello);
}

/// A hello with one extension: server names as they are written.
fn hello_with(names: &[&[u8]]) -> Vec<u8> {
    let number = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let entries: Vec<u8> = names
        .iter()
        .flat_map(|name| [&[0][..], &number(name.len()), name].concat())
        .collect();
    let list = [&number(entries.len())[..], &entries].concat();
    let extension = [&[0, 0][..], &number(list.len()), &list].concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0, 0, 2, 0x13, 0x01, 1, 0],
        &number(extension.len()),
        &extension,
    ]
    .concat();
    let message = [&[1, 0][..], &number(body.len()), &body].concat();
    [&[22, 3, 1][..], &number(message.len()), &message].concat()
}

#[test]
fn a_name_is_taken_as_dns_takes_it_and_every_byte_goes_on_as_it_came() {
    let upstream = Upstream::start();
    for name in [HOST, "xn--bcher-kva.example"] {
        upstream.addresses(name, &["127.0.0.1"]);
    }
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port().to_string();
    let gate = Gate::start(&Setup::new(&upstream).set("proxy.tls-origin-port", &port));
    let twice = [
        hello_with(&[HOST.as_bytes()]),
        hello_with(&[b"other.example"]),
    ]
    .concat();
    for (bytes, name) in [
        (hello_with(&[b"www.origin.example."]), HOST),
        (hello_with(&[b"WWW.Origin.EXAMPLE"]), HOST),
        (
            hello_with(&[b"xn--bcher-kva.example"]),
            "xn--bcher-kva.example",
        ),
        // What follows the first hello is the origin's to judge.
        (twice, HOST),
    ] {
        let mut stream = connect(gate.addr("tls"));
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let (mut end, _) = origin.accept().unwrap();
        let mut seen = Vec::new();
        end.read_to_end(&mut seen).unwrap();
        assert_eq!(seen, bytes, "{name}");
        drop(end);
        let sent = format!("sent={} ", bytes.len());
        let line = gate.wait_for_log(&sent);
        assert!(line.contains(&format!("target={name}:")), "{line}");
    }
}

#[test]
fn what_is_no_host_name_is_turned_away_and_counted() {
    let (upstream, gate, origin) = home();
    let long = [&[b'a'; 63][..]; 4].join(&b'.');
    let names: [&[&[u8]]; 10] = [
        &[b"127.0.0.1"],
        &[b"::1"],
        &[b"[::1]"],
        &["bücher.example".as_bytes()],
        &[b""],
        &[b"."],
        &[&long],
        &[&[b'a'; 300]],
        &[HOST.as_bytes(), b"other.example"],
        &[b"a b.example"],
    ];
    for (place, names) in names.iter().enumerate() {
        let mut stream = connect(gate.addr("tls"));
        stream.write_all(&hello_with(names)).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert_eq!(back.first(), Some(&21), "an alert to {place}: {back:?}");
        gate.wait_for_metric(
            "sekisho_session_failures_total{inbound=\"tls\",side=\"client\"}",
            f64::from(u32::try_from(place).unwrap() + 1),
        );
    }
    assert_eq!(long.len(), 255);
    assert_eq!(origin.connections(), 0);
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}
