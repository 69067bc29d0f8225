//! Hosts files and leases as clients see them: before everything that goes outside, and as they are.

use std::collections::HashSet;

use super::super::local::{HostNames, Leases, Local};
use super::*;

fn local(zones: Zones) -> Local {
    let domain = name("home.arpa.");
    let hosts = "192.168.1.20 tv\nfd00::20 tv\n192.168.1.21 printer.local both.example\n0.0.0.0 ad.example\n";
    let (hosts, _) = HostNames::read(&[("hosts".into(), hosts.into())], &zones, &domain);
    let leases =
        "0 52:54:00:12:34:56 192.168.1.50 phone *\n0 52:54:00:12:34:57 192.168.1.51 wpad *\n";
    let (leases, _) = Leases::read(&[("leases".into(), leases.into())]);
    let local = Local::new(zones, domain.clone(), true);
    local.follow_hosts(hosts);
    local.follow_leases(leases.names(0, &domain, &HashSet::new()).names);
    local
}

#[tokio::test]
async fn names_of_hosts_files_and_leases_are_told_as_they_are_and_never_asked_for_outside() {
    for mode in [Mode::Off, Mode::Ipv6Only, Mode::Address] {
        let world = Arc::new(World::new(ZONE));
        let config = config(mode, Names::All);
        let first = view(&config, local(Zones::default()), Arc::clone(&world));
        let handler = Handler::new(first, Arc::new(Metrics::new()));
        use RecordType as T;
        for (owner, record_type, expected) in [
            ("tv.home.arpa", T::A, "tv.home.arpa. A 192.168.1.20"),
            ("tv.home.arpa", T::AAAA, "tv.home.arpa. AAAA fd00::20"),
            ("tv", T::AAAA, "tv. AAAA fd00::20"),
            ("phone", T::A, "phone. A 192.168.1.50"),
            ("printer.local", T::A, "printer.local. A 192.168.1.21"),
            ("both.example", T::A, "both.example. A 192.168.1.21"),
            ("ad.example", T::A, "ad.example. A 0.0.0.0"),
            ("wpad.home.arpa", T::A, "wpad.home.arpa. A 192.168.1.2"),
            (
                "50.1.168.192.in-addr.arpa",
                T::PTR,
                "50.1.168.192.in-addr.arpa. PTR phone.home.arpa.",
            ),
        ] {
            let answer = ask(&handler, &query(owner, record_type)).await;
            assert_eq!(lines(&answer.answers), [expected], "{owner}");
            assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
        }
        for (owner, record_type, code) in [
            ("both.example", T::AAAA, ResponseCode::NoError),
            ("both.example", T::HTTPS, ResponseCode::NoError),
            ("nobody.home.arpa", T::A, ResponseCode::NXDomain),
            ("51.1.168.192.in-addr.arpa", T::PTR, ResponseCode::NXDomain),
            ("1.168.192.in-addr.arpa", T::PTR, ResponseCode::NoError),
        ] {
            let answer = ask(&handler, &query(owner, record_type)).await;
            assert_eq!(answer.metadata.response_code, code, "{owner}");
            assert!(answer.answers.is_empty(), "{owner}");
            assert!(answer.metadata.authoritative, "{owner}");
            let [soa] = answer.authorities.as_slice() else {
                panic!("{owner}: {:?}", answer.authorities);
            };
            assert_eq!(soa.ttl, 60, "{owner}");
        }
        assert_eq!(world.asked(), []);
    }
}

#[tokio::test]
async fn devices_join_a_domain_whose_fixed_names_are_in_a_zone() {
    let zone = "$TTL 1h\n@ SOA gate hostmaster 1 1h 15m 1w 1h\n@ NS gate\ngate A 192.168.1.2\n";
    let zones = Zones::from_text(&[("home.arpa", zone)]).expect("a good zone");
    let config = config(Mode::Ipv6Only, Names::All);
    let handler = handler_of(World::new(ZONE), &config, local(zones));
    let answer = ask(&handler, &query("phone.home.arpa", RecordType::A)).await;
    assert_eq!(lines(&answer.answers), ["phone.home.arpa. A 192.168.1.50"]);
    let answer = ask(&handler, &query("gate.home.arpa", RecordType::A)).await;
    assert_eq!(lines(&answer.answers), ["gate.home.arpa. A 192.168.1.2"]);
    let answer = ask(
        &handler,
        &query("2.1.168.192.in-addr.arpa", RecordType::PTR),
    )
    .await;
    assert_eq!(
        lines(&answer.answers),
        ["2.1.168.192.in-addr.arpa. PTR gate.home.arpa."]
    );
}
