//! Zone semantics, problems of zone files, and input that nobody would write.

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

fn problems(text: &str) -> Vec<String> {
    Zones::from_text(&[("home.arpa", text)])
        .expect_err("problems")
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The one problem of a text after the head; its first line is line 5.
fn problem(text: &str) -> String {
    let found = problems(&format!("{HEAD}{text}"));
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap_or_default()
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

#[test]
fn names_may_be_escaped_and_text_quoted_over_lines() {
    let zones = home(
        "Front\\032Printer\\.1._ipp._tcp PTR @\nt TXT ( \"v=1; (a b)\"\n  \"q\\\"q\" plain )\n@ HTTPS 1 . alpn=\"h2,h3\" port=443\n",
    );
    let printer =
        Name::from_labels(["Front Printer.1", "_ipp", "_tcp", "home", "arpa"].map(str::as_bytes))
            .unwrap();
    assert_eq!(
        zones
            .answer(&printer, RecordType::PTR)
            .unwrap()
            .answers
            .len(),
        1
    );
    let text = ask(&zones, "t.home.arpa.", RecordType::TXT);
    let Some(RData::TXT(data)) = text.answers.first().map(|record| &record.data) else {
        panic!("{text:?}");
    };
    let strings: Vec<&[u8]> = data.txt_data.iter().map(AsRef::as_ref).collect();
    assert_eq!(strings, [&b"v=1; (a b)"[..], b"q\"q", b"plain"]);
    let binding = ask(&zones, "home.arpa.", RecordType::HTTPS);
    assert_eq!(lines(&binding.answers).len(), 1);
}

#[test]
fn the_origin_may_change_within_the_zone_and_the_owner_goes_on() {
    let zones = home("$ORIGIN lab\nx A 10.0.0.1\n$ORIGIN other.home.arpa.\n  TXT same\n");
    assert_eq!(
        ask(&zones, "x.lab.home.arpa.", RecordType::TXT)
            .answers
            .len(),
        1
    );
}

#[test]
fn every_problem_is_reported_at_once_with_its_line() {
    let found = problems(
        "@ SOA\n  A 1.2.3\n$INCLUDE x\nx CH A 1.2.3.4\ny WHAT 1\nz A (\n 1.2.3.4\n 5.6.7.8 )\nw TXT \"a\n",
    );
    let places: Vec<&str> = found
        .iter()
        .filter_map(|line| line.strip_prefix("home.arpa.zone: line "))
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(places, ["1", "2", "3", "4", "5", "6", "9"], "{found:#?}");
}

#[test]
fn each_problem_says_what_to_write() {
    let table = [
        (
            "x.example. A 1.2.3.4",
            "line 5: `x.example.` is outside the zone `home.arpa.`",
        ),
        (
            "x SOA . . 1 1 1 1 1",
            "line 5: SOA at `x.home.arpa.`, which is not the zone's own name",
        ),
        ("@ SOA . . 1 1 1 1 1", "line 5: a second SOA"),
        (
            "a CNAME b\na A 1.2.3.4",
            "line 6: CNAME and other data at `a.home.arpa.`",
        ),
        (
            "a A 1.2.3.4\nA CNAME b",
            "line 6: CNAME and other data at `a.home.arpa.`",
        ),
        (
            "a CNAME b\na CNAME c",
            "line 6: a second CNAME at `a.home.arpa.`",
        ),
        ("@ CNAME c", "line 5: CNAME and other data at `home.arpa.`"),
        ("* NS x", "line 5: NS at the wildcard `*.home.arpa.`"),
        ("a CH A 1.2.3.4", "line 5: class CH is not supported"),
        ("a A 1.2.3.400", "line 5: A: `1.2.3.400` is no IPv4 address"),
        (
            "a AAAA 1.2.3.4",
            "line 5: AAAA: `1.2.3.4` is no IPv6 address",
        ),
        ("a A 1.2.3.4 1.2.3.5", "line 5: A: 2 fields of data"),
        ("a MX nas", "line 5: MX: 1 fields of data"),
        (
            "a 99999999999 A 1.2.3.4",
            "line 5: `99999999999` is no record type",
        ),
        ("a 3000000000 A 1.2.3.4", "line 5: `3000000000` is no TTL"),
        (
            "nas.home.arpa A 1.2.3.4",
            "line 5: `nas.home.arpa` has no dot at its end",
        ),
        ("a..b A 1.2.3.4", "line 5: `a..b` is no domain name"),
        ("a DNAME b", "line 5: DNAME: unsupported"),
        ("a ANAME b", "line 5: ANAME: the type is not supported"),
        (
            "a HTTPS 1 . alpn=",
            "line 5: HTTPS: Alpn expects at least one value",
        ),
        ("a TXT", "line 5: TXT: no data"),
        ("a TXT \"\\200\"", "line 5: TXT: `\\200` has an escape"),
        (
            "$GENERATE 1-2 a A 1.2.3.4",
            "line 5: $GENERATE is not supported",
        ),
        ("$TTL", "line 5: $TTL without a value"),
        (
            "a A (\n1.2.3.4",
            "line 5: the parenthesis `(` is never closed",
        ),
    ];
    for (text, expected) in table {
        let found = problem(text);
        let said = found.strip_prefix("home.arpa.zone: ").unwrap_or_default();
        assert!(said.starts_with(expected), "{text}: {found}");
        assert!(said.contains("; "), "{found}");
    }
    let long = format!("a TXT {}", "x".repeat(256));
    assert!(problem(&long).contains("line 5: TXT: "));
    let soa = problems("$TTL 1h\na A 1.2.3.4\n").join("");
    assert!(
        soa.contains("has no SOA record; write `@ 1h IN SOA "),
        "{soa}"
    );
    assert!(
        problems("@ SOA . . 1 1 1 1 1\n")
            .join("")
            .contains("line 1: the record has no TTL")
    );
    let reverse = Zones::from_text(&[(
        "1.168.192.in-addr.arpa",
        "$TTL 1\n@ SOA . . 1 1 1 1 1\n1 PTR nas.home.arpa\n",
    )])
    .expect_err("a problem");
    assert!(reverse.first().is_some_and(|found| found.line == Some(3)));
    let twice = Zones::from_text(&[("a.test", "$TTL 1\n@ SOA . . 1 1 1 1 1\n"), ("A.test.", "")]);
    assert!(
        twice
            .expect_err("a problem")
            .first()
            .is_some_and(|found| found.what.contains("twice"))
    );
}

#[test]
fn a_record_that_nobody_could_read_is_a_problem() {
    let found = problem("c CAA 0 -issue e");
    assert!(found.contains("line 5: CAA: "), "{found}");
}

#[test]
fn everyday_mistakes_are_met_with_what_to_write() {
    for (text, what, write) in [
        ("# note", "`#` does not begin a comment", "write `;`"),
        ("//note", "`//note` does not begin", "write `;`"),
        (
            "192.168.1.9 nas",
            "`nas` is no record type",
            "write the name first: `nas A 192.168.1.9`",
        ),
        (
            "nas 192.168.1.9",
            "`192.168.1.9` is no record type",
            "write `A` before `192.168.1.9`",
        ),
        (
            "nas fd00::9",
            "`fd00::9` is no record type",
            "write `AAAA` before `fd00::9`",
        ),
        (
            " nas A 192.168.1.9",
            "`nas` is no record type",
            "begin the line with the name",
        ),
        ("nas A fd00::9", "no IPv4 address", "write `AAAA fd00::9`"),
        (
            "nas AAAA 192.168.1.9",
            "no IPv6 address",
            "write `A 192.168.1.9`",
        ),
        (
            "nas CNAME 192.168.1.9",
            "CNAME: `192.168.1.9` is an address",
            "write `A 192.168.1.9`",
        ),
        (
            "@ MX 10 192.168.1.9.",
            "MX: `192.168.1.9.` is an address",
            "write `A 192.168.1.9`",
        ),
        (
            "www CNAME https://nas/",
            "CNAME: `https://nas/` is no host name",
            "write the name alone",
        ),
        (
            "_a._tcp SRV 0 0 80 nas:80",
            "SRV: `nas:80` is no host name",
            "write the name alone",
        ),
    ] {
        let found = problem(text);
        assert!(found.contains("line 5: "), "{found}");
        assert!(found.contains(what), "{text}: {found}");
        assert!(found.contains(write), "{text}: {found}");
    }
    for (text, write) in [
        ("nas A", "write one address"),
        ("nas A 192.168.1.9 192.168.1.10", "a second line"),
        ("@ MX mail", "`MX 10 mail`"),
        ("_a._tcp SRV 0 80 nas", "`SRV 0 0 80 nas`"),
    ] {
        let found = problem(text);
        assert!(found.contains("fields of data; "), "{found}");
        assert!(found.contains(write), "{text}: {found}");
    }
    let zone = "$TTL 1h\n@ SOA . . 1 1 1 1 1\n192.168.1.9 PTR nas.home.arpa.\n";
    let reverse = |origin| {
        let zones = Zones::from_text(&[(origin, zone)]);
        zones.map_or_else(|found| found[0].to_string(), |_| String::new())
    };
    let said = reverse("1.168.192.in-addr.arpa");
    assert!(said.contains("line 3: "), "{said}");
    assert!(said.contains("write `9.1.168.192.in-addr.arpa.`"), "{said}");
    assert_eq!(reverse("in-addr.arpa"), "");
    let soa = problems("$TTL 1h\n@ SOA gate me@example.com 1 1h 15m 1w 1m\n").join("");
    assert!(soa.contains("line 2: SOA: `me@example.com` is a mail address"));
    assert!(soa.contains("write `me.example.com.`"), "{soa}");
}

#[test]
fn the_number_of_problems_of_a_file_is_bounded() {
    let found = problems(&"x WHAT\n".repeat(250));
    assert_eq!(found.len(), 101);
    assert!(
        found
            .last()
            .is_some_and(|last| last.contains("150 more problems"))
    );
}

#[test]
fn a_folder_is_read_by_file_names_and_everything_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("home.arpa.zone", HEAD.as_bytes());
    write("LAN.Zone", HEAD.as_bytes());
    write("notes.txt", b"not a zone");
    write(".#lan.zone", b"not a zone");
    fs::create_dir(folder.path().join("old.zone")).unwrap();
    let zones = Zones::load(folder.path()).unwrap();
    let mut origins: Vec<_> = zones.origins().map(ToString::to_string).collect();
    origins.sort();
    assert_eq!(origins, ["home.arpa.", "lan."]);
    fs::remove_file(folder.path().join("LAN.Zone")).unwrap();

    write("bad..name.zone", b"");
    write(".zone", b"");
    write("lan.zone", b"$TTL 1h\n\xff\n");
    let found = Zones::load(folder.path()).expect_err("problems");
    let said: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(said.iter().any(|line| {
        line.ends_with("lan.zone: line 2: text that is not UTF-8; save the file as UTF-8")
    }));
    let missing = Zones::load(&folder.path().join("none")).expect_err("a problem");
    assert!(
        missing
            .first()
            .is_some_and(|found| found.what.starts_with("cannot be read"))
    );
}

#[test]
fn the_shipped_zones_load_and_agree_in_both_directions() {
    let zones = Zones::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("zones"))
        .unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(zones.origins().count(), 2);
    let mut pairs = 0;
    for last in 0..=255_u8 {
        let reverse = name(&format!("{last}.1.168.192.in-addr.arpa."));
        let pointers = ask(&zones, &reverse.to_string(), RecordType::PTR);
        for record in &pointers.answers {
            let RData::PTR(target) = &record.data else {
                panic!("{record}");
            };
            let address = RData::A(std::net::Ipv4Addr::new(192, 168, 1, last).into());
            let forward = ask(&zones, &target.0.to_string(), RecordType::A);
            assert_eq!(
                forward
                    .answers
                    .iter()
                    .map(|held| &held.data)
                    .collect::<Vec<_>>(),
                [&address]
            );
            pairs += 1;
        }
    }
    assert_eq!(pairs, 4);
    for device in ["router", "gate", "nas", "printer"] {
        let forward = ask(&zones, &format!("{device}.home.arpa."), RecordType::A);
        let Some(RData::A(address)) = forward.answers.first().map(|held| &held.data) else {
            panic!("{device}");
        };
        let reverse = Name::from(IpAddr::V4(address.0));
        let pointer = ask(&zones, &reverse.to_string(), RecordType::PTR);
        assert_eq!(
            lines(&pointer.answers),
            [format!("{reverse} PTR {device}.home.arpa.")]
        );
    }
    let photos = ask(&zones, "photos.apps.home.arpa.", RecordType::A);
    assert_eq!(photos.answers.len(), 1);
}

