//! The screen, byte by byte.

use super::*;

const MOST: usize = 8_192;

/// What of the bytes is good where they come in pieces of this size, and what comes behind it.
fn in_pieces(mut screen: Screen, bytes: &[u8], size: usize) -> (usize, Option<Fault>) {
    let (mut start, mut end) = (0, 0);
    while end < bytes.len() {
        end = bytes.len().min(end + size);
        let seen = screen.look(&bytes[start..end]);
        start += seen.good;
        if seen.fault.is_some() {
            return (start, seen.fault);
        }
    }
    (start, None)
}

/// As [`in_pieces`], where the size of the pieces must not matter.
fn screened(screen: impl Fn() -> Screen, bytes: &[u8]) -> (usize, Option<Fault>) {
    let whole = in_pieces(screen(), bytes, bytes.len());
    for size in [1, 2, 3, 7, 64] {
        let pieces = in_pieces(screen(), bytes, size);
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(pieces, whole, "in pieces of {size}: {text}");
    }
    whole
}

fn requests(bytes: impl AsRef<[u8]>) -> (usize, Option<Fault>) {
    screened(|| Screen::requests(MOST), bytes.as_ref())
}

fn answer(bytes: impl AsRef<[u8]>) -> (usize, Option<Fault>) {
    let screen = || {
        let mut screen = Screen::responses(MOST);
        screen.ask(false);
        screen
    };
    screened(screen, bytes.as_ref())
}

/// Requests that are good to the last byte.
const GOOD: [&str; 13] = [
    "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "\r\nGET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET http://a.example/ HTTP/1.0\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nhost:\ta.example:80 \r\n\r\n",
    "GET http://[2001:db8::1]:81/?a=b HTTP/1.1\r\nHost: [2001:db8::1]:81\r\nX:\r\nY: a\tb \u{e9}\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello",
    "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 005\r\n\r\n\0\r\n\r\nGET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: cHunked\r\n\r\n\
     5;a=\"b\"\r\nhello\r\nA \r\n\r\n\r\nGET /H\r\n0\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n\
     0\r\nX: y\r\nZ: \r\n\r\nGET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n\x16\x03\n\0",
    "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n\x16\x03\n\0",
    "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\0\n",
    "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\nUpgrade: x\r\n\r\nab\0\n",
];

#[test]
fn what_has_one_meaning_passes_however_it_comes() {
    for good in GOOD {
        assert_eq!(requests(good), (good.len(), None), "{good}");
    }
}

#[test]
fn every_prefix_of_what_is_good_is_good_or_needs_more() {
    for good in GOOD {
        for end in 0..good.len() {
            let seen = Screen::requests(MOST).look(&good.as_bytes()[..end]);
            assert_eq!(seen.fault, None, "{end}: {good}");
            assert!(seen.good <= end, "{end}: {good}");
        }
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_a_fault_and_nothing_of_its_head_is_good() {
    let line = "POST http://a.example/ HTTP/1.1\r\n";
    let host = "Host: a.example\r\n";
    for (headers, fault) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            Fault::LengthAndCoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            Fault::LengthAndCoding,
        ),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Fault::Lengths),
        ("Content-Length: 5\r\ncontent-length: 5\r\n", Fault::Lengths),
        ("Content-Length: 5, 5\r\n", Fault::Length),
        ("Content-Length: +5\r\n", Fault::Length),
        ("Content-Length: -5\r\n", Fault::Length),
        ("Content-Length: 5 5\r\n", Fault::Length),
        ("Content-Length: 0x5\r\n", Fault::Length),
        ("Content-Length: 5.0\r\n", Fault::Length),
        ("Content-Length: a\r\n", Fault::Length),
        ("Content-Length:\r\n", Fault::Length),
        ("Content-Length: 9999999999999999999\r\n", Fault::Length),
        ("Transfer-Encoding: xchunked\r\n", Fault::NotChunked),
        ("Transfer-Encoding: chunked, chunked\r\n", Fault::NotChunked),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Fault::NotChunked,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            Fault::NotChunked,
        ),
        (
            "Transfer-Encoding: chunked, identity\r\n",
            Fault::NotChunked,
        ),
        ("Transfer-Encoding: identity\r\n", Fault::NotChunked),
        ("Transfer-Encoding: chunked;q=1\r\n", Fault::NotChunked),
        ("Transfer-Encoding: \"chunked\"\r\n", Fault::NotChunked),
        ("Transfer-Encoding: , chunked\r\n", Fault::NotChunked),
        ("Transfer-Encoding:\r\n", Fault::NotChunked),
        ("Transfer-Encoding: gzip, chunked\r\n", Fault::Coding),
        ("Transfer-Encoding: \x0bchunked\r\n", Fault::Control),
        ("Transfer-Encoding : chunked\r\n", Fault::Name),
        ("Transfer-Encoding\t: chunked\r\n", Fault::Name),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", Fault::Fold),
        ("Transfer-Encoding:\r\n chunked\r\n", Fault::Fold),
        ("\tX: y\r\n", Fault::Fold),
        ("X: y\nTransfer-Encoding: chunked\r\n", Fault::BareLf),
        ("X: y\rTransfer-Encoding: chunked\r\n", Fault::BareCr),
        ("X: y\r\r\n", Fault::BareCr),
        ("X: \0\r\n", Fault::Control),
        ("X\0: y\r\n", Fault::Control),
        ("X: \x7f\r\n", Fault::Control),
        ("X: \x1b[2J\r\n", Fault::Control),
        ("no colon\r\n", Fault::Name),
        (": y\r\n", Fault::Name),
        ("X(: y\r\n", Fault::Name),
        ("H\u{f6}st: y\r\n", Fault::Name),
        ("Host: b.example\r\n", Fault::Hosts),
        ("host: a.example\r\n", Fault::Hosts),
    ] {
        for headers in [format!("{host}{headers}"), format!("{headers}{host}")] {
            let head = format!("{line}{headers}\r\n");
            let (good, found) = requests(&head);
            // A line that goes on in the first header is the same fault to another reader.
            assert_eq!((good, found), (0, Some(fault)), "{head}");
            let before = GOOD[5];
            let behind = requests(format!("{before}{head}"));
            assert_eq!(behind, (before.len(), Some(fault)), "{head}");
        }
    }
}

