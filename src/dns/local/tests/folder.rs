//! Folders of zones, the shipped ones too, and large zones.

use super::*;

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
