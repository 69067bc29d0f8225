//! How zone files are read: what may be written, what each problem is told as, and input that nobody would write.

use super::*;

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
fn no_text_makes_the_reader_panic() {
    let seed = concat!(
        include_str!("../../../../zones/home.arpa.zone"),
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
