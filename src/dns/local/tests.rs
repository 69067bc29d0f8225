//! Zone semantics: what is answered from zones.

mod folder;
mod reading;

use hickory_proto::rr::RData;

use super::*;

const HEAD: &str = "$TTL 1h\n@ SOA gate hostmaster 1 1h 15m 1w 1m\n@ NS gate\ngate A 192.168.1.2\n";

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// One zone `home.arpa` with a head of four lines before the text.
fn home(text: &str) -> Zones {
    Zones::from_text(&[("home.arpa", &format!("{HEAD}{text}"))])
        .unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn ask(zones: &Zones, text: &str, record_type: RecordType) -> LocalAnswer {
    zones
        .answer(&name(text), record_type)
        .expect("a name of ours")
}

/// `owner TYPE data` of each record.
fn lines(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| format!("{} {} {}", record.name, record.record_type(), record.data))
        .collect()
}

fn assert_negative(answer: &LocalAnswer, rcode: ResponseCode) {
    assert_eq!(answer.rcode, rcode);
    assert!(answer.authoritative);
    let [soa] = answer.authorities.as_slice() else {
        panic!("{answer:?}");
    };
    assert_eq!((soa.record_type(), soa.ttl), (RecordType::SOA, 60));
}

#[test]
fn a_name_outside_all_zones_is_not_ours() {
    let zones = home("");
    assert_eq!(zones.answer(&name("example.com."), RecordType::A), None);
    assert_eq!(zones.answer(&name("arpa."), RecordType::A), None);
    assert!(!zones.zone_of(&name("xhome.arpa.")));
    assert!(zones.zone_of(&name("a.b.HOME.arpa.")));
    assert!(Zones::default().is_empty() && !Zones::default().zone_of(&name("home.arpa.")));
    assert_eq!(zones.origins().count(), 1);
}

#[test]
fn a_name_is_found_without_regard_to_case_and_aaaa_is_kept() {
    let zones = home("NAS A 192.168.1.10\nnas AAAA fd00::10\n");
    let answer = ask(&zones, "nAs.Home.ARPA.", RecordType::AAAA);
    assert_eq!(lines(&answer.answers), ["nas.home.arpa. AAAA fd00::10"]);
    assert!(answer.authoritative && answer.authorities.is_empty());
    assert_eq!(answer.rcode, ResponseCode::NoError);
}

#[test]
fn nodata_and_nxdomain_carry_the_soa_with_the_lower_of_its_ttl_and_minimum() {
    let zones = home("nas A 192.168.1.10\n");
    assert_negative(
        &ask(&zones, "nas.home.arpa.", RecordType::MX),
        ResponseCode::NoError,
    );
    assert_negative(
        &ask(&zones, "no.home.arpa.", RecordType::A),
        ResponseCode::NXDomain,
    );
    assert_negative(
        &ask(&zones, "a.nas.home.arpa.", RecordType::A),
        ResponseCode::NXDomain,
    );
    let soa = ask(&zones, "home.arpa.", RecordType::SOA);
    assert_eq!(soa.answers.first().map(|record| record.ttl), Some(3600));

    let short = Zones::from_text(&[("a.test", "@ 30 SOA . . 1 1h 1h 1h 1h\n")]).unwrap();
    let answer = ask(&short, "b.a.test.", RecordType::A);
    assert_eq!(
        answer.authorities.first().map(|record| record.ttl),
        Some(30)
    );
}

#[test]
fn a_name_between_a_record_and_the_apex_exists_without_data() {
    let zones = home("a.b.c A 192.168.1.10\n");
    assert_negative(
        &ask(&zones, "b.c.home.arpa.", RecordType::A),
        ResponseCode::NoError,
    );
    assert_negative(
        &ask(&zones, "c.home.arpa.", RecordType::ANY),
        ResponseCode::NoError,
    );
    assert_negative(
        &ask(&zones, "x.c.home.arpa.", RecordType::A),
        ResponseCode::NXDomain,
    );
}

