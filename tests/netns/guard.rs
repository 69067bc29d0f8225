//! The gate opens the internet to clients, never the LAN, its own ports or its neighbours.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::gate::{Gate, config, on_gate};
use crate::home::{GATE, GATEWAY, GATEWAY_IPV6, Home};
use crate::internet::DUAL;
use crate::requirements::home;

/// The first line of what the forward proxy says to the client.
fn connect(home: &Home, target: &str) -> String {
    home.client.inside(|| {
        let mut proxy =
            TcpStream::connect_timeout(&on_gate(3128), Duration::from_secs(5)).expect("the proxy");
        proxy
            .set_read_timeout(Some(Duration::from_secs(15)))
            .expect("a timeout");
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        proxy.write_all(head.as_bytes()).expect("to ask");
        let mut line = String::new();
        BufReader::new(proxy)
            .read_line(&mut line)
            .expect("an answer");
        line
    })
}

#[test]
fn no_client_reaches_the_lan_or_the_gate_itself_through_the_gate() {
    let Some(home) = home() else { return };
    // The screens of a home gateway, which do answer on both families.
    let screens: Vec<TcpListener> = [GATEWAY, GATEWAY_IPV6]
        .map(|address| {
            let place = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 8080);
            home.gateway.inside(|| TcpListener::bind(place)).unwrap()
        })
        .into();
    for screen in &screens {
        let place = screen.local_addr().unwrap();
        let reached = home
            .gate
            .inside(|| TcpStream::connect_timeout(&place, Duration::from_secs(5)));
        assert!(reached.is_ok(), "the gate itself: {place}: {reached:?}");
    }

    let _gate = Gate::start(&home, &config("address"));
    let outside = connect(&home, &format!("{DUAL}:443"));
    assert!(outside.starts_with("HTTP/1.1 200 "), "{outside}");
    let gate_ipv6 = home.gate_ipv6;
    let client = home.lease.address;
    for target in [
        format!("{GATEWAY}:8080"),
        format!("[{GATEWAY_IPV6}]:8080"),
        format!("[::ffff:{GATEWAY}]:8080"),
        format!("{client}:22"),
        format!("{GATE}:3128"),
        format!("[{gate_ipv6}]:22"),
        format!("[{gate_ipv6}]:53"),
        "127.0.0.1:9053".to_owned(),
        "[::1]:9053".to_owned(),
        "localhost:9053".to_owned(),
        "[fe80::1]:80".to_owned(),
        "wpad.home.arpa:80".to_owned(),
    ] {
        let said = connect(&home, &target);
        let refused = ["HTTP/1.1 403 ", "HTTP/1.1 502 "]
            .iter()
            .any(|status| said.starts_with(status));
        assert!(refused, "{target}: {said}");
        let by_address = target.starts_with(|first: char| first == '[' || first.is_ascii_digit());
        assert!(
            !by_address || said.starts_with("HTTP/1.1 403 "),
            "{target}: {said}"
        );
    }
}

#[test]
fn no_client_reaches_the_admin_listener() {
    let Some(home) = home() else { return };
    let gate = Gate::start(&home, &config("address"));
    let listening = gate.listening();
    let admin = listening
        .iter()
        .find(|(kind, _)| kind == "admin")
        .map(|(_, address)| *address);
    let port = admin.expect("an admin listener").port();
    let reached = home
        .client
        .inside(|| TcpStream::connect_timeout(&on_gate(port), Duration::from_secs(5)));
    assert!(reached.is_err(), "{reached:?}");
    let metrics = home.gate.run(&format!(
        "curl -qsS --max-time 5 http://127.0.0.1:{port}/metrics"
    ));
    assert!(metrics.contains("sekisho_"), "{metrics}");
}
