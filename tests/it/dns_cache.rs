//! The cache from outside: what it forgets when told, what it knows when the servers are gone, and what it does not ask.

use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use nix::sys::signal::Signal;

use crate::support::{
    Ask, Gate, PATIENCE, Reply, Response, Setup, Upstream, a, aaaa, clock, ede, ipv4_of, request,
    soa, soa_of, txt,
};

/// A request to the admin listener, with more lines of its head.
fn admin(gate: &Gate, method: &str, path: &str, lines: &str) -> Response {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    request(gate.addr("admin"), head.as_bytes()).expect("a response")
}

/// One number of `GET /cache`.
fn figure(gate: &Gate, key: &str) -> u64 {
    let report: serde_json::Value =
        serde_json::from_slice(&admin(gate, "GET", "/cache", "").body).unwrap();
    report[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no {key} in {report}"))
}

fn ask(gate: &Gate, owner: &str) -> usize {
    Ask::new(owner, RecordType::TXT).udp(gate).answers.len()
}

#[test]
fn a_name_a_suffix_or_all_is_forgotten_when_the_admin_says_so() {
    let upstream = Upstream::start();
    let owners = ["a.example", "b.example", "c.other.example"];
    let gate = Gate::start(&Setup::new(&upstream));
    let mut expected = [0; 3];
    for (path, forgotten, asked) in [
        ("/cache/flush?name=a.example", 1, [1, 0, 0]),
        ("/cache/flush?suffix=other.example", 1, [0, 0, 1]),
        ("/cache/flush?suffix=Example.", 3, [1, 1, 1]),
        ("/cache/flush", 3, [1, 1, 1]),
    ] {
        for owner in owners {
            ask(&gate, owner);
        }
        if expected == [0; 3] {
            expected = [1; 3];
        }
        let before = owners.map(|owner| upstream.count(owner, RecordType::TXT));
        assert_eq!(before, expected, "{path}");
        let response = admin(&gate, "POST", path, "");
        assert_eq!(response.text(), format!("{forgotten}\n"), "{path}");
        for (count, more) in expected.iter_mut().zip(asked) {
            *count += more;
        }
    }
    assert_eq!(figure(&gate, "flushes"), 4);
    assert_eq!(figure(&gate, "entries"), 0);
    let json = admin(
        &gate,
        "POST",
        "/cache/flush",
        "Accept: application/json\r\n",
    );
    assert_eq!(json.text(), "{\"flushed\":0}\n");
}

#[test]
fn a_page_in_a_browser_flushes_nothing() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::new(&upstream));
    ask(&gate, "a.example");
    let origin = "Origin: http://evil.example\r\n";
    assert_eq!(admin(&gate, "POST", "/cache/flush", origin).status, 403);
    assert_eq!(admin(&gate, "GET", "/cache/flush", "").status, 405);
    let rebound = "POST /cache/flush HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let response = request(gate.addr("admin"), rebound.as_bytes()).unwrap();
    assert_eq!(response.status, 421);
    assert_eq!(figure(&gate, "entries"), 1);
}

#[test]
fn sigusr1_forgets_everything_and_says_how_much() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::new(&upstream));
    for owner in ["a.example", "b.example"] {
        ask(&gate, owner);
    }
    gate.signal(Signal::SIGUSR1);
    let line = gate.wait_for_log("cache flushed");
    assert!(line.contains("forgotten=2"), "{line}");
    ask(&gate, "a.example");
    assert_eq!(upstream.count("a.example", RecordType::TXT), 2);
}

/// TTLs of a second, so that an answer expires while the test waits for it.
fn brief(owner: &str, address: &str) -> Reply {
    let mut record = a(owner, address);
    record.ttl = 1;
    Reply::of([record])
}

/// Asks until the answer is `done`, and returns that one.
fn until(
    gate: &Gate,
    owner: &str,
    record_type: RecordType,
    done: impl Fn(&Message) -> bool,
) -> Message {
    let begun = clock();
    loop {
        let answer = Ask::new(owner, record_type).udp(gate);
        if done(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer}");
        std::thread::yield_now();
    }
}