#[test]
fn a_wildcard_answers_under_the_name_asked_for() {
    let zones = home("*.apps A 192.168.1.10\n");
    for text in ["x.apps.home.arpa.", "y.x.apps.home.arpa."] {
        let answer = ask(&zones, text, RecordType::A);
        assert_eq!(lines(&answer.answers), [format!("{text} A 192.168.1.10")]);
    }
    assert_negative(
        &ask(&zones, "x.apps.home.arpa.", RecordType::AAAA),
        ResponseCode::NoError,
    );
    assert_negative(
        &ask(&zones, "apps.home.arpa.", RecordType::A),
        ResponseCode::NoError,
    );
    let itself = ask(&zones, "*.apps.home.arpa.", RecordType::A);
    assert_eq!(lines(&itself.answers), ["*.apps.home.arpa. A 192.168.1.10"]);
}

#[test]
fn a_wildcard_does_not_reach_over_a_name_that_exists() {
    // RFC 4592 section 2.2.1: the closest encloser of x.nas is nas, and there is no *.nas.
    let zones = home("* A 192.168.1.9\nnas TXT x\na.empty A 192.168.1.8\n");
    assert_negative(
        &ask(&zones, "nas.home.arpa.", RecordType::A),
        ResponseCode::NoError,
    );
    assert_negative(
        &ask(&zones, "x.nas.home.arpa.", RecordType::A),
        ResponseCode::NXDomain,
    );
    assert_negative(
        &ask(&zones, "empty.home.arpa.", RecordType::A),
        ResponseCode::NoError,
    );
    assert_negative(
        &ask(&zones, "b.empty.home.arpa.", RecordType::A),
        ResponseCode::NXDomain,
    );
    assert_eq!(
        ask(&zones, "x.y.home.arpa.", RecordType::A).answers.len(),
        1
    );
}

#[test]
fn a_wildcard_without_data_of_its_own_is_nodata() {
    let zones = home("sub.*.apps A 192.168.1.9\n");
    assert_negative(
        &ask(&zones, "x.apps.home.arpa.", RecordType::A),
        ResponseCode::NoError,
    );
}

#[test]
fn a_cname_is_followed_inside_and_across_zones() {
    let other = "$TTL 60\n@ SOA . . 1 1 1 1 60\nnas A 10.0.0.1\n";
    let zones = Zones::from_text(&[
        (
            "home.arpa",
            &format!("{HEAD}www CNAME web\nweb CNAME Nas.lan.\ngone CNAME no\n*.w CNAME www\n"),
        ),
        ("lan", other),
    ])
    .unwrap();
    let answer = ask(&zones, "www.home.arpa.", RecordType::A);
    assert_eq!(
        lines(&answer.answers),
        [
            "www.home.arpa. CNAME web.home.arpa.",
            "web.home.arpa. CNAME Nas.lan.",
            "nas.lan. A 10.0.0.1",
        ]
    );
    assert_eq!((answer.rcode, answer.chase), (ResponseCode::NoError, None));
    let gone = ask(&zones, "gone.home.arpa.", RecordType::A);
    assert_negative(&gone, ResponseCode::NXDomain);
    assert_eq!(gone.answers.len(), 1);
    assert_negative(
        &ask(&zones, "www.home.arpa.", RecordType::MX),
        ResponseCode::NoError,
    );
    let wild = ask(&zones, "x.w.home.arpa.", RecordType::A);
    assert_eq!(wild.answers.len(), 4);
    assert_eq!(
        wild.answers.first().map(|held| &held.name),
        Some(&name("x.w.home.arpa."))
    );
}

#[test]
fn a_cname_asked_for_itself_is_not_followed() {
    let zones = home("www CNAME gate\n");
    for record_type in [RecordType::CNAME, RecordType::ANY] {
        let answer = ask(&zones, "www.home.arpa.", record_type);
        assert_eq!(
            lines(&answer.answers),
            ["www.home.arpa. CNAME gate.home.arpa."]
        );
    }
}

#[test]
fn a_cname_that_leads_out_of_our_zones_is_left_to_the_caller() {
    let zones = home("www CNAME web\nweb CNAME WWW.example.com.\n");
    let answer = ask(&zones, "www.home.arpa.", RecordType::A);
    assert_eq!(answer.answers.len(), 2);
    assert_eq!(answer.chase, Some(name("www.example.com.")));
    assert_eq!(answer.rcode, ResponseCode::NoError);
    assert!(answer.authorities.is_empty());
}

