//! How the client's own curl gets through the gate, and what the origin sees of it.

use std::time::Duration;

use crate::client::Fetched;
use crate::gate::{Gate, config};
use crate::home::{GATE, Home};
use crate::internet::{DEAD, DUAL, FOUR, SIX};
use crate::requirements::home;

/// The most that an IPv6 path without an answer may cost a client.
const PATIENCE: Duration = Duration::from_millis(500);

/// The origin answered, and saw the family that was to be seen.
fn assert_seen(home: &Home, origin: &str, mark: &str, fetched: Result<Fetched, String>) {
    let fetched = fetched.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(fetched.status, 200, "{}", fetched.text());
    let source = match origin {
        // Its own address, as no NAT is in the way.
        DUAL | SIX => home.gate_ipv6.to_string(),
        _ => "192.0.2.2".to_owned(),
    };
    assert_eq!(
        home.internet.source_of(origin, mark),
        source,
        "{origin}{mark}"
    );
    let text = fetched.text();
    assert!(text.contains(&format!("{origin} was reached")), "{text}");
    assert!(text.contains(&format!("from {source}<")), "{text}");
    assert_eq!(fetched.peer, GATE, "where the client itself went");
}

#[test]
fn by_the_forward_proxy_every_origin_is_reached_and_over_ipv6_where_it_has_that() {
    let Some(home) = home() else { return };
    // In every mode, also where DNS points nowhere.
    for mode in ["off", "ipv6-only"] {
        let gate = Gate::start(&home, &config(mode));
        for origin in [DUAL, SIX, FOUR, DEAD] {
            for scheme in ["http", "https"] {
                let mark = format!("/proxy-{mode}-{scheme}");
                let fetched = home.fetch_by_proxy(&format!("{scheme}://{origin}{mark}"), &[]);
                assert_seen(&home, origin, &mark, fetched);
            }
        }
        assert!(gate.stop().success());
    }
}

#[test]
fn by_dns_alone_every_origin_is_reached_and_over_ipv6_where_it_has_that() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("address"));
    for origin in [DUAL, SIX, FOUR, DEAD] {
        assert_eq!(
            home.dig(&format!("{origin} A")).data(),
            [format!("A {GATE}")]
        );
        for scheme in ["http", "https"] {
            let mark = format!("/dns-{scheme}");
            let fetched = home.fetch(&format!("{scheme}://{origin}{mark}"), &[]);
            assert_seen(&home, origin, &mark, fetched);
        }
    }
}

#[test]
fn by_default_only_what_has_no_ipv4_goes_through_the_gate() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("ipv6-only"));
    for scheme in ["http", "https"] {
        let mark = format!("/default-{scheme}");
        let six = home.fetch(&format!("{scheme}://{SIX}{mark}"), &[]);
        assert_seen(&home, SIX, &mark, six);
        let dual = home
            .fetch(&format!("{scheme}://{DUAL}{mark}"), &[])
            .unwrap();
        assert_eq!(dual.peer, "203.0.113.10");
        assert_eq!(home.internet.source_of(DUAL, &mark), "192.0.2.2");
    }
}

#[test]
fn a_black_holed_ipv6_address_costs_the_client_less_than_half_a_second() {
    let Some(home) = home() else { return };
    let gate = Gate::start(&home, &config("address"));
    let proxied = home.fetch_by_proxy(&format!("https://{DEAD}/dead-proxy"), &[]);
    let time = proxied.unwrap().time;
    assert!(time < PATIENCE, "by the forward proxy: {time:?}");
    assert!(gate.stop().success());

    // Anew, so that nothing is remembered of the dead address.
    let _gate = Gate::start(&home, &config("address"));
    let time = home
        .fetch(&format!("https://{DEAD}/dead-dns"), &[])
        .unwrap()
        .time;
    assert!(time < PATIENCE, "by DNS alone: {time:?}");
}