#[test]
fn a_hundred_thousand_names_load_and_are_found() {
    let mut text = String::from(HEAD);
    for host in 0..100_000 {
        text.push_str(&format!(
            "h{host} A 10.{}.{}.{}\n",
            host >> 16,
            (host >> 8) & 255,
            host & 255
        ));
    }
    let zones = Zones::from_text(&[("home.arpa", &text)]).unwrap();
    assert_eq!(
        ask(&zones, "h99999.home.arpa.", RecordType::A)
            .answers
            .len(),
        1
    );
    assert_negative(
        &ask(&zones, "h100000.home.arpa.", RecordType::A),
        ResponseCode::NXDomain,
    );
}

#[test]
fn no_text_makes_the_reader_panic() {
    let seed = concat!(
        include_str!("../../../zones/home.arpa.zone"),
        "s HTTPS 1 . mandatory=alpn alpn=\"h2,h3\" ipv4hint=1.2.3.4 ech=AAAA\n",
        "t SVCB 2 x alpn=h3 no-default-alpn port=1\nc CAA 0 issue \"ca.example; x=1\"\n",
        "n NAPTR 1 1 \"u\" \"E2U+sip\" \"!^.*$!sip:a@b!\" .\nf SSHFP 1 1 aabb\nl TLSA 3 1 1 aabb\n",
        "h HINFO a b\ne CERT 1 1 1 AAAA\np OPENPGPKEY AAAA\nm SMIMEA 3 1 1 aabb\ny CSYNC 1 3 A NS\n",
    );
    let sound = Zones::from_text(&[("home.arpa", seed)]);
    assert!(sound.is_ok(), "{sound:?}");
    let read = |bytes: &[u8]| {
        let mut collected = Collected::default();
        collected.add(Path::new("x.zone"), "home.arpa", bytes);
        if let Ok(zones) = collected.finish() {
            for record_type in [RecordType::A, RecordType::ANY, RecordType::HTTPS] {
                for text in ["home.arpa.", "s.home.arpa.", "a.b.apps.home.arpa."] {
                    std::hint::black_box(zones.answer(&name(text), record_type));
                }
            }
        }
    };
    let bytes = seed.as_bytes();
    for end in (0..bytes.len()).step_by(7) {
        read(&bytes[..end]);
    }
    // Parameters of a service binding are cut once more by hickory, each with its lexer.
    for data in ["key9=\\\"", "alpn=a,,b", "alpn=\\(,", "alpn=h2\")\""] {
        read(format!("{HEAD}x HTTPS 1 . {data}\n").as_bytes());
    }
    let spice = b"\"\\()@$;=,. \t\n\r\0\xff\xc3\xa9*019azAZ-_";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    // One record at a time, so that a fault in one does not hide the others' data.
    let records: Vec<&str> = seed.lines().filter(|line| line.contains(' ')).collect();
    for _ in 0..5_000 {
        let mut line = records[random(records.len())].as_bytes().to_vec();
        for _ in 0..=random(3) {
            let at = random(line.len() + 1);
            let letter = spice[random(spice.len())];
            match random(3) {
                0 if at < line.len() => line[at] = letter,
                1 if at < line.len() => drop(line.remove(at)),
                _ => line.insert(at, letter),
            }
        }
        let mut text = HEAD.as_bytes().to_vec();
        text.extend(line);
        read(&text);
    }
}

