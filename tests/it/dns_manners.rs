//! The manners of the protocol, on the real program: options, class CH, and the bounds of one client.

use std::io::{Read as _, Write as _};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, RData, RecordType};

use crate::support::{
    Ask, Gate, PATIENCE, Reply, Setup, Upstream, clock, connect, ede, exchange_tcp, exchange_udp,
    name, request, txt,
};

fn home(change: impl Fn(Setup) -> Setup) -> (Upstream, Gate) {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1"]);
    let gate = Gate::start(&change(Setup::new(&upstream)));
    (upstream, gate)
}

fn question(owner: &str, record_type: RecordType, options: &[(u16, &[u8])]) -> Message {
    let mut message = Message::new(0x5e15, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(owner), record_type));
    let mut edns = Edns::new();
    for &(code, data) in options {
        let option = EdnsOption::Unknown(code, data.to_vec());
        edns.options_mut().insert(option);
    }
    message.set_edns(edns);
    message
}

fn udp(gate: &Gate, message: &Message) -> Message {
    let packet = message.to_vec().unwrap();
    let answer = exchange_udp(gate.addr("dns-udp"), &packet, PATIENCE).expect("an answer");
    Message::from_vec(&answer).unwrap()
}

fn tcp(gate: &Gate, message: &Message) -> Message {
    let packet = message.to_vec().unwrap();
    let answer = exchange_tcp(gate.addr("dns-tcp"), &packet, PATIENCE).expect("an answer");
    Message::from_vec(&answer).unwrap()
}

fn option(answer: &Message, code: u16) -> Option<Vec<u8>> {
    let option = answer.edns.as_ref()?.option(EdnsCode::from(code))?;
    Some(option.try_into().unwrap())
}

#[test]
fn a_cookie_is_learnt_over_udp_and_good_over_tcp() {
    let (_upstream, gate) = home(|setup| setup);
    let first = udp(
        &gate,
        &question("www.example", RecordType::A, &[(10, &[7; 8])]),
    );
    let learnt = option(&first, 10).unwrap();
    assert_eq!((learnt.len(), &learnt[..8]), (24, &[7; 8][..]));
    let mut alone = question("www.example", RecordType::A, &[(10, &learnt)]);
    alone.queries.clear();
    let answer = tcp(&gate, &alone);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(option(&answer, 10).unwrap(), learnt);
    let forged = [&[7; 8][..], &[1; 16]].concat();
    let mut alone = question("www.example", RecordType::A, &[(10, &forged)]);
    alone.queries.clear();
    let answer = udp(&gate, &alone);
    assert_eq!(answer.metadata.response_code, ResponseCode::BADCOOKIE);
}

#[test]
fn the_server_says_what_it_is_only_where_it_was_told_to() {
    let ask = |gate: &Gate, owner: &str| {
        let mut message = question(owner, RecordType::TXT, &[(3, &[])]);
        message.queries[0].query_class = DNSClass::CH;
        udp(gate, &message)
    };
    let (upstream, gate) = home(|setup| {
        setup
            .set("dns.version", r#""sekisho of the house""#)
            .set("dns.identity", r#""gate-a""#)
    });
    for (owner, text) in [
        ("version.bind", "sekisho of the house"),
        ("version.server", "sekisho of the house"),
        ("id.server", "gate-a"),
        ("hostname.bind", "gate-a"),
    ] {
        let answer = ask(&gate, owner);
        let RData::TXT(found) = &answer.answers[0].data else {
            panic!("{answer:?}");
        };
        assert_eq!(found.to_string(), text);
        assert_eq!(option(&answer, 3).unwrap(), b"gate-a");
    }
    gate.reload(&Setup::new(&upstream), "reloaded");
    for owner in ["version.bind", "id.server", "authors.bind"] {
        let answer = ask(&gate, owner);
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
        assert_eq!(option(&answer, 3), None);
    }
}

#[test]
fn the_idle_timeout_is_told_over_tcp_to_those_who_ask() {
    let (_upstream, gate) = home(|setup| setup.set("dns.tcp-idle-timeout", r#""7s""#));
    let asking = question("www.example", RecordType::A, &[(11, &[])]);
    assert_eq!(option(&tcp(&gate, &asking), 11), Some(vec![0, 70]));
    assert_eq!(option(&udp(&gate, &asking), 11), None);
    let wrong = question("www.example", RecordType::A, &[(11, &[0, 9])]);
    let answer = tcp(&gate, &wrong);
    assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(udp(&gate, &wrong).answers.len(), 1);
}

#[test]
fn a_client_over_its_rate_is_refused_and_told_so_and_counted() {
    let (upstream, gate) = home(|setup| setup.set("dns.rate-limit", "5"));
    let begun = clock();
    let refused = loop {
        let answer = Ask::new("www.example", RecordType::A).udp(&gate);
        if answer.metadata.response_code == ResponseCode::Refused {
            break answer;
        }
        assert!(begun.elapsed() < PATIENCE, "never refused");
    };
    assert_eq!(ede(&refused), Some(18));
    let told = String::from_utf8(option(&refused, 15).unwrap()[2..].to_vec()).unwrap();
    assert_eq!(told, "over the query rate limit of 5/s");
    let head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let metrics = request(gate.addr("admin"), head).unwrap().text();
    let line = metrics.lines();
    let mut line = line.filter(|line| line.starts_with("sekisho_dns_rate_limited_total "));
    assert!(!line.next().unwrap().ends_with(" 0"));
    gate.reload(&Setup::new(&upstream), "reloaded");
    for _ in 0..50 {
        let answer = Ask::new("www.example", RecordType::A).udp(&gate);
        assert_eq!(answer.answers.len(), 1);
    }
}

#[test]
fn the_queries_of_one_client_are_bounded_whatever_they_come_by() {
    let (upstream, gate) = home(|setup| setup.set("dns.max-queries-per-client", "1"));
    let reply = Reply::of([txt("held.example", "x")]).held();
    upstream.say("held.example", RecordType::TXT, reply);
    let held = Ask::new("held.example", RecordType::TXT).bytes();
    let mut stream = connect(gate.addr("dns-tcp"));
    let length = u16::try_from(held.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &held].concat()).unwrap();
    upstream.wait_for("held.example", RecordType::TXT);
    let more = Ask::new("www.example", RecordType::A).bytes();
    let a_while = std::time::Duration::from_millis(300);
    assert_eq!(exchange_udp(gate.addr("dns-udp"), &more, a_while), None);
    upstream.release();
    stream.read_exact(&mut [0; 2]).unwrap();
    let begun = clock();
    while exchange_udp(gate.addr("dns-udp"), &more, a_while).is_none() {
        assert!(begun.elapsed() < PATIENCE, "the place was never given back");
    }
}
