//! Requests of HTTP/2 that HTTP/1.1 would have another meaning for, or none (RFC 9113 sections 8.2, 8.3 and 10.3), written
//! frame by frame, as no client of ours would send them: nothing of them comes to an origin.

use std::io::Write as _;
use std::net::TcpStream;

use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, beginning, block, frame, read_frame,
};
use crate::support::{Gate, Origin, Service, Setup, Upstream, connect};

const HOST: &str = "www.origin.example";

/// `:status` 200 and 400 in the static table (RFC 7541 appendix A).
const STATUS_200: u8 = 0x88;
const STATUS_400: u8 = 0x8c;

/// What became of stream 1.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Answered(u8),
    Reset,
}

fn outcome(stream: &mut TcpStream) -> Outcome {
    loop {
        let frame = read_frame(stream).expect("a frame");
        match (frame.kind, frame.stream) {
            (HEADERS, 1) => {
                // A new size of the table may stand first.
                let status = frame.payload.iter().find(|&&byte| byte & 0xe0 != 0x20);
                return Outcome::Answered(*status.expect("a status"));
            }
            (RST_STREAM, 1) | (GOAWAY, _) => return Outcome::Reset,
            _ => {}
        }
    }
}

struct Home {
    _upstream: Upstream,
    gate: Gate,
    origin: Origin,
    authority: String,
}

impl Home {
    fn start() -> Self {
        let upstream = Upstream::start();
        upstream.addresses(HOST, &["127.0.0.1", "::1"]);
        let origin = Origin::start(Service::Http);
        Self {
            gate: Gate::start(&Setup::new(&upstream)),
            authority: format!("{HOST}:{}", origin.port()),
            origin,
            _upstream: upstream,
        }
    }

    /// What becomes of a request with these fields, where `ORIGIN` stands for the address of the origin.
    fn ask(&self, fields: &[(&str, &str)], body: Option<&[u8]>) -> Outcome {
        let fields: Vec<(&str, String)> = fields
            .iter()
            .map(|(name, value)| (*name, value.replace("ORIGIN", &self.authority)))
            .collect();
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut bytes = beginning();
        let ended = if body.is_none() { END_STREAM } else { 0 };
        bytes.extend(frame(HEADERS, END_HEADERS | ended, 1, &block(&fields)));
        if let Some(body) = body {
            bytes.extend(frame(DATA, END_STREAM, 1, body));
        }
        let mut stream = connect(self.gate.addr("http"));
        stream.write_all(&bytes).unwrap();
        outcome(&mut stream)
    }
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "ORIGIN");
const PATH: (&str, &str) = (":path", "/");

#[test]
fn a_request_written_by_hand_is_answered() {
    let home = Home::start();
    let good = [METHOD, SCHEME, AUTHORITY, PATH, ("x-kept", "yes")];
    assert_eq!(home.ask(&good, None), Outcome::Answered(STATUS_200));
    assert_eq!(home.origin.heads().len(), 1);
}

#[test]
fn no_field_that_http_1_reads_otherwise_comes_to_an_origin() {
    let home = Home::start();
    for field in [
        ("connection", "close"),
        ("connection", "x-kept"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("X-Upper", "y"),
        ("x y", "z"),
        ("x:y", "z"),
        ("x\r\ny", "z"),
        ("", "z"),
        ("x", "y\r\nsmuggled: z"),
        ("x", "y\nsmuggled: z"),
        ("x", "y\rsmuggled: z"),
        ("x", "y\0"),
        (":path", "/smuggled"),
        (":status", "200"),
        (":unknown", "x"),
    ] {
        let fields = [METHOD, SCHEME, AUTHORITY, PATH, field];
        let outcome = home.ask(&fields, None);
        let refused = matches!(outcome, Outcome::Reset | Outcome::Answered(STATUS_400));
        assert!(refused, "{field:?}: {outcome:?}");
    }
    assert!(home.origin.heads().is_empty(), "{:?}", home.origin.heads());
}

#[test]
fn no_target_that_http_1_reads_otherwise_comes_to_an_origin() {
    let home = Home::start();
    for fields in [
        // A pseudo-header behind another field, one twice, and one too few.
        &[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH][..],
        &[METHOD, METHOD, SCHEME, AUTHORITY, PATH],
        &[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH],
        &[SCHEME, AUTHORITY, PATH],
        &[METHOD, AUTHORITY, PATH],
        &[METHOD, SCHEME, AUTHORITY],
        &[METHOD, SCHEME, PATH],
        // Forms of a target, and lines, that are not what they seem to be.
        &[(":method", "GET / HTTP/1.1\r\nX:"), SCHEME, AUTHORITY, PATH],
        &[(":method", "GET "), SCHEME, AUTHORITY, PATH],
        &[(":method", ""), SCHEME, AUTHORITY, PATH],
        &[METHOD, (":scheme", "https"), AUTHORITY, PATH],
        &[METHOD, (":scheme", "http://a.example/?"), AUTHORITY, PATH],
        &[METHOD, SCHEME, AUTHORITY, (":path", "")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "*")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "smuggled")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "?smuggled")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "http://a.example/")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "/ HTTP/1.1\r\nX: y")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "/\tx")],
        &[METHOD, SCHEME, (":authority", ""), PATH],
        &[METHOD, SCHEME, (":authority", "a@ORIGIN"), PATH],
        &[METHOD, SCHEME, (":authority", "ORIGIN/smuggled"), PATH],
        &[METHOD, SCHEME, (":authority", "ORIGIN\r\nX: y"), PATH],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("host", "a.example")],
        &[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("host", "ORIGIN"),
            ("host", "a.example"),
        ],
    ] {
        let outcome = home.ask(fields, None);
        let refused = matches!(outcome, Outcome::Reset | Outcome::Answered(STATUS_400));
        assert!(refused, "{fields:?}: {outcome:?}");
    }
    assert!(home.origin.heads().is_empty(), "{:?}", home.origin.heads());
}

#[test]
fn no_body_that_is_not_as_long_as_it_says_is_a_whole_one_to_an_origin() {
    let home = Home::start();
    let fields = |length| {
        let post = (":method", "POST");
        [post, SCHEME, AUTHORITY, PATH, ("content-length", length)]
    };
    for (length, body) in [
        ("5", None),
        ("5", Some(&b"body"[..])),
        ("3", Some(b"body")),
        ("0", Some(b"body")),
        ("0x4", Some(b"body")),
        ("4, 4", Some(b"body")),
        ("18446744073709551620", Some(b"body")),
    ] {
        let outcome = home.ask(&fields(length), body);
        assert_ne!(outcome, Outcome::Answered(STATUS_200), "{length} {body:?}");
    }
    assert_eq!(
        home.ask(&fields("4"), Some(b"body")),
        Outcome::Answered(STATUS_200)
    );
}
