//! The egress guard: no client reaches the LAN, the gate itself or its admin port through the gate.

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;

use crate::support::{
    Gate, Origin, QuicClient, Service, Setup, Upstream, client_hello, connect, request,
    socks_associate, socks_datagram, tunnel,
};

fn assert_prohibited(gate: &Gate, target: &str) {
    let (_, response) = tunnel(gate.addr("http"), target);
    assert_eq!(response.status, 403, "{target}: {}", response.text());
    let why = response.header("proxy-status").expect("Proxy-Status");
    assert!(
        why.contains("error=destination_ip_prohibited"),
        "{target}: {why}"
    );
    assert!(!response.body.is_empty(), "a body for people");
}

#[test]
fn addresses_that_are_not_of_the_internet_are_closed() {
    let upstream = Upstream::start();
    let origin = Origin::start(Service::Http);
    let gate = Gate::start(&Setup::guarded(&upstream));
    let port = origin.port();
    for host in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
    ] {
        assert_prohibited(&gate, &format!("{host}:{port}"));
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_name_that_leads_there_is_closed_as_well() {
    let upstream = Upstream::start();
    let origin = Origin::start(Service::Http);
    upstream
        .addresses("four.origin.example", &["127.0.0.1"])
        .addresses("six.origin.example", &["::1"])
        .addresses("mapped.origin.example", &["::ffff:127.0.0.1"])
        .addresses("lan.origin.example", &["192.168.1.1", "fe80::1"]);
    let gate = Gate::start(
        &Setup::guarded(&upstream).set("proxy.plain-origin-port", &origin.port().to_string()),
    );
    for host in ["four", "six", "mapped", "lan"] {
        assert_prohibited(&gate, &format!("{host}.origin.example:{}", origin.port()));
    }
    for host in ["four", "six", "mapped", "lan"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}.origin.example\r\n\r\n");
        let response = request(gate.addr("plain"), head.as_bytes());
        assert!(
            response.is_none_or(|response| response.status == 403),
            "{host}"
        );
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn transparent_tls_is_guarded_too() {
    let upstream = Upstream::start();
    let origin = Origin::start(Service::Tls);
    upstream.addresses("www.origin.example", &["127.0.0.1", "::1"]);
    let port = origin.port().to_string();
    let gate = Gate::start(&Setup::guarded(&upstream).set("proxy.tls-origin-port", &port));
    let (_, hello) = client_hello("www.origin.example");
    let mut stream = connect(gate.addr("tls"));
    stream.write_all(&hello).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).ok();
    assert!(back.is_empty() || back[0] == 21, "an alert at most");
    assert_eq!(origin.connections(), 0);
}

#[test]
fn the_admin_port_and_the_gate_itself_are_closed() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::guarded(&upstream));
    for kind in ["admin", "http", "dns-tcp", "tls"] {
        let address = gate.addr(kind);
        assert_prohibited(&gate, &address.to_string());
        let head = format!("GET http://{address}/metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let response = request(gate.addr("http"), head.as_bytes()).expect("a response");
        assert_eq!(response.status, 403, "{kind}");
    }
}

#[test]
fn what_is_denied_stays_closed_although_it_is_allowed() {
    let upstream = Upstream::start();
    let origin = Origin::start(Service::Http);
    let setup = Setup::new(&upstream).set("egress.deny", r#"["127.0.0.1"]"#);
    let gate = Gate::start(&setup);
    assert_prohibited(&gate, &format!("127.0.0.1:{}", origin.port()));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn no_allowance_opens_the_admin_listener() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::new(&upstream));
    assert_prohibited(&gate, &gate.addr("admin").to_string());
    assert_prohibited(&gate, &gate.addr("http").to_string());
}

#[test]
fn a_local_name_is_judged_by_its_zone_and_not_asked_for_outside() {
    let zone = "$TTL 60\n@ SOA gate hostmaster 1 1 1 1 60\n@ NS gate\ngate A 127.0.0.1\nnas A 192.168.1.10\n";
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::guarded(&upstream).zone("home.arpa.zone", zone));
    for host in ["nas.home.arpa", "nas", "localhost"] {
        assert_prohibited(&gate, &format!("{host}:80"));
    }
    let (_, response) = tunnel(gate.addr("http"), "nobody.home.arpa:80");
    assert_eq!(response.status, 502);
    assert_eq!(upstream.seen().len(), 0, "{:?}", upstream.seen());
}

/// Addresses that are closed, each in another disguise.
const DISGUISED: &[&str] = &[
    "127.0.0.1",
    "::1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::127.0.0.1",
    "2002:7f00:1::1",
    "2001:0:7f00:1::1",
    "2001:0:808:808::80ff:fffe",
    "::127.0.0.1",
    "fd00::1",
    "192.168.1.1",
];

#[test]
fn no_datagram_of_socks_goes_to_a_closed_address() {
    let upstream = Upstream::start();
    upstream.addresses("lan.origin.example", &["127.0.0.1", "::1"]);
    let origin = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port();
    let gate = Gate::start(&Setup::guarded(&upstream));
    let (_stream, relay) = socks_associate(gate.addr("socks"));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for host in DISGUISED {
        let datagram = socks_datagram(host, port, b"let me in");
        client.send_to(&datagram, relay).unwrap();
    }
    let refused = "sekisho_udp_dropped_total{reason=\"refused\"}";
    gate.wait_for_metric(refused, DISGUISED.len() as f64);
    let named = socks_datagram("lan.origin.example", port, b"let me in");
    client.send_to(&named, relay).unwrap();
    gate.wait_for_metric("sekisho_udp_dropped_total{reason=\"unresolved\"}", 1.0);
    origin.set_nonblocking(true).unwrap();
    assert!(origin.recv_from(&mut [0; 100]).is_err());
}

#[test]
fn no_flow_of_quic_goes_to_a_closed_address() {
    let upstream = Upstream::start();
    let origin = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port().to_string();
    let setup = Setup::guarded(&upstream).set("proxy.quic-origin-port", &port);
    let gate = Gate::start(&setup);
    for (place, address) in DISGUISED.iter().enumerate() {
        let host = format!("n{place}.origin.example");
        upstream.addresses(&host, &[address]);
        let refused = QuicClient::new().connect(gate.addr("quic"), &host);
        assert!(refused.is_err(), "{address}");
        gate.wait_for_log(&format!("{host}:{port} is closed to clients"));
    }
    origin.set_nonblocking(true).unwrap();
    assert!(origin.recv_from(&mut [0; 2000]).is_err());
}

#[test]
fn a_name_that_a_hosts_file_leads_to_loopback_is_refused_by_the_address() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::guarded(&upstream).set("dns.hosts", r#"["hosts"]"#));
    let lines = "127.0.0.1 four.example nas\n::1 six.example\n0.0.0.0 zero.example\n";
    gate.write("hosts", lines);
    gate.signal(nix::sys::signal::Signal::SIGHUP);
    gate.wait_for_log("reloaded");
    for (host, address) in [
        ("four.example", "127.0.0.1"),
        ("nas", "127.0.0.1"),
        ("six.example", "::1"),
        ("zero.example", "0.0.0.0"),
    ] {
        let (_, response) = tunnel(gate.addr("http"), &format!("{host}:80"));
        assert_eq!(response.status, 403, "{host}: {}", response.text());
        let why = format!("{host}:80 is closed to clients: {address} is ");
        assert!(response.text().contains(&why), "{}", response.text());
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}
