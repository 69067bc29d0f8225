//! SIGHUP: what may change live does, what may not is said, and a bad file changes nothing.

use std::net::Ipv4Addr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;

use crate::support::{Ask, Gate, Origin, Service, Setup, Upstream, aaaa, ipv4_of, tunnel};

const GATE: [Ipv4Addr; 1] = [Ipv4Addr::LOCALHOST];
const REAL: [Ipv4Addr; 1] = [Ipv4Addr::new(192, 0, 2, 1)];

fn upstream() -> Upstream {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1", "2001:db8::1"]);
    upstream
}

fn ipv4(gate: &Gate, owner: &str) -> Vec<Ipv4Addr> {
    ipv4_of(&Ask::new(owner, RecordType::A).udp(gate))
}

#[test]
fn the_mode_and_the_rules_change() {
    let upstream = upstream();
    let setup = Setup::new(&upstream);
    let gate = Gate::start(&setup);
    assert_eq!(ipv4(&gate, "www.example"), REAL);
    gate.reload(&setup.clone().mode("address"), "reloaded");
    assert_eq!(ipv4(&gate, "www.example"), GATE);
    let rule = "domains = [\"www.example\"]\nsteer = \"never\"\naaaa = \"pass\"";
    gate.reload(&setup.clone().mode("address").rule(rule), "reloaded");
    assert_eq!(ipv4(&gate, "www.example"), REAL);
    let answer = Ask::new("www.example", RecordType::AAAA).udp(&gate);
    assert_eq!(
        answer.answers[0].data,
        aaaa("www.example", "2001:db8::1").data
    );
    gate.reload(&setup, "reloaded");
    let answer = Ask::new("www.example", RecordType::AAAA).udp(&gate);
    assert!(answer.answers.is_empty());
}

#[test]
fn zones_come_change_and_go() {
    let upstream = upstream();
    let setup = Setup::new(&upstream);
    let zone = |address: &str| {
        format!(
            "$ORIGIN lab.home.arpa.\n$TTL 60\n@ IN SOA ns admin 1 60 60 60 60\n@ IN NS ns\n\
             ns IN A 192.168.1.1\nhost IN A {address}\n"
        )
    };
    let gate = Gate::start(&setup);
    for last in ["192.168.1.5", "192.168.1.6"] {
        let changed = setup.clone().zone("lab.home.arpa.zone", &zone(last));
        gate.reload(&changed, "reloaded");
        let expected: Ipv4Addr = last.parse().unwrap();
        assert_eq!(ipv4(&gate, "host.lab.home.arpa"), [expected]);
    }
    gate.reload(&setup, "reloaded");
    let answer = Ask::new("host.lab.home.arpa", RecordType::A).udp(&gate);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn upstreams_change() {
    let (old, new) = (upstream(), Upstream::start());
    new.addresses("new.example", &["192.0.2.1"]);
    let gate = Gate::start(&Setup::new(&old));
    gate.reload(&Setup::new(&new), "reloaded");
    assert_eq!(ipv4(&gate, "new.example"), REAL);
    assert_eq!(old.count("new.example", RecordType::A), 0);
}

#[test]
fn a_bad_file_leaves_the_old_running_and_says_why() {
    let upstream = upstream();
    let setup = Setup::new(&upstream).mode("address");
    let gate = Gate::start(&setup);
    for (bad, why) in [
        (setup.clone().mode("sideways"), "steer.mode"),
        (setup.clone().set("steer.colour", "1"), "colour"),
        (setup.clone().set("dns.listen", "[[["), "line"),
        (
            setup.clone().set("dns.upstream.ca", r#"["/missing.pem"]"#),
            "missing.pem",
        ),
        (
            setup.clone().zone("bad.example.zone", "@ IN SOA what\n"),
            "bad.example",
        ),
    ] {
        gate.reload(&bad, "reload failed");
        gate.wait_for_log(why);
        assert_eq!(ipv4(&gate, "www.example"), GATE, "{why}");
    }
    gate.reload(&setup.mode("ipv6-only"), "reloaded");
    assert_eq!(ipv4(&gate, "www.example"), REAL);
}

#[test]
fn a_changed_listener_needs_a_restart_and_the_rest_is_done() {
    let upstream = upstream();
    let setup = Setup::new(&upstream);
    let gate = Gate::start(&setup);
    let changed = setup
        .mode("address")
        .set("dns.listen", r#"["127.0.0.1:0", "127.0.0.3:0"]"#);
    gate.reload(&changed, "needs a restart");
    gate.wait_for_log("reloaded");
    assert_eq!(ipv4(&gate, "www.example"), GATE);
}

#[test]
fn a_session_in_progress_does_not_notice() {
    use std::io::{Read as _, Write as _};
    let upstream = upstream();
    let origin = Origin::start(Service::Echo);
    let setup = Setup::new(&upstream);
    let gate = Gate::start(&setup);
    let (mut stream, _) = tunnel(gate.addr("http"), &format!("127.0.0.1:{}", origin.port()));
    gate.reload(&setup.mode("off"), "reloaded");
    stream.write_all(b"still").unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"still");
    gate.signal(Signal::SIGHUP);
    assert_eq!(ipv4(&gate, "www.example"), REAL);
}
