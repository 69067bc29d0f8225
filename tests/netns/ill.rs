//! IPv6 that dies in the middle of a run and comes back: what sessions, `/ready`, the log and the metrics make of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::gate::{Gate, config, on_gate};
use crate::home::Home;
use crate::requirements::{home, tell};
use crate::wait::{SOON, now, until};

/// Different destinations with both families: as many as make a family ill, and some more.
const SITES: u8 = 6;
/// Where they listen.
const PORT: u16 = 7007;

/// Origins in networks of their own that send back every byte, and a gate that knows their names.
fn begin(home: &Home) -> Gate {
    let mut hosts = String::new();
    for site in 1..=SITES {
        let (ipv4, ipv6) = (format!("198.51.{site}.1"), format!("2001:db8:20{site}::1"));
        for address in [&ipv4, &ipv6] {
            home.internet
                .machine()
                .ip(&format!("addr add {address} dev lo"));
        }
        hosts.push_str(&format!("{ipv4} site{site}.test\n{ipv6} site{site}.test\n"));
    }
    let any: SocketAddr = (std::net::Ipv6Addr::UNSPECIFIED, PORT).into();
    let listener = home.internet.machine().inside(|| TcpListener::bind(any));
    let listener = listener.expect("the origins");
    // It ends with the process: nobody waits for it.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || echo(stream));
        }
    });
    let file = home.folder().join("sites");
    fs::write(&file, hosts).expect("hosts");
    let with_hosts = format!(
        "{}\n[dns]\nhosts = [\"{}\"]\n",
        config("address"),
        file.display()
    );
    Gate::start(home, &with_hosts)
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 1000];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// A tunnel of the client to a site, and how long it took.
fn tunnel(home: &Home, site: u8) -> (TcpStream, Duration) {
    home.client.inside(|| {
        let begun = now();
        let mut stream = TcpStream::connect_timeout(&on_gate(3128), SOON).expect("the proxy");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        let target = format!("site{site}.test:{PORT}");
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("to ask");
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            said.extend(byte);
        }
        assert!(said.starts_with(b"HTTP/1.1 200 "), "{target}: {said:?}");
        (stream, begun.elapsed())
    })
}

/// Whether what is said in the tunnel comes back.
fn carries(mut tunnel: &TcpStream, words: &[u8; 4]) {
    tunnel.write_all(words).expect("to speak");
    let mut back = [0; 4];
    tunnel.read_exact(&mut back).expect("an echo");
    assert_eq!(&back, words);
}

/// The family and the attempts of the last session that has ended.
fn last_session(gate: &Gate, tunnel: TcpStream, site: u8) -> (String, String) {
    let target = format!("site{site}.test:{PORT}");
    let lines = || -> Vec<String> {
        let said = gate.said();
        let ended = said
            .lines()
            .filter(|line| line.contains("ended=") && line.contains(&target));
        ended.map(str::to_owned).collect()
    };
    let before = lines().len();
    drop(tunnel);
    let line = until("the session's line", SOON, || {
        let now = lines();
        (now.len() > before).then(|| now.last().cloned()).flatten()
    });
    let field = |name: &str| {
        let mut values = line.split(' ').filter_map(|word| word.strip_prefix(name));
        let value = values.next().unwrap_or_else(|| panic!("{name} {line}"));
        value.trim_matches('"').to_owned()
    };
    let address: SocketAddr = field("address=").parse().expect("an address");
    let family = match address.ip() {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(_) => "ipv6",
    };
    (family.to_owned(), field("attempts="))
}

fn admin(home: &Home, path: &str) -> String {
    home.gate.run(&format!(
        "curl -qsS --max-time 10 http://127.0.0.1:9053{path}"
    ))
}

fn assert_well(home: &Home) {
    let metrics = admin(home, "/metrics");
    assert!(
        metrics.contains("sekisho_family_ill{family=\"ipv6\"} 0"),
        "{metrics}"
    );
    assert!(!admin(home, "/ready").contains("ipv6: ill"));
}

fn assert_ill(home: &Home, why: &str) {
    let ready = admin(home, "/ready");
    assert!(ready.contains(&format!("ipv6: ill ({why})")), "{ready}");
    let metrics = admin(home, "/metrics");
    assert!(
        metrics.contains("sekisho_family_ill{family=\"ipv6\"} 1"),
        "{metrics}"
    );
}

/// Waits for the first new session over IPv6.
fn back_on_ipv6(home: &Home, gate: &Gate) -> Duration {
    let mended = now();
    until("a session over IPv6", SOON, || {
        let (tunnel, _) = tunnel(home, 1);
        (last_session(gate, tunnel, 1).0 == "ipv6").then_some(())
    });
    mended.elapsed()
}

#[test]
fn when_ipv6_is_swallowed_on_its_way_new_sessions_leave_by_ipv4_and_old_ones_live_on() {
    let Some(home) = home() else { return };
    let mut gate = begin(&home);
    let (before, _) = tunnel(&home, 1);
    carries(&before, b"well");
    assert_well(&home);

    home.gateway.nft(
        "table inet cut { chain forward { type filter hook forward priority 0; meta nfproto ipv6 drop; }; }",
    );
    // Three destinations pay for it, each once.
    for site in 1..=3 {
        let (tunnel, _) = tunnel(&home, site);
        carries(&tunnel, b"four");
        let told = last_session(&gate, tunnel, site);
        assert_eq!(told, ("ipv4".to_owned(), "2".to_owned()), "site {site}");
    }
    gate.wait_for("family ill", 1);
    assert_ill(&home, "no answers");
    // The others leave by IPv4 at once: nothing else is tried.
    let mut times = Vec::new();
    for site in 4..=SITES {
        let (tunnel, time) = tunnel(&home, site);
        carries(&tunnel, b"four");
        let told = last_session(&gate, tunnel, site);
        assert_eq!(told, ("ipv4".to_owned(), "1".to_owned()), "site {site}");
        times.push(time);
    }
    home.gateway.run("nft delete table inet cut");
    let back = back_on_ipv6(&home, &gate);
    gate.wait_for("family well", 1);
    assert_well(&home);
    carries(&before, b"last");
    tell(&format!("IPv6 ill: {times:?} by IPv4; back after {back:?}"));
    assert!(gate.stop().success());
}

#[test]
fn when_the_route_of_ipv6_is_withdrawn_it_is_told_and_its_return_is_enough() {
    let Some(home) = home() else { return };
    let mut gate = begin(&home);
    let (before, _) = tunnel(&home, 1);
    carries(&before, b"well");

    home.gate.sysctl("ipv6/conf/lan/accept_ra", "0");
    let routes = home.gate.ip("-6 route show default");
    home.gate.ip("-6 route del default");
    gate.wait_for("family ill", 1);
    assert_ill(&home, "no route");
    let (tunnel, time) = tunnel(&home, 2);
    carries(&tunnel, b"four");
    assert_eq!(last_session(&gate, tunnel, 2).0, "ipv4");

    let router = routes.split_whitespace().nth(2).expect("a router");
    home.gate
        .ip(&format!("-6 route add default via {router} dev lan"));
    let back = back_on_ipv6(&home, &gate);
    gate.wait_for("family well", 1);
    assert_well(&home);
    carries(&before, b"last");
    tell(&format!("no route: {time:?} by IPv4; back after {back:?}"));
    assert!(gate.stop().success());
}
