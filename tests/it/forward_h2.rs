//! HTTP/2 from a client of the forward proxy: the same promises as in `forward` and `connect`, on streams.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use http::{HeaderMap, Request};

use crate::support::{Gate, H2Client, Origin, PATIENCE, Service, Setup, Upstream};

const HOST: &str = "www.origin.example";

fn home(service: Service) -> (Upstream, Gate, Origin) {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1", "::1"]);
    let gate = Gate::start(&Setup::new(&upstream));
    (upstream, gate, Origin::start(service))
}

#[test]
fn the_origin_sees_http_1_and_hears_nothing_of_the_gate() {
    let (_upstream, gate, origin) = home(Service::Http);
    let client = H2Client::connect(gate.addr("http"));
    let authority = format!("{HOST}:{}", origin.port());
    let request = Request::post(format!("http://{authority}/a?b=c"))
        .header("te", "trailers")
        .header("x-kept", "yes")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .unwrap();
    let mut stream = client.ask(request, false);
    client.say(&mut stream, b"body", true).unwrap();
    let mut response = client.answer(&mut stream);
    response.body = client.rest(&mut stream).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    let report = response.report();
    assert_eq!(report["method"], "POST");
    assert_eq!(report["path"], "/a?b=c");
    assert_eq!(report["host"], authority);
    let seen = report["head"].as_str().unwrap().to_ascii_lowercase();
    assert!(seen.contains("\r\nx-kept: yes\r\n"), "{seen}");
    assert!(seen.contains("\r\ncookie: a=1; b=2\r\n"), "{seen}");
    for silent in [
        "via:",
        "forwarded:",
        "x-forwarded-for:",
        ":authority",
        ":path",
    ] {
        assert!(!seen.contains(&format!("\r\n{silent}")), "{seen}");
    }
    for hop in ["connection", "keep-alive", "transfer-encoding", "via"] {
        assert_eq!(response.header(hop), None, "{}", response.head);
    }
}

#[test]
fn streams_share_the_connections_to_an_origin() {
    let (_upstream, gate, origin) = home(Service::Http);
    let client = H2Client::connect(gate.addr("http"));
    for _ in 0..5 {
        let response = client.get(&format!("http://{HOST}:{}/", origin.port()));
        assert_eq!(response.status, 200);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_long_answer_comes_whole() {
    let (_upstream, gate, origin) = home(Service::Http);
    let client = H2Client::connect(gate.addr("http"));
    let response = client.get(&format!("http://{HOST}:{}/big/3000000", origin.port()));
    assert_eq!(response.body.len(), 3_000_000);
    assert_eq!(response.header("content-length"), Some("3000000"));
}

#[test]
fn a_tunnel_carries_the_ends_of_both_sides() {
    let (_upstream, gate, origin) = home(Service::Echo);
    let client = H2Client::connect(gate.addr("http"));
    let (mut stream, response) = client.tunnel(&format!("{HOST}:{}", origin.port()));
    assert_eq!(response.status, 200);
    client.say(&mut stream, b"hello ", false).unwrap();
    assert_eq!(client.read(&mut stream).unwrap().unwrap(), "hello ");
    let much = vec![b'x'; 1_000_000];
    client.say(&mut stream, &much[..100_000], true).unwrap();
    let rest = client.rest(&mut stream).unwrap();
    assert_eq!(rest.len(), 100_000 + 3);
    // Said by the origin after it has seen the client's end.
    assert!(rest.ends_with(b"bye"));
}

#[test]
fn a_stream_that_is_reset_takes_no_other_with_it() {
    let (_upstream, gate, origin) = home(Service::Echo);
    let client = H2Client::connect(gate.addr("http"));
    let target = format!("{HOST}:{}", origin.port());
    let (mut first, _) = client.tunnel(&target);
    let (mut second, _) = client.tunnel(&target);
    client.reset(&mut first);
    client.say(&mut second, b"alive", true).unwrap();
    assert_eq!(client.rest(&mut second).unwrap(), b"alivebye");
}

#[test]
fn what_two_readers_could_take_differently_does_not_pass_from_http_2_either() {
    let (_upstream, gate, origin) = home(Service::Http);
    let client = H2Client::connect(gate.addr("http"));
    let uri = format!("http://{HOST}:{}/", origin.port());
    for (name, value) in [
        ("content-length", "4"),
        ("content-length", "5"),
        ("content-length", "+4"),
        ("host", "other.example"),
    ] {
        let request = Request::post(&uri).header("content-length", "4");
        let request = request.header(name, value).body(()).unwrap();
        let mut stream = client.ask(request, false);
        client.say(&mut stream, b"body", true);
        let response = match client.answered(&mut stream) {
            Ok(response) => response,
            // HTTP/2 has noticed it before us (RFC 9113 section 8.1.1).
            Err(error) => {
                assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR));
                continue;
            }
        };
        assert_eq!(response.status, 400, "{name}: {value}: {}", response.head);
        let why = response.header("proxy-status").expect("Proxy-Status");
        assert!(why.contains("error=http_request_error"), "{why}");
    }
    assert!(origin.heads().is_empty(), "{:?}", origin.heads());
}

#[test]
fn a_head_that_is_too_long_is_told_as_431() {
    let (_upstream, gate, origin) = home(Service::Http);
    let client = H2Client::connect(gate.addr("http"));
    let long = "x".repeat(100_000);
    let request = Request::get(format!("http://{HOST}:{}/", origin.port()));
    let mut stream = client.ask(request.header("x-long", long).body(()).unwrap(), true);
    let response = client.answer(&mut stream);
    assert_eq!(response.status, 431);
    let why = response.header("proxy-status").expect("Proxy-Status");
    assert!(why.contains("error=http_request_error"), "{why}");
    gate.wait_for_metric("sekisho_session_limits_total{limit=\"header-bytes\"}", 1.0);
    // The others go on.
    let response = client.get(&format!("http://{HOST}:{}/", origin.port()));
    assert_eq!(response.status, 200);
    assert_eq!(origin.heads().len(), 1);
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    let gate = Gate::start(&Setup::new(&upstream));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let origin = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
        let mut all = Vec::new();
        let mut byte = [0];
        while !all.ends_with(b"x-sum: 7\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            all.push(byte[0]);
        }
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Back\r\n\r\n\
                      2\r\nok\r\n0\r\nX-Back: 8\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(all).unwrap()
    });
    let client = H2Client::connect(gate.addr("http"));
    let request = Request::post(format!("http://{HOST}:{port}/")).header("trailer", "x-sum");
    let mut stream = client.ask(request.body(()).unwrap(), false);
    client.say(&mut stream, b"body", false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    client.trail(&mut stream, trailers);
    let response = client.answer(&mut stream);
    assert_eq!(response.status, 200);
    assert_eq!(client.rest(&mut stream).unwrap(), b"ok");
    let trailers = client.trailers(&mut stream).expect("trailers");
    assert_eq!(trailers["x-back"], "8");
    let seen = origin.join().unwrap();
    assert!(seen.contains("\r\n4\r\nbody\r\n0\r\n"), "{seen}");
}
