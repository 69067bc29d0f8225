//! What a client of HTTP/2 may hold open, and what it may do without end (RFC 9113 section 10.5), written frame by frame:
//! the connection ends or the gate does not mind, its memory stays, and others are served.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;

use crate::support::frames::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, beginning, block, farewell,
    frame, read_frame,
};
use hickory_proto::rr::RecordType;

use crate::support::{Gate, H2Client, Origin, Reply, Service, Setup, Upstream, connect};

const HOST: &str = "www.origin.example";

const PING: u8 = 6;

/// What a client may have us keep, in KiB.
const LITTLE: usize = 16 * 1024;

const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

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

/// Others are served.
fn assert_served(upstream: &Upstream, gate: &Gate) {
    const OTHER: &str = "other.example";
    upstream.addresses(OTHER, &["127.0.0.1"]);
    let origin = Origin::start(Service::Http);
    let client = H2Client::connect(gate.addr("http"));
    let response = client.get(&format!("http://{OTHER}:{}/", origin.port()));
    assert_eq!(response.status, 200);
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

/// Begins streams and resets them before they can be answered, so many at once, until the gate does not take it.
fn reset_without_end(gate: &Gate, target: &Origin, at_once: u32, seen_first: bool) -> Option<u32> {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let mut stream = said(gate, &beginning());
    for round in 0..4_000 / at_once {
        let ids = (0..at_once).map(|number| 2 * (round * at_once + number) + 1);
        let mut begun: Vec<u8> = ids
            .clone()
            .flat_map(|id| get(target, id, END_HEADERS | END_STREAM))
            .collect();
        if seen_first {
            begun.extend(frame(PING, 0, 0, &[7; 8]));
            if stream.write_all(&begun).is_err() {
                break;
            }
            begun.clear();
            loop {
                match read_frame(&mut stream) {
                    Ok(frame) if frame.kind == PING => break,
                    Ok(frame) if frame.kind == GOAWAY => {
                        let code = frame.payload[4..8].try_into().unwrap();
                        return Some(u32::from_be_bytes(code));
                    }
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        }
        begun.extend(ids.flat_map(|id| frame(RST_STREAM, 0, id, &CANCEL)));
        if stream.write_all(&begun).is_err() {
            break;
        }
    }
    farewell(&mut stream)
}

#[test]
fn streams_that_are_reset_before_they_are_answered_end_their_connection() {
    let (upstream, gate, origin) = home(|setup| setup, Service::Http);
    // No stream is answered before its reset.
    let reply = Reply::of([]).held();
    upstream.say(HOST, RecordType::A, reply.clone());
    upstream.say(HOST, RecordType::AAAA, reply);
    let before = gate.status("VmRSS");
    let reason = reset_without_end(&gate, &origin, 1, true);
    assert_eq!(reason, Some(ENHANCE_YOUR_CALM));
    gate.wait_for_metric("sekisho_http2_floods_total{reason=\"resets\"}", 1.0);
    gate.wait_for_metric("sekisho_sessions_active ", 0.0);
    let after = gate.status("VmRSS");
    assert!(after < before + LITTLE, "{before} -> {after} KiB");
    let begun = gate.metric("sekisho_sessions_total{inbound=\"forward\"}");
    assert!(begun < 1_000.0, "{begun} streams were taken up");
    assert_served(&upstream, &gate);
}

#[test]
fn streams_that_are_reset_with_their_first_bytes_begin_nothing() {
    let (upstream, gate, origin) = home(|setup| setup, Service::Http);
    let before = gate.status("VmRSS");
    // As many as may wait at once to be looked at, and more.
    for at_once in [50, 500] {
        let reason = reset_without_end(&gate, &origin, at_once, false);
        assert!(matches!(reason, Some(ENHANCE_YOUR_CALM) | None));
    }
    gate.wait_for_metric("sekisho_sessions_active ", 0.0);
    let after = gate.status("VmRSS");
    assert!(after < before + LITTLE, "{before} -> {after} KiB");
    let dials = origin.connections();
    assert!(dials < 500, "{dials} streams were taken to their origin");
    assert_served(&upstream, &gate);
}