#[test]
fn a_first_line_or_a_host_that_is_none_is_a_fault() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000));
    let mut screen = Screen::requests(1 << 20);
    assert_eq!(screen.look(long.as_bytes()).fault, Some(Fault::TooLong));
    for (head, fault) in [
        ("GET /\r\n\r\n", Fault::RequestLine),
        ("GET /\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Fault::RequestLine),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET / a HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Fault::Version),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Fault::Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Fault::Version),
        ("GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
        (
            "GET http://a#\tb HTTP/1.1\r\nHost: a\r\n\r\n",
            Fault::Target,
        ),
        (
            "GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n",
            Fault::Target,
        ),
        (
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Fault::RequestLine,
        ),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::BareLf),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::BareCr),
        ("\x16\x03\x01\x02", Fault::Control),
        ("GET / HTTP/1.1\r\n\r\n", Fault::NoHost),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Fault::Host),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Fault::Host),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", Fault::Host),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Fault::Host),
        (
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Fault::OldCoding,
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
            Fault::Body,
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            Fault::Body,
        ),
    ] {
        let (good, found) = requests(head);
        assert_eq!((good, found), (0, Some(fault)), "{head}");
    }
}

#[test]
fn chunks_are_followed_to_their_end_and_no_further() {
    let head =
        "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, good) in [
        ("5\r\nhello\r\n+5\r\nhello\r\n0\r\n\r\n", 10),
        ("0x5\r\nhello\r\n0\r\n\r\n", 1),
        ("-1\r\n", 0),
        (" 5\r\nhello\r\n", 0),
        ("\r\n", 0),
        (";a\r\n", 0),
        ("5\nhello\r\n", 1),
        ("5;a\nhello\r\n", 3),
        ("5;a\rb\r\nhello\r\n", 4),
        ("5;\0\r\nhello\r\n", 2),
        ("5 6\r\nhello\r\n", 2),
        ("5\r\nhelloX\r\n", 8),
        ("5\r\nhello\n", 8),
        ("5\r\nhello\rX", 9),
        ("1234567890abcdef\r\n", 15),
        ("0000000000000005\r\nhello\r\n", 15),
        ("0\r\n\n", 3),
        ("0\r\nX\0: y\r\n\r\n", 4),
        ("0\r\nX: y\rZ", 8),
    ] {
        let found = requests(format!("{head}{body}"));
        assert_eq!(found, (head.len() + good, Some(Fault::Chunk)), "{body:?}");
    }
    for (trailer, fault) in [
        ("X : y\r\n", Fault::Name),
        ("X: y\r\n z\r\n", Fault::Fold),
        ("no colon\r\n", Fault::Name),
    ] {
        let (_, found) = requests(format!("{head}0\r\n{trailer}\r\n"));
        assert_eq!(found, Some(fault), "{trailer:?}");
    }
    let (_, found) = requests(format!("{head}0\r\n{}\r\n", "X: y\r\n".repeat(101)));
    assert_eq!(found, Some(Fault::TooMany));
    let (_, found) = requests(format!("{head}0\r\nX: {}\r\n", "y".repeat(20_000)));
    assert_eq!(found, Some(Fault::TooLong));
    let (_, found) = requests(format!("{head}1;{}\r\n", "y".repeat(20_000)));
    assert_eq!(found, Some(Fault::Chunk));
}

