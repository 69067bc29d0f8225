//! The home before sekisho: what it promises the other tests.

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::home::GATE;
use crate::internet::{DEAD_IPV6, DUAL, DUAL_IPV4, FOUR, ORIGINS, RESOLVER, SIX};
use crate::requirements::home;
use crate::strangers::ports_open_to_a_stranger;

const TRY: Duration = Duration::from_secs(5);

#[test]
fn the_client_has_ipv4_from_dhcp_and_no_ipv6() {
    let Some(home) = home() else { return };
    let lan = "192.168.77.";
    assert!(
        home.lease.address.to_string().starts_with(lan),
        "{:?}",
        home.lease
    );
    assert_eq!(home.lease.dns, GATE);
    assert_eq!(home.lease.wpad, format!("http://{GATE}/wpad.dat"));
    assert_eq!(
        home.client.run("cat /etc/resolv.conf"),
        format!("nameserver {GATE}\n")
    );
    assert_eq!(home.client.ip("-6 addr show"), "");
    assert!(
        home.gateway_said().contains("DHCPACK(lan)"),
        "{}",
        home.gateway_said()
    );
}

#[test]
fn without_sekisho_the_client_reaches_ipv4_through_nat_and_nothing_else() {
    let Some(home) = home() else { return };
    let real = |origin: &str, address: &str| {
        let pin = format!("{origin}:443:{address}");
        home.fetch(&format!("https://{origin}/bare"), &["--resolve", &pin])
    };
    let dual = real(DUAL, DUAL_IPV4).expect("the dual-stack origin over IPv4");
    assert!(
        dual.text()
            .contains("dual.origin.net was reached by https from 192.0.2.2")
    );
    assert_eq!(dual.peer, DUAL_IPV4);
    assert_eq!(home.internet.source_of(DUAL, "/bare"), "192.0.2.2");
    let four = real(FOUR, "203.0.113.30").expect("the IPv4-only origin");
    assert_eq!(four.status, 200);
    let six = real(SIX, "[2001:db8:100::20]");
    assert!(six.is_err(), "an IPv6-only origin without IPv6: {six:?}");
}

#[test]
fn the_world_says_all_that_the_client_must_not_be_told() {
    let Some(home) = home() else { return };
    let ask = |question: &str| home.dig(&format!("@{RESOLVER} {question}"));
    let chain = [
        "CNAME edge.origin.net.",
        "CNAME dual.origin.net.",
        "AAAA 2001:db8:100::10",
    ];
    assert_eq!(
        ask("www.origin.net AAAA").data(),
        chain,
        "{}",
        home.internet.said()
    );
    assert_eq!(
        ask(&format!("{SIX} AAAA")).data(),
        ["AAAA 2001:db8:100::20"]
    );
    assert!(
        ask("origin.net MX").has("AAAA"),
        "in the additional section"
    );
    let https = ask(&format!("{DUAL} HTTPS")).data();
    assert_eq!(
        https,
        ["HTTPS 1 . alpn=\"h2,h3\" ipv4hint=203.0.113.10 ipv6hint=2001:db8:100::10"]
    );
    let none = ask(&format!("{SIX} A"));
    assert!(none.is("NOERROR") && none.data().is_empty(), "{}", none.0);
    let soa = "origin.net. 300 IN SOA ns.origin.net. hostmaster.origin.net. 1 3600 600 86400 300";
    assert_eq!(none.section("AUTHORITY"), [soa]);
    for nowhere in ["nowhere.origin.net", "nowhere.net"] {
        assert!(ask(&format!("{nowhere} A")).is("NXDOMAIN"));
    }
}

#[test]
fn the_gate_reaches_every_origin_over_both_families_but_the_dead_address() {
    let Some(home) = home() else { return };
    for (origin, ipv4, ipv6) in ORIGINS {
        for address in [ipv4, ipv6].into_iter().flatten() {
            for port in [80, 443] {
                let place = SocketAddr::new(address.parse().unwrap(), port);
                let reached = home.gate.inside(|| TcpStream::connect_timeout(&place, TRY));
                assert!(reached.is_ok(), "{origin} {place}: {reached:?}");
            }
        }
    }
    let dead = SocketAddr::new(DEAD_IPV6.parse().unwrap(), 443);
    let silence = Duration::from_secs(2);
    let reached = home
        .gate
        .inside(|| TcpStream::connect_timeout(&dead, silence));
    // Not refused, not unreachable: nothing at all comes back.
    assert_eq!(reached.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn the_path_from_a_stranger_to_the_gate_is_open() {
    let Some(home) = home() else { return };
    home.stranger
        .run(&format!("ping -6 -c 1 -W 5 {}", home.gate_ipv6));
    let listener = home
        .gate
        .inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)))
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(ports_open_to_a_stranger(&home), [port]);
    drop(listener);
    assert_eq!(ports_open_to_a_stranger(&home), [0; 0]);
}

#[test]
fn the_clients_browser_works() {
    let Some(home) = home() else { return };
    let rule = format!("--host-resolver-rules=MAP {DUAL} {DUAL_IPV4}");
    let page = home.browse(&format!("https://{DUAL}/browser"), &[&rule]);
    assert!(
        page.contains("was reached by https from 192.0.2.2"),
        "{page}"
    );
}

#[test]
fn nothing_in_the_home_has_a_way_out_of_the_machine() {
    let Some(home) = home() else { return };
    let internet = home.internet.machine();
    assert_eq!(internet.ip("-4 route show default"), "");
    assert_eq!(internet.ip("-6 route show default"), "");
}
