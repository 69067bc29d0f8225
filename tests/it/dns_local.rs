//! Local zones and special names: answered here, as they are, and never asked of an upstream.

use std::net::Ipv4Addr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};

use crate::support::{Ask, Gate, Setup, Upstream, a, ipv4_of, name, soa_of, types};

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
