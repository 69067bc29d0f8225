//! What a client of HTTP/2 may hold open, and what it may do without end (RFC 9113 section 10.5), written frame by frame:
//! the connection ends or the gate does not mind, its memory stays, and others are served.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;

use crate::support::frames::{
    END_HEADERS, END_STREAM, HEADERS, PREFACE, beginning, block, farewell, frame, read_frame,
};
use crate::support::{Gate, H2Client, Origin, Service, Setup, Upstream, connect};

const HOST: &str = "www.origin.example";

const PING: u8 = 6;

const NO_ERROR: u32 = 0;

fn home(change: impl Fn(Setup) -> Setup, service: Service) -> (Upstream, Gate, Origin) {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1", "::1"]);
    let gate = Gate::start(&change(Setup::new(&upstream)));
    (upstream, gate, Origin::start(service))
}

/// A gate that waits for a request for so short a time only.
fn hasty(setup: Setup) -> Setup {
    setup.set("proxy.sniff-timeout", r#""500ms""#)
}

/// A client that has said this.
fn said(gate: &Gate, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(gate.addr("http"));
    stream.write_all(bytes).unwrap();
    stream
}

/// GET of the root.
fn get(origin: &Origin, stream: u32, flags: u8) -> Vec<u8> {
    let authority = format!("{HOST}:{}", origin.port());
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", &authority),
        (":path", "/"),
    ];
    frame(HEADERS, flags, stream, &block(&fields))
}

#[test]
fn a_connection_that_asks_nothing_is_told_to_go() {
    let (_upstream, gate, origin) = home(hasty, Service::Http);
    let half = [beginning(), get(&origin, 1, END_STREAM)].concat();
    for beginning in [beginning(), PREFACE.to_vec(), half] {
        let mut stream = said(&gate, &beginning);
        assert_eq!(farewell(&mut stream), Some(NO_ERROR));
    }
    let whole = [beginning(), get(&origin, 1, END_STREAM | END_HEADERS)].concat();
    let mut stream = said(&gate, &whole);
    while read_frame(&mut stream).expect("an answer").kind != HEADERS {}
    assert_eq!(farewell(&mut stream), Some(NO_ERROR));
    assert_eq!(origin.heads().len(), 1);
}

#[test]
fn a_preface_that_does_not_go_on_is_hung_up_on() {
    let (_upstream, gate, _origin) = home(hasty, Service::Http);
    for length in [1, 3, 4, 14, 23] {
        let mut stream = said(&gate, &PREFACE[..length]);
        assert_eq!(farewell(&mut stream), None);
    }
}

#[test]
fn pings_do_not_keep_a_connection_that_asks_nothing() {
    let (_upstream, gate, _origin) = home(hasty, Service::Http);
    let mut stream = said(&gate, &beginning());
    let mut writer = stream.try_clone().unwrap();
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(1_000);
    let pinging = thread::spawn(move || while writer.write_all(&pings).is_ok() {});
    // What is not read yet at the end makes it a reset, which may overtake the GOAWAY.
    farewell(&mut stream);
    pinging.join().unwrap();
}

#[test]
fn a_silent_tunnel_keeps_its_connection() {
    let (_upstream, gate, origin) = home(hasty, Service::Echo);
    let client = H2Client::connect(gate.addr("http"));
    let (mut tunnel, _) = client.tunnel(&format!("{HOST}:{}", origin.port()));
    for _ in 0..2 {
        farewell(&mut said(&gate, &beginning()));
    }
    client.say(&mut tunnel, b"alive", true).unwrap();
    assert_eq!(client.rest(&mut tunnel).unwrap(), b"alivebye");
}
