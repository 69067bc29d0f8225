//! What A says: the table of `steer.mode`, and its exceptions.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::svcb::{SvcParamKey, SvcParamValue};
use hickory_proto::rr::{RData, RecordType};

use crate::support::{
    Ask, Gate, Reply, Setup, Upstream, aaaa, ede, https, ipv4_of, soa, soa_of, types,
};

const GATE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const REAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn upstream() -> Upstream {
    let upstream = Upstream::start();
    for owner in ["both.example", "sub.both.example", "pool.ntp.org"] {
        upstream.addresses(owner, &["192.0.2.1", "2001:db8::1"]);
    }
    upstream
        .addresses("six.example", &["2001:db8::1"])
        .addresses("four.example", &["192.0.2.1"]);
    upstream
}

/// Asserts what A says over UDP and TCP, the first time and again.
fn assert_a(gate: &Gate, owner: &str, expected: &[Ipv4Addr]) {
    let ask = Ask::new(owner, RecordType::A);
    for answer in [ask.udp(gate), ask.tcp(gate), ask.udp(gate)] {
        assert_eq!(ipv4_of(&answer), expected, "{owner}");
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::NoError,
            "{owner}"
        );
        if expected == [GATE] {
            assert_eq!(ede(&answer), Some(4), "{owner}: forged, and says so");
            assert!(answer.answers.iter().all(|record| record.ttl <= 60));
        } else {
            assert_ne!(ede(&answer), Some(4), "{owner}");
        }
    }
    let answer = Ask::new(owner, RecordType::AAAA).udp(gate);
    assert!(
        !types(&answer).concat().contains(&RecordType::AAAA),
        "{owner}"
    );
}

/// Asserts a row of the table: both families, AAAA only, A only.
fn assert_row(setup: impl Fn(Setup) -> Setup, row: [&[Ipv4Addr]; 3]) -> Gate {
    let upstream = upstream();
    let gate = Gate::start(&setup(Setup::new(&upstream)));
    for (owner, expected) in ["both.example", "six.example", "four.example"]
        .iter()
        .zip(row)
    {
        assert_a(&gate, owner, expected);
    }
    gate
}

#[test]
fn mode_off_steers_nothing_and_binds_no_transparent_listener() {
    let gate = assert_row(|s| s.mode("off"), [&[REAL], &[], &[REAL]]);
    for kind in ["tls", "plain"] {
        assert_eq!(gate.find_addr(kind), None, "{kind}");
    }
}

#[test]
fn mode_ipv6_only_is_the_default_and_steers_what_ipv4_cannot_reach() {
    assert_row(|s| s, [&[REAL], &[GATE], &[REAL]]);
    assert_row(|s| s.mode("ipv6-only"), [&[REAL], &[GATE], &[REAL]]);
}

#[test]
fn mode_address_steers_every_name() {
    assert_row(|s| s.mode("address"), [&[GATE], &[GATE], &[GATE]]);
}