#[test]
fn a_file_that_reads_like_a_zone_and_has_another_name_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("home.arpa.zone", HEAD);
    write("lan", HEAD);
    for name in ["home.arpa.zone.bak", "home.arpa.zone~", ".lan", "#lan#"] {
        write(name, HEAD);
    }
    write("notes.txt", "what to do");
    let zones = Zones::load(folder.path()).unwrap();
    assert_eq!(zones.len(), 1);
    let said: Vec<String> = zones.notices().iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].ends_with(
        "lan: passed over, although it reads like a zone; name it after its zone with `.zone` at the end, \
         as in `home.arpa.zone`, or take it out of the folder"
    ));
}

#[test]
fn two_zones_that_name_one_address_are_told_unless_a_reverse_zone_decides() {
    let other = "$TTL 60\n@ SOA . . 1 1 1 1 60\nrouter A 192.168.1.2\n";
    let home = ("home.arpa", HEAD);
    let both = Zones::from_text(&[home, ("lan", other)]).unwrap();
    assert_eq!(both.notices().len(), 1, "{:?}", both.notices());
    let reverse = "$TTL 60\n@ SOA . . 1 1 1 1 60\n2 PTR gate.home.arpa.\n";
    let three = [home, ("lan", other), ("1.168.192.in-addr.arpa", reverse)];
    assert_eq!(Zones::from_text(&three).unwrap().notices(), []);
}
