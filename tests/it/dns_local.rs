//! Local zones and special names: answered here, as they are, and never asked of an upstream.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};

use tempfile::TempDir;

use crate::support::{
    Ask, Gate, PATIENCE, READY, Setup, Upstream, a, clock, ipv4_of, name, run, soa_of, types,
};

const ZONE: &str = "\
$ORIGIN home.arpa.
$TTL 3600
@    IN SOA ns.home.arpa. admin.home.arpa. 1 3600 600 86400 300
@    IN NS  ns.home.arpa.
ns   IN A   192.168.1.1
nas  IN A   192.168.1.10
www  IN CNAME nas
out  IN CNAME www.example.
";

const REVERSE: &str = "\
$ORIGIN 1.168.192.in-addr.arpa.
$TTL 3600
@    IN SOA ns.home.arpa. admin.home.arpa. 1 3600 600 86400 300
@    IN NS  ns.home.arpa.
10   IN PTR nas.home.arpa.
";

fn home(mode: &str) -> (Upstream, Gate) {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1", "2001:db8::1"]);
    let gate = Gate::start(
        &Setup::new(&upstream)
            .mode(mode)
            .zone("home.arpa.zone", ZONE)
            .zone("1.168.192.in-addr.arpa.zone", REVERSE),
    );
    (upstream, gate)
}

#[test]
fn a_local_name_is_answered_as_it_is_in_every_mode() {
    for mode in ["off", "ipv6-only", "address"] {
        let (upstream, gate) = home(mode);
        let ask = Ask::new("nas.home.arpa", RecordType::A);
        for answer in [ask.udp(&gate), ask.tcp(&gate)] {
            assert_eq!(ipv4_of(&answer), [Ipv4Addr::new(192, 168, 1, 10)], "{mode}");
            assert!(answer.metadata.authoritative, "AA");
            assert_eq!(answer.answers[0].ttl, 3600);
        }
        assert!(upstream.seen().is_empty(), "{mode}: {:?}", upstream.seen());
    }
}

