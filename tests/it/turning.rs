//! Transparent HTTP: a client that knows one address for many names may ask for all of them on one connection.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use crate::support::{Gate, Origin, Service, Setup, Upstream, connect, read_response};

const HOST: &str = "www.origin.example";

struct Home {
    _upstream: Upstream,
    gate: Gate,
    one: Origin,
    other: Origin,
}

impl Home {
    fn new() -> Self {
        let upstream = Upstream::start();
        upstream.addresses(HOST, &["127.0.0.1", "::1"]);
        let (one, other) = (Origin::start(Service::Http), Origin::start(Service::Http));
        let port = one.port().to_string();
        let gate = Gate::start(&Setup::new(&upstream).set("proxy.plain-origin-port", &port));
        Self {
            _upstream: upstream,
            gate,
            one,
            other,
        }
    }

    fn connect(&self) -> TcpStream {
        connect(self.gate.addr("plain"))
    }

    fn to_one(&self, path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
    }

    fn to_other(&self, path: &str) -> String {
        let port = self.other.port();
        format!("GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n")
    }
}

#[test]
fn each_request_of_a_connection_reaches_its_own_origin() {
    let home = Home::new();
    let mut stream = home.connect();
    let requests = [
        home.to_one("/1"),
        home.to_one("/2"),
        home.to_other("/3"),
        home.to_other("/4"),
        home.to_one("/5"),
    ];
    for request in &requests {
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(read_response(&mut stream).unwrap().status, 200);
    }
    let [one, two, three, four, five] = requests;
    assert_eq!(home.one.heads(), [one, two, five]);
    assert_eq!(home.other.heads(), [three, four]);
    assert_eq!(
        (home.one.connections(), home.other.connections()),
        (2, 1),
        "requests to one origin share a connection"
    );
    drop(stream);
    let sessions = r#"sekisho_sessions_total{inbound="http"}"#;
    assert_eq!(home.gate.metric(sessions), 3.0, "each turn is a session");
}

#[test]
fn requests_that_did_not_wait_are_answered_in_their_order_and_none_is_lost() {
    let home = Home::new();
    let mut stream = home.connect();
    let body = home.to_other("/in-a-body");
    let length = body.len();
    let post =
        format!("POST /2 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{body}");
    let big = home.to_other("/big/3000000");
    let all = [home.to_one("/1"), post, big, home.to_one("/4")].concat();
    stream.write_all(all.as_bytes()).unwrap();
    let mut lengths = Vec::new();
    for _ in 0..4 {
        let response = read_response(&mut stream).unwrap();
        assert_eq!(response.status, 200);
        lengths.push(response.body.len());
    }
    assert_eq!(lengths.get(2), Some(&3_000_000), "{lengths:?}");
    assert_eq!(home.other.heads(), [home.to_other("/big/3000000")]);
    assert_eq!(home.one.heads().len(), 3);
}

#[test]
fn a_head_in_segments_of_one_byte_turns_too() {
    let home = Home::new();
    let mut stream = home.connect();
    for request in [home.to_one("/"), home.to_other("/"), home.to_one("/")] {
        for byte in request.bytes() {
            stream.write_all(&[byte]).unwrap();
        }
        assert_eq!(read_response(&mut stream).unwrap().status, 200);
    }
    assert_eq!(home.one.heads(), [home.to_one("/"), home.to_one("/")]);
    assert_eq!(home.other.heads(), [home.to_other("/")]);
}

#[test]
fn what_looks_like_a_request_after_an_upgrade_is_none() {
    let home = Home::new();
    let mut stream = home.connect();
    let wish = format!(
        "GET /chat HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
    );
    stream.write_all(wish.as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 101);
    let words = home.to_other("/");
    stream.write_all(words.as_bytes()).unwrap();
    let mut back = vec![0; words.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, words.as_bytes());
    assert_eq!(home.other.connections(), 0);
}

#[test]
fn an_origin_that_cannot_be_reached_is_told_after_the_answers_of_the_others() {
    let home = Home::new();
    let mut stream = home.connect();
    let nowhere = "GET / HTTP/1.1\r\nHost: missing.example\r\n\r\n";
    let all = [&home.to_one("/1"), nowhere].concat();
    stream.write_all(all.as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 200);
    let refused = read_response(&mut stream).unwrap();
    assert_eq!(refused.status, 502, "{}", refused.head);
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(home.one.heads(), [home.to_one("/1")]);
}

#[test]
fn a_last_request_that_is_not_whole_goes_on_as_it_is() {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1", "::1"]);
    let origin = Origin::start(Service::Echo);
    let port = origin.port().to_string();
    let gate = Gate::start(&Setup::new(&upstream).set("proxy.plain-origin-port", &port));
    let mut stream = connect(gate.addr("plain"));
    let words = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\nGET / HTTP/1.1\r\nHost: ot");
    stream.write_all(words.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, format!("{words}bye"));
}
