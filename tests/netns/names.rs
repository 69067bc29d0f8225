//! What the client's own dig is told: names.

use crate::gate::{Gate, config};
use crate::home::{GATE, Home};
use crate::internet::{DEAD, DUAL, FOUR, ORIGINS, SIX};
use crate::requirements::home;

/// NOERROR, nothing in the answer but a CNAME chain, the zone's own SOA with a short life, and the reason.
fn assert_withheld(home: &Home, name: &str, flags: &str) {
    let answer = home.dig(&format!("{flags} {name} AAAA"));
    let text = &answer.0;
    assert!(answer.is("NOERROR"), "{text}");
    assert!(
        answer
            .data()
            .iter()
            .all(|record| record.starts_with("CNAME ")),
        "{text}"
    );
    let authority = answer.section("AUTHORITY");
    let soa: Vec<_> = authority
        .iter()
        .flat_map(|record| record.split(' '))
        .collect();
    assert_eq!(
        (soa.first(), soa.get(3)),
        (Some(&"origin.net."), Some(&"SOA")),
        "{text}"
    );
    let seconds = |field: usize| soa.get(field).and_then(|value| value.parse::<u32>().ok());
    assert!(seconds(1).is_some_and(|ttl| ttl <= 60), "{text}");
    assert!(seconds(10).is_some_and(|minimum| minimum <= 60), "{text}");
    assert!(text.contains("EDE: 17 (Filtered)"), "{text}");
    assert!(!answer.has("AAAA") && !answer.has("RRSIG"), "{text}");
}

#[test]
fn aaaa_is_withheld_with_the_soa_of_the_zone_and_the_reason() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("ipv6-only"));
    for (name, ..) in ORIGINS.iter().filter(|(name, ..)| *name != FOUR) {
        for flags in ["", "+tcp", "+dnssec", "+cdflag"] {
            assert_withheld(&home, name, flags);
        }
    }
    assert_withheld(&home, "www.origin.net", "");
    let chain = home.dig("www.origin.net AAAA").data();
    assert_eq!(chain, ["CNAME edge.origin.net.", "CNAME dual.origin.net."]);
}

#[test]
fn what_exists_stays_and_what_does_not_exist_does_not() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("ipv6-only"));
    assert!(home.dig("nowhere.origin.net A").is("NXDOMAIN"));
    assert!(home.dig("nowhere.origin.net AAAA").is("NXDOMAIN"));
    let none = home.dig(&format!("{FOUR} AAAA"));
    assert!(none.is("NOERROR") && none.data().is_empty(), "{}", none.0);

    assert_eq!(home.dig(&format!("{DUAL} A")).data(), ["A 203.0.113.10"]);
    assert_eq!(home.dig(&format!("{FOUR} A")).data(), ["A 203.0.113.30"]);
    assert_eq!(home.dig(&format!("{DEAD} A")).data(), ["A 203.0.113.40"]);
    let mail = home.dig("origin.net MX");
    assert_eq!(mail.data(), ["MX 10 dual.origin.net."]);
    assert!(!mail.has("AAAA"), "{}", mail.0);
    let https = home.dig(&format!("{DUAL} HTTPS"));
    assert!(
        https.data().concat().contains("alpn=\"h2,h3\""),
        "{}",
        https.0
    );
    assert!(!https.0.contains("ipv6hint"), "{}", https.0);
}

#[test]
fn a_name_with_only_ipv6_becomes_the_gate() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("ipv6-only"));
    for flags in ["", "+tcp"] {
        let steered = home.dig(&format!("{flags} {SIX} A"));
        assert_eq!(steered.data(), [format!("A {GATE}")], "{}", steered.0);
        assert!(
            steered.0.contains("EDE: 4 (Forged Answer)"),
            "{}",
            steered.0
        );
        let life = steered.section("ANSWER")[0]
            .split(' ')
            .nth(1)
            .unwrap()
            .to_owned();
        assert!(life.parse::<u32>().unwrap() <= 60, "{}", steered.0);
    }
    let https = home.dig(&format!("{SIX} HTTPS")).data();
    assert_eq!(https.len(), 1, "{https:?}");
    for missing in ["ipv6hint", "ipv4hint", "ech", "h3", "port"] {
        assert!(!https[0].contains(missing), "{https:?}");
    }
}

#[test]
fn the_proxy_settings_have_a_name() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("ipv6-only"));
    for name in ["wpad.", "wpad.home.arpa"] {
        assert_eq!(home.dig(&format!("{name} A")).data(), [format!("A {GATE}")]);
    }
    for url in [home.lease.wpad.as_str(), "http://wpad.home.arpa/wpad.dat"] {
        let pac = home.fetch(url, &["--include"]).unwrap().text();
        assert!(pac.contains("application/x-ns-proxy-autoconfig"), "{pac}");
        assert!(pac.contains(&format!("PROXY {GATE}:3128; DIRECT")), "{pac}");
    }
}
