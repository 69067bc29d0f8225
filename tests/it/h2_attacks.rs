//! What a client of HTTP/2 may hold open, and what it may do without end (RFC 9113 section 10.5), written frame by frame:
//! the connection ends or the gate does not mind, its memory stays, and others are served.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, beginning,
    block, farewell, frame, read_frame,
};
use hickory_proto::rr::RecordType;

use crate::support::{Gate, H2Client, Origin, Reply, Service, Setup, Upstream, connect};

const HOST: &str = "www.origin.example";

const PRIORITY: u8 = 2;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// A hundred thousand frames.
const MUCH: usize = 2 << 20;

/// Far more than anybody takes.
const ENDLESS: usize = 12 << 20;

/// How long a writer waits that the gate has stopped reading from.
const A_WHILE: Duration = Duration::from_millis(500);

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

/// Says the beginning, then this again and again, and reads everything meanwhile or nothing: how much was taken.
fn flood(gate: &Gate, begin: &[u8], again: &[u8], most: usize, reads: bool) -> usize {
    let mut stream = said(gate, begin);
    let mut writer = stream.try_clone().unwrap();
    writer.set_write_timeout(Some(A_WHILE)).unwrap();
    let many = again.repeat(64 * 1024 / again.len() + 1);
    let writing = thread::spawn(move || {
        let mut sent = 0;
        while sent < most && writer.write_all(&many).is_ok() {
            sent += many.len();
        }
        // Nothing more comes, so that whoever reads sees the end.
        writer.shutdown(Shutdown::Write).ok();
        sent
    });
    if reads {
        farewell(&mut stream);
    }
    writing.join().unwrap()
}

#[test]
fn frames_that_ask_nothing_cost_nobody_else_anything() {
    let (upstream, gate, origin) = home(|setup| setup, Service::Echo);
    let before = gate.status("VmRSS");
    let authority = format!("{HOST}:{}", origin.port());
    let fields = [(":method", "CONNECT"), (":authority", authority.as_str())];
    let tunnel = frame(HEADERS, END_HEADERS, 1, &block(&fields));
    let open = [beginning(), tunnel].concat();
    for (label, again) in [
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("PRIORITY", frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 7])),
        // With nothing in it, and with a window that soon is too large.
        ("DATA", frame(DATA, 0, 1, &[])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("unknown", frame(99, 0, 0, &[7; 8])),
    ] {
        for reads in [true, false] {
            flood(&gate, &open, &again, MUCH, reads);
            let after = gate.status("VmRSS");
            assert!(after < before + LITTLE, "{label}: {before} -> {after} KiB");
        }
    }
    assert_served(&upstream, &gate);
    gate.wait_for_metric("sekisho_sessions_active ", 0.0);
}

#[test]
fn a_header_block_without_end_ends_its_connection() {
    let (upstream, gate, origin) = home(|setup| setup, Service::Http);
    let before = gate.status("VmRSS");
    let half = [beginning(), get(&origin, 1, END_STREAM)].concat();
    let long = block(&[("x-more", &"x".repeat(100))]).repeat(100);
    for (label, payload) in [("empty", Vec::new()), ("full", long)] {
        let again = frame(CONTINUATION, 0, 1, &payload);
        let sent = flood(&gate, &half, &again, ENDLESS, true);
        assert!(sent < ENDLESS, "{label}: all of it was taken");
        let after = gate.status("VmRSS");
        assert!(after < before + LITTLE, "{label}: {before} -> {after} KiB");
    }
    gate.wait_for_metric("sekisho_http2_floods_total{reason=\"frames\"}", 2.0);
    assert_served(&upstream, &gate);
    assert!(origin.heads().is_empty());
}

#[test]
fn a_small_block_that_decodes_to_a_large_list_is_refused() {
    let (upstream, gate, origin) = home(|setup| setup, Service::Http);
    let before = gate.status("VmRSS");
    let mut stream = said(&gate, &beginning());
    // A field of 4,000 bytes into the dynamic table (RFC 7541 section 6.2.1), then it again by its index in one byte.
    let mut first = get(&origin, 1, END_HEADERS | END_STREAM).split_off(9);
    let fields = first.clone();
    first.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    first.resize(first.len() + 4_000, b'x');
    stream
        .write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &first))
        .unwrap();
    let mut bombs = Vec::new();
    for id in (3..400).step_by(2) {
        let mut fields = fields.clone();
        fields.resize(fields.len() + 15_000, 0xbe);
        bombs.extend(frame(HEADERS, END_HEADERS | END_STREAM, id, &fields));
    }
    // The gate may hang up in the middle.
    stream.write_all(&bombs).ok();
    farewell(&mut stream);
    assert!(origin.heads().len() <= 1);
    let after = gate.status("VmRSS");
    assert!(after < before + LITTLE, "{before} -> {after} KiB");
    assert_served(&upstream, &gate);
}