#[test]
fn a_gate_whose_server_dies_goes_on_with_what_it_knows_and_at_once() {
    let upstream = Upstream::start();
    let mut denial = soa("example", 1);
    if let RData::SOA(soa) = &mut denial.data {
        soa.minimum = 1;
    }
    upstream.say("a.example", RecordType::A, brief("a.example", "192.0.2.1"));
    let no = Reply::code(ResponseCode::NXDomain).authority(denial);
    upstream.say("no.example", RecordType::TXT, no);
    let mut ipv6 = aaaa("a.example", "2001:db8::1");
    ipv6.ttl = 1;
    upstream.say("a.example", RecordType::AAAA, Reply::of([ipv6]));
    let setup = Setup::new(&upstream)
        .set("dns.upstream.timeout", r#""600ms""#)
        .mode("off");
    let gate = Gate::start(&setup);
    for (owner, record_type) in [
        ("a.example", RecordType::A),
        ("a.example", RecordType::AAAA),
        ("no.example", RecordType::TXT),
    ] {
        Ask::new(owner, record_type).udp(&gate);
        upstream.say(owner, record_type, Reply::silence());
    }
    // A server that answers anything at all, a probe too, is not dead.
    upstream.otherwise(Reply::silence());
    // The first to find it expired waits for the server; by that, the server is known to be dead.
    let stale = until(&gate, "a.example", RecordType::A, |answer| {
        ede(answer) == Some(3)
    });
    assert_eq!(ipv4_of(&stale), [Ipv4Addr::new(192, 0, 2, 1)]);
    assert_eq!(stale.answers[0].ttl, 30);
    gate.wait_for_log("upstream down");
    let begun = clock();
    let again = Ask::new("a.example", RecordType::A).tcp(&gate);
    assert_eq!(ede(&again), Some(3));
    let withheld = Ask::new("a.example", RecordType::AAAA).udp(&gate);
    assert!(withheld.answers.is_empty() && soa_of(&withheld).is_some());
    let gone = until(&gate, "no.example", RecordType::TXT, |answer| {
        ede(answer).is_some()
    });
    assert_eq!(ede(&gone), Some(19));
    assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
    let taken = begun.elapsed();
    // Thrice 50 ms are promised; the server's time alone would be 600 ms each.
    assert!(taken < Duration::from_millis(550), "{taken:?}");
    upstream.say(
        "a.example",
        RecordType::A,
        Reply::of([a("a.example", "192.0.2.2")]),
    );
    let newer = until(&gate, "a.example", RecordType::A, |answer| {
        ede(answer).is_none()
    });
    assert_eq!(ipv4_of(&newer), [Ipv4Addr::new(192, 0, 2, 2)]);
    assert!(figure(&gate, "stale") >= 3);
}

#[test]
fn without_stale_answers_the_client_is_told_of_the_failure() {
    let upstream = Upstream::start();
    upstream.say("a.example", RecordType::A, brief("a.example", "192.0.2.1"));
    let setup = Setup::new(&upstream)
        .set("dns.cache.stale", r#""0s""#)
        .mode("off");
    let gate = Gate::start(&setup);
    Ask::new("a.example", RecordType::A).udp(&gate);
    upstream.say(
        "a.example",
        RecordType::A,
        Reply::code(ResponseCode::ServFail),
    );
    let failed = until(&gate, "a.example", RecordType::A, |answer| {
        answer.answers.is_empty()
    });
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn a_name_that_fails_is_asked_for_once_and_its_failure_told_alike() {
    let upstream = Upstream::start();
    let bogus = Reply::code(ResponseCode::ServFail).extended_error(6);
    upstream.say("bad.example", RecordType::TXT, bogus);
    let gate = Gate::start(&Setup::new(&upstream));
    for _ in 0..10 {
        let answer = Ask::new("bad.example", RecordType::TXT).udp(&gate);
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(ede(&answer), Some(6));
    }
    assert_eq!(upstream.count("bad.example", RecordType::TXT), 1);
    assert_eq!(figure(&gate, "failures"), 9);
    upstream.say(
        "bad.example",
        RecordType::TXT,
        Reply::of([txt("bad.example", "good")]),
    );
    admin(&gate, "POST", "/cache/flush?name=bad.example", "");
    assert_eq!(
        ask(&gate, "bad.example"),
        1,
        "a flush forgets failures, too"
    );
}

#[test]
fn below_a_missing_name_the_server_is_not_asked() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::new(&upstream));
    ask(&gate, "missing.example");
    for record_type in [RecordType::A, RecordType::AAAA, RecordType::TXT] {
        let below = Ask::new("a.b.missing.example", record_type).udp(&gate);
        assert_eq!(below.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(soa_of(&below).map(|(_, soa)| soa.minimum), Some(900));
    }
    assert_eq!(upstream.seen().len(), 1, "{:?}", upstream.seen());
    assert!(figure(&gate, "cut") >= 3);
    let off = Gate::start(&Setup::new(&upstream).set("dns.cache.nxdomain-cut", "false"));
    ask(&off, "missing.example");
    ask(&off, "a.b.missing.example");
    assert_eq!(upstream.count("a.b.missing.example", RecordType::TXT), 1);
}
