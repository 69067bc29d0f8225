//! How zones, hosts files and leases go together, and what is told of conflicts.

use std::collections::HashSet;

use super::super::{LeaseNames, Leases};
use super::*;

const ZONE: &str = "$TTL 1h\n@ SOA gate hostmaster 1 1h 15m 1w 10m\n@ NS gate\ngate A 192.168.1.2\n\
    nas A 192.168.1.10\nnas AAAA fd00::10\nnas AAAA 2001:db8::10\nfiles A 192.168.1.10\nwww CNAME tv\n\
    out CNAME tv.lan.\ngone CNAME nobody\n*.apps A 192.168.1.11\nsub NS ns.sub\nns.sub A 192.168.1.12\n";

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn zones(zones: &[(&str, &str)]) -> Zones {
    Zones::from_text(zones).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn hosts(text: &str, zones: &Zones) -> (HostNames, Vec<String>) {
    let files = [("hosts".into(), text.into())];
    let (names, problems) = HostNames::read(&files, zones, &name("home.arpa."));
    let said = problems.iter().map(ToString::to_string).collect();
    (names, said)
}

fn leases(text: &str) -> LeaseNames {
    let (leases, _) = Leases::read(&[("leases".into(), text.into())]);
    leases.names(1_795_000_000, &name("home.arpa."), &HashSet::new())
}

fn lease(address: &str, host: &str) -> String {
    format!("4102444800 52:54:00:12:34:56 {address} {host} *\n")
}

/// All three sources.
fn local(zones: Zones, hosts_text: &str, leases_text: &str) -> Local {
    let (hosts, _) = hosts(hosts_text, &zones);
    let local = Local::new(zones, name("home.arpa."), true);
    local.follow_hosts(hosts);
    local.follow_leases(leases(leases_text).names);
    local
}

/// `RCODE: records; SOA of APEX TTL`, or `-` where the name is not ours.
fn said(local: &Local, owner: &str, record_type: RecordType) -> String {
    let owned = local.owns(&name(owner), record_type);
    let Some(answer) = local.answer(&name(owner), record_type) else {
        assert!(!owned, "{owner}");
        return "-".into();
    };
    assert!(owned && answer.authoritative, "{owner}");
    let records = answer.answers.iter().map(|record| {
        format!(
            "{} {} {} {}",
            record.name,
            record.ttl,
            record.record_type(),
            record.data
        )
    });
    let soa = answer
        .authorities
        .iter()
        .map(|record| format!("{} {}", record.name, record.ttl));
    let all: Vec<String> = records.chain(soa).collect();
    format!("{} {}", answer.rcode.low(), all.join(", "))
}

#[test]
fn names_of_hosts_files_have_addresses_and_addresses_have_their_first_name() {
    let text = "192.168.1.20 tv television\n192.168.1.21 tv\nfd00::20 tv\n192.168.1.22 x.lan y\n";
    let local = local(Zones::default(), text, "");
    use RecordType as T;
    for (owner, record_type, expected) in [
        (
            "tv.home.arpa.",
            T::A,
            "0 tv.home.arpa. 60 A 192.168.1.20, tv.home.arpa. 60 A 192.168.1.21",
        ),
        ("TV.Home.arpa.", T::AAAA, "0 tv.home.arpa. 60 AAAA fd00::20"),
        ("tv.", T::AAAA, "0 tv. 60 AAAA fd00::20"),
        ("television.", T::A, "0 television. 60 A 192.168.1.20"),
        ("television.", T::AAAA, "0 television. 60"),
        ("tv.home.arpa.", T::HTTPS, "0 home.arpa. 60"),
        ("tv.home.arpa.", T::MX, "0 home.arpa. 60"),
        ("tv.", T::MX, "0 tv. 60"),
        ("tv.", T::TXT, "0 tv. 60"),
        // These ask about a top-level domain.
        ("tv.", T::NS, "-"),
        ("tv.", T::SOA, "-"),
        ("tv.", T::DS, "-"),
        ("x.lan.", T::A, "0 x.lan. 60 A 192.168.1.22"),
        ("x.lan.", T::TXT, "0 x.lan. 60"),
        ("lan.", T::A, "-"),
        ("a.tv.home.arpa.", T::A, "-"),
        (
            "20.1.168.192.in-addr.arpa.",
            T::PTR,
            "0 20.1.168.192.in-addr.arpa. 60 PTR tv.home.arpa.",
        ),
        (
            "22.1.168.192.in-addr.arpa.",
            T::PTR,
            "0 22.1.168.192.in-addr.arpa. 60 PTR x.lan.",
        ),
        (
            "20.1.168.192.in-addr.arpa.",
            T::A,
            "0 168.192.in-addr.arpa. 60",
        ),
        (
            "1.168.192.in-addr.arpa.",
            T::NS,
            "0 168.192.in-addr.arpa. 60",
        ),
        ("2.168.192.in-addr.arpa.", T::NS, "-"),
        ("192.in-addr.arpa.", T::NS, "-"),
        ("23.1.168.192.in-addr.arpa.", T::PTR, "-"),
    ] {
        assert_eq!(
            said(&local, owner, record_type),
            expected,
            "{owner} {record_type}"
        );
    }
    let reverse = Name::from("fd00::20".parse::<IpAddr>().unwrap());
    assert!(said(&local, &reverse.to_string(), T::PTR).ends_with("60 PTR tv.home.arpa."));
}

#[test]
fn block_lists_are_answered_as_they_are_written() {
    let text = "0.0.0.0 0.0.0.0\n0.0.0.0 ad.example\n:: six.example\n127.0.0.1 old.example\n127.0.1.1 box\n";
    let local = local(Zones::default(), text, "");
    use RecordType as T;
    for (owner, record_type, expected) in [
        ("ad.example.", T::A, "0 ad.example. 60 A 0.0.0.0"),
        ("ad.example.", T::AAAA, "0 ad.example. 60"),
        ("ad.example.", T::HTTPS, "0 ad.example. 60"),
        ("six.example.", T::AAAA, "0 six.example. 60 AAAA ::"),
        ("old.example.", T::A, "0 old.example. 60"),
        ("box.home.arpa.", T::A, "-"),
        ("0.0.0.0.in-addr.arpa.", T::PTR, "-"),
        ("1.0.0.127.in-addr.arpa.", T::PTR, "-"),
    ] {
        assert_eq!(
            said(&local, owner, record_type),
            expected,
            "{owner} {record_type}"
        );
    }
}

#[test]
fn zones_count_before_hosts_files_and_those_before_leases() {
    let hosts = "192.168.1.60 nas tv\n192.168.1.61 a.b\n";
    let leases = [
        lease("192.168.1.70", "nas"),
        lease("192.168.1.71", "tv"),
        lease("192.168.1.72", "phone"),
        lease("192.168.1.60", "thief"),
        lease("192.168.1.73", "b"),
    ]
    .concat();
    let local = local(zones(&[("home.arpa", ZONE)]), hosts, &leases);
    use RecordType as T;
    for (owner, record_type, expected) in [
        (
            "nas.home.arpa.",
            T::A,
            "0 nas.home.arpa. 3600 A 192.168.1.10",
        ),
        ("nas.", T::A, "0 nas. 3600 A 192.168.1.10"),
        ("tv.home.arpa.", T::A, "0 tv.home.arpa. 60 A 192.168.1.60"),
        (
            "phone.home.arpa.",
            T::A,
            "0 phone.home.arpa. 60 A 192.168.1.72",
        ),
        ("phone.home.arpa.", T::TXT, "0 home.arpa. 60"),
        ("phone.", T::A, "0 phone. 60 A 192.168.1.72"),
        ("b.home.arpa.", T::A, "0 b.home.arpa. 60 A 192.168.1.73"),
        (
            "x.apps.home.arpa.",
            T::A,
            "0 x.apps.home.arpa. 3600 A 192.168.1.11",
        ),
        // What nobody has may appear soon.
        ("nobody.home.arpa.", T::A, "3 home.arpa. 60"),
        ("nas.home.arpa.", T::TXT, "0 home.arpa. 600"),
        (
            "www.home.arpa.",
            T::A,
            "0 www.home.arpa. 3600 CNAME tv.home.arpa., tv.home.arpa. 60 A 192.168.1.60",
        ),
        (
            "www.home.arpa.",
            T::AAAA,
            "0 www.home.arpa. 3600 CNAME tv.home.arpa., home.arpa. 60",
        ),
        (
            "gone.home.arpa.",
            T::A,
            "3 gone.home.arpa. 3600 CNAME nobody.home.arpa., home.arpa. 60",
        ),
        (
            "60.1.168.192.in-addr.arpa.",
            T::PTR,
            "0 60.1.168.192.in-addr.arpa. 60 PTR nas.home.arpa.",
        ),
        (
            "72.1.168.192.in-addr.arpa.",
            T::PTR,
            "0 72.1.168.192.in-addr.arpa. 60 PTR phone.home.arpa.",
        ),
        // A client with the name of another has no name.
        ("70.1.168.192.in-addr.arpa.", T::PTR, "-"),
        ("71.1.168.192.in-addr.arpa.", T::PTR, "-"),
    ] {
        assert_eq!(
            said(&local, owner, record_type),
            expected,
            "{owner} {record_type}"
        );
    }
}

#[test]
fn an_alias_out_of_the_zones_is_followed_into_hosts_files() {
    let local = local(zones(&[("home.arpa", ZONE)]), "192.168.1.60 tv.lan\n", "");
    let answer = local
        .answer(&name("out.home.arpa."), RecordType::A)
        .unwrap();
    assert_eq!((answer.answers.len(), answer.chase), (2, None));
}

#[test]
fn addresses_in_zones_have_names_without_a_reverse_zone() {
    let local: Local = zones(&[("home.arpa", ZONE)]).into();
    let pointer = |address: &str| {
        let reverse = Name::from(address.parse::<IpAddr>().unwrap());
        said(&local, &reverse.to_string(), RecordType::PTR)
    };
    // The first name of the file; the address record's TTL.
    assert!(pointer("192.168.1.10").ends_with(" 3600 PTR nas.home.arpa."));
    assert!(pointer("fd00::10").ends_with(" 3600 PTR nas.home.arpa."));
    assert!(pointer("2001:db8::10").ends_with(" 3600 PTR nas.home.arpa."));
    for nobody in ["192.168.1.11", "192.168.1.12", "192.0.2.1"] {
        assert_eq!(pointer(nobody), "-");
    }
}

#[test]
fn a_written_reverse_zone_decides_alone() {
    let reverse = "$TTL 1h\n@ SOA gate.home.arpa. hostmaster.home.arpa. 1 1h 15m 1w 10m\n@ NS gate.home.arpa.\n\
        2 PTR router.home.arpa.\n";
    let zones = zones(&[("home.arpa", ZONE), ("1.168.192.in-addr.arpa", reverse)]);
    let local = local(
        zones,
        "192.168.1.60 tv\n10.0.0.1 vpn\n",
        &lease("192.168.1.70", "phone"),
    );
    for (owner, expected) in [
        (
            "2.1.168.192.in-addr.arpa.",
            "0 2.1.168.192.in-addr.arpa. 3600 PTR router.home.arpa.",
        ),
        (
            "10.1.168.192.in-addr.arpa.",
            "3 1.168.192.in-addr.arpa. 600",
        ),
        (
            "60.1.168.192.in-addr.arpa.",
            "3 1.168.192.in-addr.arpa. 600",
        ),
        (
            "70.1.168.192.in-addr.arpa.",
            "3 1.168.192.in-addr.arpa. 600",
        ),
        (
            "1.0.0.10.in-addr.arpa.",
            "0 1.0.0.10.in-addr.arpa. 60 PTR vpn.home.arpa.",
        ),
    ] {
        assert_eq!(said(&local, owner, RecordType::PTR), expected, "{owner}");
    }
}

#[test]
fn what_is_in_conflict_is_told_with_its_line_and_what_to_write() {
    let zones = zones(&[("home.arpa", ZONE)]);
    let text = "127.0.0.1 localhost\n::1 localhost ip6-localhost\nff02::1 ip6-allnodes\n192.168.1.10 nas\n\
        192.168.1.99 nas\n192.168.1.5 wpad\n192.168.1.5 localhost\n192.168.1.2 router\n192.168.1.6 b\u{fc}ro ok\n";
    let (names, told) = hosts(text, &zones);
    assert_eq!(
        told,
        [
            "hosts: line 5: a local zone says otherwise of `nas.home.arpa.`, and counts; \
             write `192.168.1.99` into the zone, or take the name out here",
            "hosts: line 6: `wpad.` is a special name, and is not answered from here; take it out, or choose another name",
            "hosts: line 7: `localhost.` is a special name, and is not answered from here; \
             take it out, or choose another name",
            "hosts: line 8: `192.168.1.2` is `gate.home.arpa.` by a local zone, and has only that name; \
             write `192.168.1.2 gate.home.arpa. router.home.arpa.`",
            "hosts: line 9: `b\u{fc}ro` is no host name; \
             write letters, digits and `-`; other scripts in their `xn--` form",
        ]
    );
    assert!(names.addresses(&Key::of(&name("ok.home.arpa."))).is_some());

    let files = [
        ("a".into(), b"192.168.1.60 tv\n192.168.1.61 x\n".to_vec()),
        (
            "b".into(),
            b"192.168.1.60 telly\n192.168.1.61 y x\n".to_vec(),
        ),
    ];
    let (_, problems) = HostNames::read(&files, &Zones::default(), &name("home.arpa."));
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "b: line 1: `192.168.1.60` is `tv.home.arpa.` by `a`, and has only that name; \
          write all names of an address on one line"
        ]
    );
}

#[test]
fn so_many_notices_are_told_and_no_more() {
    let (_, told) = hosts(&"nonsense\n".repeat(1000), &Zones::default());
    assert_eq!(told.len(), 51);
    assert!(
        told[50].starts_with("hosts: 950 more like these"),
        "{}",
        told[50]
    );
}

#[test]
fn a_block_list_of_a_hundred_thousand_names_is_read_and_answered() {
    let mut text = String::from("127.0.0.1 localhost\n0.0.0.0 0.0.0.0\n");
    for host in 0..100_000 {
        text.push_str(&format!("0.0.0.0 ad{host}.example.com\n"));
    }
    let (names, told) = hosts(&text, &Zones::default());
    assert_eq!((names.len(), told.len()), (100_000, 0));
    let local = Local::new(Zones::default(), name("home.arpa."), true);
    local.follow_hosts(names);
    assert_eq!(
        said(&local, "ad99999.example.com.", RecordType::A),
        "0 ad99999.example.com. 60 A 0.0.0.0"
    );
    assert_eq!(said(&local, "ad100000.example.com.", RecordType::A), "-");
}
