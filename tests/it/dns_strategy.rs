//! Several upstreams: which of them is asked, by strategy, health and domain.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::support::{Ask, Gate, Reply, Setup, Upstream, request, txt};

/// So many names, asked one after the other; every one is answered.
fn ask_many(gate: &Gate, label: &str, count: usize) {
    for index in 0..count {
        let owner = format!("{label}{index}.example");
        let answer = Ask::new(&owner, RecordType::TXT).udp(gate);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    }
}

/// How many of these a server was asked.
fn asked(upstream: &Upstream, label: &str, count: usize) -> usize {
    (0..count)
        .map(|index| upstream.count(&format!("{label}{index}.example"), RecordType::TXT))
        .sum()
}

fn setup(servers: &[&Upstream], strategy: &str) -> Setup {
    let addresses: Vec<_> = servers.iter().map(|server| server.address()).collect();
    Setup::new(servers[0])
        .upstreams(&addresses)
        .set("dns.upstream.strategy", &format!("\"{strategy}\""))
}

#[test]
fn a_dead_server_is_asked_nothing_but_whether_it_is_back() {
    let (dead, living) = (Upstream::start(), Upstream::start());
    dead.otherwise(Reply::silence());
    let setup = setup(&[&dead, &living], "ordered").set("dns.upstream.timeout", r#""300ms""#);
    let gate = Gate::start(&setup);
    ask_many(&gate, "first", 1);
    gate.wait_for_log("upstream down");
    let head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let metrics = request(gate.addr("admin"), head).expect("metrics").text();
    assert!(
        metrics.contains("\nsekisho_upstreams_down 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("\nsekisho_upstream_seconds_count 1\n"),
        "{metrics}"
    );
    ask_many(&gate, "later", 20);
    assert_eq!(asked(&dead, "later", 20), 0);
    assert_eq!(asked(&living, "later", 20), 20);

    let from = gate.log_len();
    dead.otherwise(Reply::code(ResponseCode::NXDomain));
    gate.wait_for_log_after(from, "upstream up");
    assert!(dead.count(".", RecordType::NS) >= 1);
    ask_many(&gate, "back", 1);
    assert_eq!(asked(&dead, "back", 1), 1);
    let log = gate.log_text();
    assert_eq!(log.matches("upstream down").count(), 1);
    assert_eq!(log.matches("upstream up").count(), 1);
}

#[test]
fn fastest_prefers_the_server_that_answers_fast() {
    let (slow, fast) = (Upstream::start(), Upstream::start());
    let late = Reply::code(ResponseCode::NXDomain).late(Duration::from_secs(1));
    slow.otherwise(late);
    let gate = Gate::start(&setup(&[&slow, &fast], "fastest"));
    ask_many(&gate, "name", 30);
    assert_eq!(asked(&fast, "name", 30), 30);
    assert!(asked(&slow, "name", 30) <= 5);
}

#[test]
fn race_asks_all_and_takes_the_first_good_answer() {
    let servers = [Upstream::start(), Upstream::start(), Upstream::start()];
    servers[0].otherwise(Reply::code(ResponseCode::ServFail));
    servers[1].otherwise(Reply::code(ResponseCode::NXDomain).held());
    let gate = Gate::start(&setup(&[&servers[0], &servers[1], &servers[2]], "race"));
    ask_many(&gate, "name", 3);
    for server in &servers {
        for index in 0..3 {
            server.wait_for(&format!("name{index}.example"), RecordType::TXT);
        }
    }
}

#[test]
fn a_domain_is_asked_of_its_own_servers_and_of_no_others() {
    let (general, corp) = (Upstream::start(), Upstream::start());
    let hello = |owner: &str| Reply::of([txt(owner, "hello")]);
    general.say("a.corp.example", RecordType::TXT, hello("a.corp.example"));
    corp.say("b.corp.example", RecordType::TXT, hello("b.corp.example"))
        .say(
            "a.corp.example",
            RecordType::TXT,
            Reply::code(ResponseCode::ServFail),
        )
        .say("nas.home.arpa", RecordType::TXT, hello("nas.home.arpa"))
        .say(
            "5.1.168.192.in-addr.arpa",
            RecordType::TXT,
            hello("5.1.168.192.in-addr.arpa"),
        );
    let setup = Setup::new(&general)
        .upstream_zone("corp.example", &[corp.address()])
        .upstream_zone("home.arpa", &[corp.address()])
        .upstream_zone("168.192.in-addr.arpa", &[corp.address()]);
    let gate = Gate::start(&setup);
    for owner in [
        "b.corp.example",
        "B.Corp.Example",
        "nas.home.arpa",
        "5.1.168.192.in-addr.arpa",
    ] {
        let answer = Ask::new(owner, RecordType::TXT).udp(&gate);
        assert_eq!(answer.answers.len(), 1, "{owner}");
    }
    let answer = Ask::new("a.corp.example", RecordType::TXT).udp(&gate);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(general.seen(), []);
    let answer = Ask::new("notcorp.example", RecordType::TXT).udp(&gate);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(general.count("notcorp.example", RecordType::TXT), 1);
    assert_eq!(corp.count("notcorp.example", RecordType::TXT), 0);
}