#[test]
fn a_head_of_the_longest_length_passes_and_a_longer_one_does_not() {
    let head = |length: usize| {
        let start = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX: ";
        format!("{start}{}\r\n\r\n", "y".repeat(length - start.len() - 4))
    };
    assert_eq!(requests(head(MOST)), (MOST, None));
    assert_eq!(requests(head(MOST + 1)), (0, Some(Fault::TooLong)));
    let endless = "GET http://a.example/".to_owned() + &"y".repeat(MOST);
    assert_eq!(requests(endless), (0, Some(Fault::TooLong)));
    let many = |count: usize| {
        let filler = "X: y\r\n".repeat(count - 1);
        format!("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{filler}\r\n")
    };
    assert_eq!(requests(many(100)).1, None);
    assert_eq!(requests(many(101)).1, Some(Fault::TooMany));
}

#[test]
fn no_flipped_bit_panics_or_depends_on_how_the_bytes_come() {
    for good in [GOOD[1], GOOD[6], GOOD[7], GOOD[8], GOOD[12]] {
        let mut bytes = good.as_bytes().to_vec();
        for index in 0..bytes.len() {
            for bit in 0..8 {
                bytes[index] ^= 1 << bit;
                requests(&bytes);
                answer(&bytes);
                bytes[index] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn after_an_upgrade_that_came_to_nothing_only_a_clean_connection_goes_on() {
    let upgrade = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nUpgrade: x\r\n\r\n";
    let mut screen = Screen::requests(MOST);
    screen.look(upgrade.as_bytes());
    assert!(screen.is_whole() && screen.stay());
    assert_eq!(screen.look(b"\0").fault, Some(Fault::Control));
    let mut screen = Screen::requests(MOST);
    screen.look(upgrade.as_bytes());
    assert_eq!(screen.look(b"GET").good, 3);
    assert!(!screen.is_whole() && !screen.stay());
    let upload = "PUT http://a.example/ HTTP/1.1\r\nHost: a.example\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\n";
    let mut screen = Screen::requests(MOST);
    screen.look(upload.as_bytes());
    assert!(screen.stay(), "answered before the end of the request");
    assert_eq!(screen.look(b"ab\0").fault, Some(Fault::Control));
}

#[test]
fn an_answer_that_has_one_meaning_passes_with_those_before_it() {
    for good in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nto the end\0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nab",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\0\0",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
        "HTTP/1.1 200 na\u{ef}ve\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert_eq!(answer(good), (good.len(), None), "{good}");
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
    let mut screen = Screen::responses(MOST);
    screen.ask(true);
    assert_eq!(screen.look(head.as_bytes()).fault, None);
    assert!(screen.is_whole());
    assert_eq!(screen.look(b"x").fault, Some(Fault::Unasked));
}

#[test]
fn an_answer_that_could_be_read_in_two_ways_is_a_fault() {
    for (head, fault) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Fault::LengthAndCoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            Fault::Lengths,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            Fault::Length,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Fault::Coding,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
            Fault::NotChunked,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Fault::OldCoding,
        ),
        ("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", Fault::Fold),
        ("HTTP/1.1 200 OK\r\nX : y\r\n\r\n", Fault::Name),
        ("HTTP/1.1 200 OK\r\nX: y\rZ: a\r\n\r\n", Fault::BareCr),
        ("HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", Fault::Control),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            Fault::Body,
        ),
        (
            "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n",
            Fault::Body,
        ),
        ("HTTP/1.1 20 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", Fault::Version),
        ("ICY 200 OK\r\n\r\n", Fault::StatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Fault::StatusLine),
    ] {
        let (good, found) = answer(head);
        assert_eq!((good, found), (0, Some(fault)), "{head}");
    }
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answer(two.repeat(2)), (two.len(), Some(Fault::Unasked)));
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n";
    assert_eq!(answer(hints.repeat(64)).1, None);
    assert_eq!(answer(hints.repeat(65)).1, Some(Fault::Interim));
}
