//! The query log: off unless asked for, switched by a reload, one line for each query, and nobody can forge one.

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

use crate::support::{Ask, Gate, PATIENCE, Reply, Setup, Upstream, exchange_udp};

fn upstream() -> Upstream {
    let upstream = Upstream::start();
    upstream
        .addresses("www.example", &["192.0.2.1", "2001:db8::1"])
        .addresses("six.example", &["2001:db8::6"])
        .addresses("evil.example", &["192.168.1.1"]);
    upstream
}

/// Asks, and returns the line that tells of it.
fn line_of(gate: &Gate, owner: &str, record_type: RecordType) -> String {
    let from = gate.log_len();
    Ask::new(owner, record_type).udp(gate);
    gate.wait_for_log_after(from, &format!(" name={owner} "))
}

#[test]
fn every_query_is_told_with_what_was_done() {
    let upstream = upstream();
    let gate = Gate::start(
        &Setup::new(&upstream)
            .set("log.queries", "true")
            .set("log.level", "\"info\""),
    );
    for (owner, record_type, told) in [
        (
            "www.example",
            RecordType::A,
            "type=A rcode=NOERROR done=\"passed\" answer=192.0.2.1 ede= cached=",
        ),
        (
            "www.example",
            RecordType::AAAA,
            "type=AAAA rcode=NOERROR done=\"withheld\" answer= ede=17 cached=",
        ),
        (
            "six.example",
            RecordType::A,
            "type=A rcode=NOERROR done=\"steered\" answer=127.0.0.1 ede=4 cached=",
        ),
        (
            "evil.example",
            RecordType::A,
            "type=A rcode=NOERROR done=\"rebind\" answer= ede=15 cached=",
        ),
        (
            "a.invalid",
            RecordType::A,
            "type=A rcode=NXDOMAIN done=\"special\"",
        ),
        (
            "www.example",
            RecordType::AXFR,
            "type=AXFR rcode=REFUSED done=\"refused\"",
        ),
    ] {
        let line = line_of(&gate, owner, record_type);
        assert!(
            line.contains(" INFO query client=127.0.0.1 transport=\"udp\""),
            "{line}"
        );
        assert!(line.contains(told), "{line}");
    }
}

#[test]
fn a_reload_switches_it_on_and_off() {
    let upstream = upstream();
    let setup = Setup::new(&upstream);
    let gate = Gate::start(&setup);
    let count = || gate.log_text().matches(" INFO query client=").count();
    Ask::new("www.example", RecordType::A).udp(&gate);
    gate.reload(&setup.clone().set("log.queries", "true"), "reloaded");
    assert_eq!(count(), 0, "off by default");
    line_of(&gate, "www.example", RecordType::A);
    gate.reload(&setup, "reloaded");
    Ask::new("www.example", RecordType::A).udp(&gate);
    gate.reload(&setup, "reloaded");
    assert_eq!(count(), 1);
}

#[test]
fn a_line_is_one_json_object_where_lines_are_json() {
    let upstream = upstream();
    let setup = Setup::new(&upstream)
        .set("log.format", "\"json\"")
        .set("log.queries", "true");
    let gate = Gate::launch(&setup);
    let listening = gate.wait_for_log("\"kind\":\"dns-udp\"");
    let listening: serde_json::Value = serde_json::from_str(&listening).expect("one object");
    let addr = listening["addr"].as_str().expect("an address").parse();
    gate.wait_for_log("\"message\":\"ready\"");
    let packet = Ask::new("www.example", RecordType::A).bytes();
    let to = addr.expect("an address");
    exchange_udp(to, &packet, PATIENCE).expect("an answer");
    let line = gate.wait_for_log("\"message\":\"query\"");
    let line: serde_json::Value = serde_json::from_str(&line).expect("one object");
    assert_eq!(line["cached"], false);
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("transport", "udp"),
        ("name", "www.example"),
        ("type", "A"),
        ("rcode", "NOERROR"),
        ("done", "passed"),
        ("answer", "192.0.2.1"),
        ("ede", ""),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    assert!(line["ms"].is_number(), "{line}");
    exchange_udp(to, &packet, PATIENCE).expect("an answer");
    gate.wait_for_log("\"cached\":true");
}

#[test]
fn a_hostile_name_stays_within_its_field() {
    let upstream = upstream();
    upstream.otherwise(Reply::of([]));
    let gate = Gate::start(&Setup::new(&upstream).set("log.queries", "true"));
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let labels: [&[u8]; 2] = [b"x\n\x1b[2J done=local", b"example"];
    let name = Name::from_labels(labels).expect("a name");
    message.add_query(Query::query(name, RecordType::A));
    let packet = message.to_vec().expect("a packet");
    exchange_udp(gate.addr("dns-udp"), &packet, PATIENCE).expect("an answer");
    let line = gate.wait_for_log("query client=");
    assert!(
        line.contains(" name=x\\010\\027\\0912J\\032done\\061local.example type=A"),
        "{line}"
    );
}