#[test]
fn what_a_local_zone_does_not_have_is_said_with_the_right_soa() {
    let (upstream, gate) = home("ipv6-only");
    for (owner, code) in [
        ("nas.home.arpa", ResponseCode::NoError),
        ("nothing.home.arpa", ResponseCode::NXDomain),
    ] {
        let answer = Ask::new(owner, RecordType::TXT).udp(&gate);
        assert_eq!(answer.metadata.response_code, code, "{owner}");
        assert!(answer.metadata.authoritative, "AA");
        assert!(answer.answers.is_empty());
        let (ttl, soa) = soa_of(&answer).expect("a SOA");
        assert_eq!(
            (ttl, soa.minimum),
            (300, 300),
            "the lesser of TTL and MINIMUM"
        );
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn an_address_of_the_lan_has_its_name() {
    let (_upstream, gate) = home("ipv6-only");
    let answer = Ask::new("10.1.168.192.in-addr.arpa", RecordType::PTR).udp(&gate);
    assert!(matches!(&answer.answers[0].data, RData::PTR(ptr) if ptr.0 == name("nas.home.arpa")));
}

#[test]
fn aliases_are_followed_within_the_zone_and_out_of_it() {
    let (_upstream, gate) = home("ipv6-only");
    let answer = Ask::new("www.home.arpa", RecordType::A).udp(&gate);
    assert_eq!(types(&answer)[0], [RecordType::CNAME, RecordType::A]);
    assert_eq!(ipv4_of(&answer), [Ipv4Addr::new(192, 168, 1, 10)]);

    let answer = Ask::new("out.home.arpa", RecordType::A).udp(&gate);
    assert_eq!(types(&answer)[0], [RecordType::CNAME, RecordType::A]);
    assert_eq!(answer.answers[1].data, a("www.example", "192.0.2.1").data);
    let answer = Ask::new("out.home.arpa", RecordType::AAAA).udp(&gate);
    assert_eq!(
        types(&answer)[0],
        [RecordType::CNAME],
        "AAAA of the outside is withheld here too"
    );
}

#[test]
fn wpad_is_the_gate() {
    let (upstream, gate) = home("off");
    for owner in ["wpad", "wpad.home.arpa"] {
        let answer = Ask::new(owner, RecordType::A).udp(&gate);
        assert_eq!(ipv4_of(&answer), [Ipv4Addr::LOCALHOST], "{owner}");
        let answer = Ask::new(owner, RecordType::AAAA).udp(&gate);
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::NoError,
            "{owner}"
        );
        assert!(answer.answers.is_empty(), "{owner}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn special_names_never_leave_the_lan() {
    let (upstream, gate) = home("address");
    for owner in [
        "host.invalid",
        "host.test",
        "host.onion",
        "printer.local",
        "use-application-dns.net",
        "mask.icloud.com",
        "mask-h2.icloud.com",
        "1.0.0.10.in-addr.arpa",
        "1.0.16.172.in-addr.arpa",
        "1.1.254.169.in-addr.arpa",
    ] {
        for record_type in [RecordType::A, RecordType::AAAA, RecordType::PTR] {
            let answer = Ask::new(owner, record_type).udp(&gate);
            assert_eq!(
                answer.metadata.response_code,
                ResponseCode::NXDomain,
                "{owner}"
            );
        }
    }
    let designated = Ask::new("_dns.resolver.arpa", RecordType::SVCB).udp(&gate);
    assert_eq!(designated.metadata.response_code, ResponseCode::NoError);
    assert!(designated.answers.is_empty());
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

#[test]
fn localhost_is_this_host_and_ipv4only_is_what_it_must_be() {
    let (upstream, gate) = home("address");
    for owner in ["localhost", "x.localhost"] {
        let answer = Ask::new(owner, RecordType::A).udp(&gate);
        assert_eq!(ipv4_of(&answer), [Ipv4Addr::LOCALHOST], "{owner}");
    }
    let mut answer = ipv4_of(&Ask::new("ipv4only.arpa", RecordType::A).udp(&gate));
    answer.sort();
    let expected = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
    assert_eq!(answer, expected);
    let answer = Ask::new("ipv4only.arpa", RecordType::AAAA).udp(&gate);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.answers.is_empty());
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

const DNSMASQ: &str = "4102444800 52:54:00:12:34:56 192.168.1.50 phone *\n";
const KEA: &str = "\
address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
192.168.1.50,52:54:00:12:34:56,,4000,4102444800,1,0,0,phone.home.arpa.,0,,0
";
const ISC: &str = "\
authoring-byte-order little-endian;

lease 192.168.1.50 {
  starts 4 2026/11/19 10:00:00;
  ends 5 2100/01/01 00:00:00;
  binding state active;
  client-hostname \"phone\";
}
";

/// Asks for A until it is this, as long as anything that must happen may take.
fn wait_for_address(gate: &Gate, owner: &str, expected: Option<[u8; 4]>) {
    let start = clock();
    let expected: Vec<Ipv4Addr> = expected.map(Ipv4Addr::from).into_iter().collect();
    loop {
        let found = ipv4_of(&Ask::new(owner, RecordType::A).udp(gate));
        if found == expected {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{owner} is {found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn pointer(gate: &Gate, owner: &str) -> Option<String> {
    let answer = Ask::new(owner, RecordType::PTR).udp(gate);
    answer.answers.first().map(|record| record.data.to_string())
}

#[test]
fn a_hosts_file_is_answered_from_in_both_directions_and_followed_as_it_changes() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::new(&upstream).set("dns.hosts", r#"["hosts"]"#));
    gate.wait_for_log("hosts: cannot be read");
    wait_for_address(&gate, "tv.home.arpa", None);

    gate.write(
        "hosts",
        "127.0.0.1 localhost\n192.168.1.20\ttv television # living room\r\nfd00::20 tv\n0.0.0.0 ad.example\n",
    );
    wait_for_address(&gate, "tv.home.arpa", Some([192, 168, 1, 20]));
    wait_for_address(&gate, "tv", Some([192, 168, 1, 20]));
    wait_for_address(&gate, "ad.example", Some([0, 0, 0, 0]));
    assert_eq!(
        pointer(&gate, "20.1.168.192.in-addr.arpa").as_deref(),
        Some("tv.home.arpa.")
    );
    let answer = Ask::new("tv.home.arpa", RecordType::AAAA).udp(&gate);
    assert_eq!(
        types(&answer)[0],
        [RecordType::AAAA],
        "local data is not withheld"
    );
    assert!(answer.metadata.authoritative);
    let answer = Ask::new("ad.example", RecordType::AAAA).udp(&gate);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(soa_of(&answer).expect("a SOA").0, 60);

    gate.write("hosts", "192.168.1.21 tv\n");
    wait_for_address(&gate, "tv.home.arpa", Some([192, 168, 1, 21]));
    assert_eq!(pointer(&gate, "20.1.168.192.in-addr.arpa"), None);
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

#[test]
fn leases_of_each_server_are_answered_from_in_both_directions() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::new(&upstream).set("dns.leases", r#"["leases"]"#));
    for text in [DNSMASQ, KEA, ISC] {
        gate.write("leases", text);
        wait_for_address(&gate, "phone.home.arpa", Some([192, 168, 1, 50]));
        wait_for_address(&gate, "phone", Some([192, 168, 1, 50]));
        assert_eq!(
            pointer(&gate, "50.1.168.192.in-addr.arpa").as_deref(),
            Some("phone.home.arpa.")
        );
        gate.write("leases", "");
        wait_for_address(&gate, "phone.home.arpa", None);
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

#[test]
fn a_lease_that_is_over_has_no_name_and_one_that_ends_loses_it() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::new(&upstream).set("dns.leases", r#"["leases"]"#));
    #[expect(clippy::disallowed_methods, reason = "leases end by the time of day")]
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    gate.write(
        "leases",
        &format!(
            "1600000000 52:54:00:12:34:56 192.168.1.50 old *\n{} 52:54:00:12:34:57 192.168.1.51 guest *\n",
            now + 3
        ),
    );
    wait_for_address(&gate, "guest.home.arpa", Some([192, 168, 1, 51]));
    wait_for_address(&gate, "old.home.arpa", None);
    wait_for_address(&gate, "guest.home.arpa", None);
}

#[test]
fn a_client_cannot_take_over_a_name_by_its_lease() {
    let upstream = Upstream::start();
    let hostile = [
        "wpad",
        "localhost",
        "sekisho",
        "nas",
        "tv",
        "local",
        "../x",
        "a.example",
    ];
    let mut leases = String::new();
    for (host, last) in hostile.iter().zip(60..) {
        leases.push_str(&format!(
            "0 52:54:00:12:34:{last} 192.168.1.{last} {host} *\n"
        ));
    }
    leases.push_str("0 52:54:00:12:34:99 192.168.1.99 phone *\n");
    let gate = Gate::launch(
        &Setup::new(&upstream)
            .zone("home.arpa.zone", ZONE)
            .set("dns.hosts", r#"["hosts"]"#)
            .set("dns.leases", r#"["leases"]"#),
    );
    gate.write("hosts", "192.168.1.20 tv\n");
    gate.write("leases", &leases);
    gate.wait_for_log(READY);
    wait_for_address(&gate, "phone.home.arpa", Some([192, 168, 1, 99]));
    for (owner, expected) in [
        ("wpad", Some([127, 0, 0, 1])),
        ("wpad.home.arpa", Some([127, 0, 0, 1])),
        ("localhost", Some([127, 0, 0, 1])),
        ("localhost.home.arpa", None),
        ("sekisho.home.arpa", Some([127, 0, 0, 1])),
        ("nas.home.arpa", Some([192, 168, 1, 10])),
        ("tv.home.arpa", Some([192, 168, 1, 20])),
        ("local.home.arpa", None),
        ("a.example", None),
    ] {
        wait_for_address(&gate, owner, expected);
    }
    for last in 60..68 {
        assert_eq!(
            pointer(&gate, &format!("{last}.1.168.192.in-addr.arpa")),
            None
        );
    }
}

#[test]
fn the_names_of_addresses_in_a_zone_need_no_reverse_zone() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::new(&upstream).zone("home.arpa.zone", ZONE));
    let answer = Ask::new("10.1.168.192.in-addr.arpa", RecordType::PTR).udp(&gate);
    assert!(matches!(&answer.answers[0].data, RData::PTR(ptr) if ptr.0 == name("nas.home.arpa")));
    assert_eq!(answer.answers[0].ttl, 3600);
    assert!(answer.metadata.authoritative);
    let answer = Ask::new("11.1.168.192.in-addr.arpa", RecordType::PTR).udp(&gate);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert!(soa_of(&answer).is_some());
    assert!(upstream.seen().is_empty());
}

#[test]
fn check_tells_of_conflicts_and_missing_files_and_the_gate_starts_with_them() {
    let upstream = Upstream::start();
    let setup = Setup::new(&upstream)
        .set("dns.hosts", r#"["hosts", "missing"]"#)
        .set("dns.leases", r#"["leases"]"#);
    let folder = TempDir::new().unwrap();
    let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
    fs::create_dir(folder.path().join("zones")).unwrap();
    write("zones/home.arpa.zone", ZONE);
    write("zones/lan", ZONE);
    write("hosts", "192.168.1.99 nas\n192.168.1.5 wpad\nnonsense\n");
    write("leases", "{}");
    write("x.toml", &setup.text());
    let output = run(folder.path(), &["check", "--config", "x.toml"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for warning in [
        "zones/lan: passed over, although it reads like a zone",
        "hosts: line 1: a local zone says otherwise of `nas.home.arpa.`",
        "hosts: line 2: `wpad.` is a special name",
        "hosts: line 3: `nonsense` is no address; write the address first",
        "missing: cannot be read",
        "leases: no lease file of dnsmasq, Kea or ISC dhcpd",
    ] {
        assert!(said.contains(warning), "{warning}: {said}");
    }
    assert_eq!(said.matches("warning: ").count(), 6, "{said}");
}
