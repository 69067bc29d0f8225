//! The helpers, tried on each other without the program: a test that fails later fails for the program's sake.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::support::{
    Ask, Origin, Reply, Service, Upstream, a, cname, connect, ede, exchange_tcp, exchange_udp,
    has_ipv6, https, read_response, request, rrsig, soa_of, tls_get,
};

fn ask(upstream: &Upstream, owner: &str, record_type: RecordType) -> Message {
    let question = Ask::new(owner, record_type).bytes();
    let udp = exchange_udp(upstream.address(), &question, Duration::from_secs(5)).unwrap();
    Message::from_vec(&udp).unwrap()
}

#[test]
fn the_upstream_says_what_it_was_told() {
    let upstream = Upstream::start();
    upstream
        .say(
            "www.example",
            RecordType::A,
            Reply::of([
                cname("www.example", "host.example"),
                a("host.example", "192.0.2.1"),
            ])
            .extended_error(3),
        )
        .say(
            "www.example",
            RecordType::from(46),
            Reply::of([rrsig("www.example", RecordType::A)]),
        )
        .say(
            "www.example",
            RecordType::HTTPS,
            Reply::of([https("www.example")]),
        );
    let answer = ask(&upstream, "WWW.example", RecordType::A);
    assert_eq!(answer.answers.len(), 2);
    assert_eq!(ede(&answer), Some(3));
    let empty = ask(&upstream, "www.example", RecordType::AAAA);
    assert_eq!(empty.metadata.response_code, ResponseCode::NoError);
    assert_eq!(soa_of(&empty).unwrap().0, 900);
    let missing = ask(&upstream, "other.example", RecordType::AAAA);
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    for record_type in [RecordType::HTTPS, RecordType::from(46)] {
        assert_eq!(ask(&upstream, "www.example", record_type).answers.len(), 1);
    }
    assert_eq!(upstream.count("www.example", RecordType::A), 1);
    assert_eq!(upstream.seen().len(), 5);
}

#[test]
fn the_upstream_truncates_waits_and_keeps_silent() {
    let upstream = Upstream::start();
    let long = (1..=100).map(|n| a("long.example", &format!("192.0.2.{n}")));
    upstream
        .say("long.example", RecordType::A, Reply::of(long))
        .say("mute.example", RecordType::A, Reply::silence())
        .say("odd.example", RecordType::A, Reply::garbage(b"?"))
        .say(
            "held.example",
            RecordType::A,
            Reply::of([a("held.example", "192.0.2.1")]).held(),
        );
    let cut = ask(&upstream, "long.example", RecordType::A);
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let question = Ask::new("long.example", RecordType::A).bytes();
    let whole = exchange_tcp(upstream.address(), &question, Duration::from_secs(5)).unwrap();
    assert_eq!(Message::from_vec(&whole).unwrap().answers.len(), 100);

    let short = Duration::from_millis(100);
    for silent in ["mute.example", "held.example"] {
        let question = Ask::new(silent, RecordType::A).bytes();
        assert!(
            exchange_udp(upstream.address(), &question, short).is_none(),
            "{silent}"
        );
    }
    let question = Ask::new("odd.example", RecordType::A).bytes();
    assert_eq!(
        exchange_udp(upstream.address(), &question, short).unwrap()[2..],
        *b"?"
    );
    upstream.release();
    assert_eq!(
        ask(&upstream, "held.example", RecordType::A).answers.len(),
        1
    );
}

#[test]
fn an_origin_reports_the_family_and_the_bytes() {
    let origin = Origin::start(Service::Http);
    let head = "POST /x HTTP/1.1\r\nhOST: a.example\r\nContent-Length: 3\r\n\r\n";
    let bytes = format!("{head}abc");
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, origin.port()));
    let response = request(to, bytes.as_bytes()).unwrap();
    assert_eq!(
        (response.status, response.family()),
        (200, "ipv4".to_owned())
    );
    let report = response.report();
    assert_eq!(report["head"], head);
    assert_eq!(report["body"], 3);
    assert_eq!(origin.heads(), [head]);
    if has_ipv6() {
        let to = SocketAddr::from((Ipv6Addr::LOCALHOST, origin.port()));
        assert_eq!(request(to, bytes.as_bytes()).unwrap().family(), "ipv6");
    }
    let big = request(to, b"GET /big/100000 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(big.body.len(), 100_000);
}

#[test]
fn an_origin_speaks_tls_upgrades_and_echoes() {
    let origin = Origin::start(Service::Tls);
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, origin.port()));
    let response = tls_get(connect(to), "a.origin.example", "/").unwrap();
    assert_eq!(response.family(), "ipv4");

    let origin = Origin::start(Service::Http);
    let mut stream = connect(SocketAddr::from((Ipv4Addr::LOCALHOST, origin.port())));
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\n\r\nping")
        .unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 101);
    let mut back = [0; 4];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ping");

    let origin = Origin::start(Service::Echo);
    let mut stream = connect(SocketAddr::from((Ipv4Addr::LOCALHOST, origin.port())));
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "hellobye");
}