#[test]
fn mode_address_with_names_ipv6_leaves_ipv4_only_names_alone() {
    assert_row(
        |s| s.mode("address").set("steer.names", r#""ipv6""#),
        [&[GATE], &[GATE], &[REAL]],
    );
}

#[test]
fn a_missing_name_is_not_steered() {
    let upstream = upstream();
    let gate = Gate::start(&Setup::new(&upstream).mode("address"));
    let answer = Ask::new("missing.example", RecordType::A).udp(&gate);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn the_ttl_of_a_steered_answer_follows_its_key() {
    let upstream = upstream();
    let gate = Gate::start(&Setup::new(&upstream).set("steer.ttl", r#""7s""#));
    let answer = Ask::new("six.example", RecordType::A).udp(&gate);
    assert_eq!(ipv4_of(&answer), [GATE]);
    assert!(answer.answers[0].ttl <= 7);
}

#[test]
fn https_of_a_steered_name_promises_only_what_the_gate_carries() {
    let upstream = upstream();
    upstream.say(
        "both.example",
        RecordType::HTTPS,
        Reply::of([https("both.example")]),
    );
    let setup = Setup::new(&upstream).mode("address");
    let gate = Gate::start(&setup.set("proxy.quic", "[]"));
    let answer = Ask::new("both.example", RecordType::HTTPS).udp(&gate);
    assert!(answer.answers.len() <= 1);
    for record in &answer.answers {
        let RData::HTTPS(record) = &record.data else {
            panic!("{record}");
        };
        for (key, value) in &record.0.svc_params {
            let promised = [
                SvcParamKey::Mandatory,
                SvcParamKey::Alpn,
                SvcParamKey::NoDefaultAlpn,
            ];
            assert!(promised.contains(key), "{key}");
            if let SvcParamValue::Alpn(protocols) = value {
                assert!(!protocols.0.contains(&"h3".to_owned()), "no QUIC here");
            }
        }
    }
}

#[test]
fn names_of_the_built_in_list_are_never_steered_unless_the_administrator_says_so() {
    let upstream = upstream();
    let setup = Setup::new(&upstream).mode("address");
    assert_a(&Gate::start(&setup), "pool.ntp.org", &[REAL]);
    let setup = setup.set("steer.always", r#"["ntp.org"]"#);
    assert_a(&Gate::start(&setup), "pool.ntp.org", &[GATE]);
}

#[test]
fn never_and_always_hold_for_the_name_and_what_is_below_it() {
    let upstream = upstream();
    let setup = Setup::new(&upstream);
    let never = Gate::start(
        &setup
            .clone()
            .mode("address")
            .set("steer.never", r#"["both.example"]"#),
    );
    let always = Gate::start(&setup.set("steer.always", r#"["both.example"]"#));
    for owner in ["both.example", "sub.both.example"] {
        assert_a(&never, owner, &[REAL]);
        assert_a(&always, owner, &[GATE]);
    }
    assert_a(&never, "four.example", &[GATE]);
    assert_a(&always, "four.example", &[REAL]);
}

#[test]
fn a_rule_passes_aaaa() {
    let upstream = upstream();
    let rule = "domains = [\"both.example\"]\naaaa = \"pass\"";
    let gate = Gate::start(&Setup::new(&upstream).rule(rule));
    for owner in ["both.example", "sub.both.example"] {
        let answer = Ask::new(owner, RecordType::AAAA).udp(&gate);
        assert_eq!(answer.answers.len(), 1);
        assert_eq!(answer.answers[0].data, aaaa(owner, "2001:db8::1").data);
    }
    let other = Ask::new("six.example", RecordType::AAAA).udp(&gate);
    assert!(other.answers.is_empty());
}

#[test]
fn a_rule_steers_and_the_first_that_matches_wins() {
    let upstream = upstream();
    let gate = Gate::start(
        &Setup::new(&upstream)
            .rule("domains = [\"sub.both.example\"]\nsteer = \"never\"")
            .rule("domains = [\"both.example\"]\nsteer = \"always\"")
            .rule("domains = [\"six.example\"]\nsteer = \"never\""),
    );
    assert_a(&gate, "sub.both.example", &[REAL]);
    assert_a(&gate, "both.example", &[GATE]);
    assert_a(&gate, "six.example", &[]);
}

#[test]
fn a_rule_for_other_clients_does_not_match() {
    let upstream = upstream();
    let rule = |clients: &str| format!("clients = [\"{clients}\"]\nsteer = \"always\"");
    let setup = Setup::new(&upstream);
    let other = Gate::start(&setup.clone().rule(&rule("10.9.9.9")));
    assert_a(&other, "both.example", &[REAL]);
    let ours = Gate::start(&setup.rule(&rule("127.0.0.0/8")));
    assert_a(&ours, "both.example", &[GATE]);
}

#[test]
fn loopback_is_always_a_client() {
    let upstream = upstream();
    let gate = Gate::start(&Setup::new(&upstream).set("lan.networks", r#"["10.0.0.0/8"]"#));
    assert_a(&gate, "both.example", &[REAL]);
}

#[test]
fn files_of_domains_are_read_at_the_start_and_at_a_reload() {
    let upstream = upstream();
    let folder = tempfile::TempDir::new().expect("a folder");
    // The gate leaves root for another user, and must still read them.
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).expect("mode");
    let list = |file: &str, text: &str| {
        let path = folder.path().join(file);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("mode");
        format!("[\"{}\"]", path.display())
    };
    let never = list("never.txt", "# banks\nboth.example # this one\n");
    let rule = list("rule.txt", "four.example\n");
    let setup = Setup::new(&upstream)
        .mode("address")
        .set("steer.never-files", &never)
        .rule(&format!("domain-files = {rule}\nsteer = \"never\""));
    let gate = Gate::start(&setup);
    for (owner, expected) in [
        ("both.example", REAL),
        ("sub.both.example", REAL),
        ("four.example", REAL),
        ("six.example", GATE),
    ] {
        assert_a(&gate, owner, &[expected]);
    }
    list("never.txt", "||both.example^\n");
    let problem = gate.reload(&setup, "reload failed");
    let wanted = "never.txt: line 1: `||both.example^` is no domain";
    assert!(problem.contains(wanted), "{problem}");
    assert!(problem.contains("write `both.example` alone"), "{problem}");
    assert_a(&gate, "both.example", &[REAL]);
    list("never.txt", "four.example\n");
    gate.reload(&setup, "reloaded");
    assert_a(&gate, "both.example", &[GATE]);
}

#[test]
fn an_address_inside_is_taken_out_of_what_is_outside_unless_it_is_allowed() {
    let upstream = upstream();
    upstream
        .addresses("evil.example", &["192.168.1.1", "fd00::1"])
        .addresses("nas.corp.example", &["10.1.2.3"])
        .say("example", RecordType::SOA, Reply::of([soa("example", 900)]));
    let setup = Setup::new(&upstream).mode("address");
    let gate = Gate::start(&setup);
    let ask = Ask::new("evil.example", RecordType::A);
    for answer in [ask.udp(&gate), ask.tcp(&gate)] {
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert_eq!(ipv4_of(&answer), [Ipv4Addr::UNSPECIFIED; 0]);
        assert_eq!(ede(&answer), Some(15));
        let (ttl, _) = soa_of(&answer).expect("a SOA");
        assert!(ttl <= 60);
    }
    let corp = Ask::new("nas.corp.example", RecordType::A);
    assert_eq!(ede(&corp.udp(&gate)), Some(15));
    let allowed = setup
        .clone()
        .set("dns.rebind-allow", "[\"corp.example\"]")
        .set("egress.deny", "[\"10.0.0.0/8\"]");
    gate.reload(&allowed, "reloaded");
    assert_eq!(ipv4_of(&corp.udp(&gate)), [Ipv4Addr::new(10, 1, 2, 3)]);
    assert_eq!(ede(&ask.udp(&gate)), Some(15));
    gate.reload(&setup.set("dns.rebind-allow", "[\".\"]"), "reloaded");
    assert_eq!(ipv4_of(&ask.udp(&gate)), [Ipv4Addr::new(192, 168, 1, 1)]);
}