#[test]
fn a_loop_and_a_chain_that_is_too_long_end_as_servfail() {
    let mut text = String::from("a CNAME b\nb CNAME a\nself CNAME self\n*.grow CNAME x.y.grow\n");
    for link in 0..20 {
        text.push_str(&format!("c{link} CNAME c{}\n", link + 1));
    }
    text.push_str("c20 A 192.168.1.9\n");
    let zones = home(&text);
    for (text, links) in [("a", 2), ("self", 1), ("x.grow", 2), ("c0", 17), ("c3", 17)] {
        let answer = ask(&zones, &format!("{text}.home.arpa."), RecordType::A);
        assert_eq!(answer.rcode, ResponseCode::ServFail, "{text}");
        assert_eq!(
            (answer.answers.len(), &answer.chase),
            (links, &None),
            "{text}"
        );
    }
    let answer = ask(&zones, "c4.home.arpa.", RecordType::A);
    assert_eq!(
        (answer.rcode, answer.answers.len()),
        (ResponseCode::NoError, 17)
    );
}

#[test]
fn below_a_delegation_the_answer_is_a_referral_with_glue() {
    let zones =
        home("lab NS ns.lab\nlab NS ns.example.com.\nns.lab A 192.168.1.53\nto CNAME x.lab\n");
    for text in ["lab.home.arpa.", "ns.lab.home.arpa.", "a.b.lab.home.arpa."] {
        let answer = ask(&zones, text, RecordType::A);
        assert!(!answer.authoritative && answer.answers.is_empty());
        assert_eq!(
            lines(&answer.authorities),
            [
                "lab.home.arpa. NS ns.lab.home.arpa.",
                "lab.home.arpa. NS ns.example.com."
            ]
        );
        assert_eq!(
            lines(&answer.additionals),
            ["ns.lab.home.arpa. A 192.168.1.53"]
        );
    }
    assert!(ask(&zones, "to.home.arpa.", RecordType::A).authoritative);
    assert_negative(
        &ask(&zones, "lab.home.arpa.", RecordType::DS),
        ResponseCode::NoError,
    );
}

#[test]
fn the_closest_zone_decides() {
    let child = "$TTL 60\n@ SOA . . 1 1 1 1 1\nx A 10.0.0.1\n";
    let parent = format!("{HEAD}lab NS ns.lab\ny.lab A 10.0.0.2\n");
    let zones = Zones::from_text(&[("home.arpa", &parent), ("lab.home.arpa", child)]).unwrap();
    assert_eq!(
        ask(&zones, "x.lab.home.arpa.", RecordType::A).answers.len(),
        1
    );
    assert_eq!(
        ask(&zones, "y.lab.home.arpa.", RecordType::A).rcode,
        ResponseCode::NXDomain
    );
}

#[test]
fn addresses_of_targets_in_our_zones_are_added_once() {
    let zones = home(
        "nas A 192.168.1.10\nnas AAAA fd00::10\n@ MX 10 nas\n@ MX 20 nas\n@ MX 30 mx.example.com.\n_ipp._tcp SRV 0 0 631 nas\n",
    );
    let expected = [
        "nas.home.arpa. A 192.168.1.10",
        "nas.home.arpa. AAAA fd00::10",
    ];
    let mail = ask(&zones, "home.arpa.", RecordType::MX);
    assert_eq!(
        (mail.answers.len(), lines(&mail.additionals)),
        (3, expected.map(str::to_owned).to_vec())
    );
    let printer = ask(&zones, "_ipp._tcp.home.arpa.", RecordType::SRV);
    assert_eq!(lines(&printer.additionals), expected);
    let servers = ask(&zones, "home.arpa.", RecordType::NS);
    assert_eq!(
        lines(&servers.additionals),
        ["gate.home.arpa. A 192.168.1.2"]
    );
}

#[test]
fn any_is_answered_with_one_set() {
    let zones = home("nas A 192.168.1.10\nnas A 192.168.1.11\nnas TXT x\n");
    let answer = ask(&zones, "nas.home.arpa.", RecordType::ANY);
    assert_eq!(answer.answers.len(), 2);
    assert!(
        answer
            .answers
            .iter()
            .all(|record| record.record_type() == RecordType::A)
    );
}

#[test]
fn equal_records_count_once_and_a_set_has_its_lowest_ttl() {
    let zones = home("nas 300 A 192.168.1.10\nnas 60 A 192.168.1.11\nnas 600 A 192.168.1.10\n");
    let answer = ask(&zones, "nas.home.arpa.", RecordType::A);
    let ttls: Vec<u32> = answer.answers.iter().map(|record| record.ttl).collect();
    assert_eq!(ttls, [60, 60]);
}
