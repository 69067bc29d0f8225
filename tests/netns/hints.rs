//! HTTPS records that lead a browser past the gate: hints, ech, h3.

use crate::gate::{Gate, config};
use crate::home::{GATE, Home};
use crate::requirements::home;

/// The public name of the ech in these records.
const COVER: &str = "cover.origin.net";

/// Counts on the client what leaves for anywhere but the gate.
fn count_ways_past(home: &Home) {
    home.client.nft(&format!(
        "table inet count {{ counter quic {{ }}; counter past {{ }}; counter six {{ }};
         chain output {{ type filter hook output priority 0;
           ip daddr != {{ {GATE}, 127.0.0.0/8 }} udp dport 443 counter name quic;
           ip daddr != {{ {GATE}, 127.0.0.0/8 }} tcp dport {{ 80, 443 }} counter name past;
           oifname \"lan\" meta nfproto ipv6 counter name six; }}; }}"
    ));
}

fn ways_past(home: &Home) -> [u64; 3] {
    ["quic", "past", "six"].map(|counter| home.client.counted(counter))
}

#[test]
fn chromium_goes_to_the_gate_whatever_the_names_own_record_says() {
    let Some(home) = home() else { return };
    count_ways_past(&home);
    let log = "queries = true\n";
    for (mode, names) in [
        ("address", &["hints", "hints6"][..]),
        ("ipv6-only", &["hints6"]),
    ] {
        let gate = Gate::start(&home, &(config(mode) + log));
        for name in names {
            let site = format!("{name}.origin.net");
            let path = format!("/{mode}-{name}");
            let page = home.browse(&format!("https://{site}{path}"), &["--no-proxy-server"]);
            let wanted = format!("was reached by https from {}<", home.gate_ipv6);
            assert!(page.contains(&wanted), "{mode} {site}: {page}");
            // It did ask for the record, and so could have followed it.
            let asked = gate
                .said()
                .lines()
                .any(|line| line.contains(&format!("name={site}")) && line.contains("type=HTTPS"));
            assert!(asked, "{mode} {site}: {}", gate.said());
            let names = home.internet.server_names();
            assert!(names.contains(&site), "{mode} {site}: {names:?}");
        }
        assert_eq!(ways_past(&home), [0; 3], "{mode}");
        // Not at the first attempt, either: the gate tells of a session to a name that does not exist.
        assert!(!gate.said().contains(COVER), "{}", gate.said());
        let cover = format!("{COVER}:443:{GATE}");
        let covered = home.fetch(&format!("https://{COVER}/"), &["--resolve", &cover]);
        assert!(
            covered.is_err() && gate.said().contains(COVER),
            "{}",
            gate.said()
        );
        assert!(gate.stop().success());
    }

    // The same record of a name that is not steered does lead past the gate: the counters count, and the ech is one.
    let _gate = Gate::start(&home, &config("ipv6-only"));
    let page = home.browse("https://hints.origin.net/past", &["--no-proxy-server"]);
    assert!(page.contains("from 192.0.2.2<"), "{page}");
    let [quic, past, six] = ways_past(&home);
    assert!(quic > 0 && past > 0, "QUIC {quic}, TCP {past}");
    assert_eq!(six, 0);
}
