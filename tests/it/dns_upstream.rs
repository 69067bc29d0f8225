//! Asking upstreams: the next one when one fails, TCP after TC, one question for many clients, and the cache.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::support::{Ask, Gate, PATIENCE, Reply, Setup, Upstream, a, txt};

#[test]
fn the_next_server_is_asked_when_one_fails_refuses_or_keeps_silent() {
    for (bad, strategy) in [
        (Reply::code(ResponseCode::ServFail), "ordered"),
        (Reply::code(ResponseCode::Refused), "ordered"),
        (Reply::code(ResponseCode::ServFail), "fastest"),
        (Reply::code(ResponseCode::Refused), "race"),
        (Reply::silence(), "ordered"),
        (Reply::garbage(b"\x84"), "ordered"),
    ] {
        let (first, second) = (Upstream::start(), Upstream::start());
        first.otherwise(bad);
        second.addresses("www.example", &["192.0.2.1"]);
        let gate = Gate::start(
            &Setup::new(&first)
                .upstreams(&[first.address(), second.address()])
                .set("dns.upstream.strategy", &format!("\"{strategy}\""))
                .set("dns.upstream.timeout", r#""300ms""#),
        );
        let answer = Ask::new("www.example", RecordType::A).udp(&gate);
        assert_eq!(answer.answers.len(), 1);
        first.wait_for("www.example", RecordType::A);
        assert!(second.count("www.example", RecordType::A) >= 1);
    }
}

#[test]
fn a_missing_name_is_an_answer_and_not_a_reason_to_ask_on() {
    let (first, second) = (Upstream::start(), Upstream::start());
    second.addresses("www.example", &["192.0.2.1"]);
    let setup = Setup::new(&first)
        .upstreams(&[first.address(), second.address()])
        .set("dns.upstream.strategy", r#""ordered""#);
    let gate = Gate::start(&setup);
    let answer = Ask::new("www.example", RecordType::A).udp(&gate);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(second.count("www.example", RecordType::A), 0);
}

#[test]
fn where_every_server_fails_the_client_is_told_so() {
    for bad in [Reply::code(ResponseCode::ServFail), Reply::silence()] {
        let upstream = Upstream::start();
        upstream.otherwise(bad);
        let setup = Setup::new(&upstream).set("dns.upstream.timeout", r#""300ms""#);
        let gate = Gate::start(&setup);
        for record_type in [RecordType::A, RecordType::AAAA, RecordType::TXT] {
            let answer = Ask::new("www.example", record_type).udp(&gate);
            assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        }
    }
}

#[test]
fn a_truncated_answer_is_fetched_over_tcp() {
    let upstream = Upstream::start();
    let reply = Reply::of([txt("cut.example", "whole")]).truncated();
    upstream.say("cut.example", RecordType::TXT, reply);
    let gate = Gate::start(&Setup::new(&upstream));
    let answer = Ask::new("cut.example", RecordType::TXT).udp(&gate);
    assert_eq!(answer.answers, [txt("cut.example", "whole")]);
    assert!(!answer.metadata.truncation);
    assert!(upstream.seen().iter().any(|seen| seen.tcp));
}

#[test]
fn twenty_clients_with_one_question_cost_one_question() {
    let upstream = Upstream::start();
    upstream
        .say(
            "slow.example",
            RecordType::TXT,
            Reply::of([txt("slow.example", "x")]).held(),
        )
        .say(
            "other.example",
            RecordType::TXT,
            Reply::of([txt("other.example", "x")]),
        );
    let gate = Gate::start(&Setup::new(&upstream));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut question = Ask::new("slow.example", RecordType::TXT).bytes();
    for id in 0..20 {
        question[1] = id;
        socket.send_to(&question, gate.addr("dns-udp")).unwrap();
    }
    upstream.wait_for("slow.example", RecordType::TXT);
    // The gate takes questions in order: once this one is answered, it has seen the twenty.
    Ask::new("other.example", RecordType::TXT).udp(&gate);
    upstream.release();
    let mut ids = Vec::new();
    let mut packet = [0; 1500];
    for _ in 0..20 {
        let length = socket.recv(&mut packet).unwrap();
        let answer = Message::from_vec(&packet[..length]).unwrap();
        assert_eq!(answer.answers, [txt("slow.example", "x")]);
        ids.push(packet[1]);
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..20).collect::<Vec<_>>());
    assert_eq!(upstream.count("slow.example", RecordType::TXT), 1);
}

#[test]
fn what_was_said_once_is_kept() {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1", "2001:db8::1"]);
    let gate = Gate::start(&Setup::new(&upstream));
    for owner in ["www.example", "WWW.example", "missing.example"] {
        for record_type in [RecordType::A, RecordType::AAAA, RecordType::TXT] {
            for _ in 0..3 {
                Ask::new(owner, record_type).udp(&gate);
                Ask::new(owner, record_type).tcp(&gate);
            }
            assert!(
                upstream.count(owner, record_type) <= 1,
                "{owner} {record_type}"
            );
        }
    }
}

#[test]
fn a_failure_is_not_kept_as_the_truth() {
    let upstream = Upstream::start();
    upstream.say(
        "www.example",
        RecordType::A,
        Reply::code(ResponseCode::Refused),
    );
    let setup = Setup::new(&upstream).set("dns.upstream.timeout", r#""300ms""#);
    let gate = Gate::start(&setup);
    let answer = Ask::new("www.example", RecordType::A).udp(&gate);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    upstream.say(
        "www.example",
        RecordType::A,
        Reply::of([a("www.example", "192.0.2.1")]),
    );
    // A failure may be remembered for some seconds (RFC 9520), but not for longer.
    let begun = crate::support::clock();
    loop {
        let answer = Ask::new("www.example", RecordType::A).udp(&gate);
        if answer.answers.len() == 1 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "still failing");
        std::thread::yield_now();
    }
}
