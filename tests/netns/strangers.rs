//! Strangers: one on the IPv6 internet, to whom the gate's own address is open, finds nothing there; one on the IPv4
//! internet, whom the home gateway lets through, is sent away.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::client::Answer;
use crate::gate::{Gate, config, on_gate};
use crate::home::{GATE, Home};
use crate::internet::DUAL;
use crate::namespace::Namespace;
use crate::requirements::home;

/// A question for the address of dual.origin.net.
const QUESTION: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04dual\x06origin\x03net\x00\x00\x01\x00\x01";

/// The local addresses of listening sockets, as `ss` tells them.
fn bound(home: &Home, kind: &str) -> Vec<String> {
    let sockets = home.gate.run(&format!("ss -Hln{kind}"));
    let local = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    sockets.lines().filter_map(local).collect()
}

/// The TCP ports of the gate where a stranger gets anything but a refusal.
pub(crate) fn ports_open_to_a_stranger(home: &Home) -> Vec<u16> {
    let refused = |port: &u16| {
        let place = SocketAddr::new(home.gate_ipv6.into(), *port);
        // A refusal is proof that the question did come to the gate; silence would be none.
        TcpStream::connect_timeout(&place, Duration::from_secs(5))
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    home.stranger
        .inside(|| (1..=u16::MAX).filter(|port| !refused(port)).collect())
}

#[test]
fn nothing_listens_on_ipv6_or_on_every_address() {
    let Some(home) = home() else { return };
    let gate = Gate::start(&home, &config("address"));
    let allowed = [GATE, "127.0.0.1"].map(|address| address.parse::<IpAddr>().unwrap());
    let listening = gate.listening();
    for (kind, address) in &listening {
        assert!(allowed.contains(&address.ip()), "{kind} on {address}");
    }
    for kind in ["dns-udp", "dns-tcp", "http", "tls", "plain", "admin"] {
        assert!(
            listening.iter().any(|(known, _)| known == kind),
            "{kind}: {listening:?}"
        );
    }
    let tcp = bound(&home, "t");
    let udp = bound(&home, "u");
    assert!(!tcp.is_empty() && !udp.is_empty());
    for local in tcp.iter().chain(&udp) {
        let place: SocketAddr = local.parse().unwrap_or_else(|_| panic!("bound to {local}"));
        assert!(allowed.contains(&place.ip()), "bound to {local}");
        // Sockets towards upstreams are bound too, to ports that nobody was told.
        let said = listening.iter().any(|(_, address)| *address == place);
        assert!(said || udp.contains(local), "{local} is in no log line");
    }
}

#[test]
fn no_port_is_open_to_a_stranger() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("address"));
    let open = ports_open_to_a_stranger(&home);
    assert!(open.is_empty(), "open or silent: {open:?}");
}

#[test]
fn a_stranger_gets_no_answer_from_the_dns() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("address"));
    let ask = |machine: &Namespace, server: IpAddr| {
        machine.inside(|| {
            let here = if server.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = UdpSocket::bind(here)?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            socket.connect((server, 53))?;
            socket.send(QUESTION)?;
            socket.recv(&mut [0; 512])
        })
    };
    let client = ask(&home.client, GATE.parse().unwrap());
    assert!(client.is_ok(), "the question is good: {client:?}");
    let stranger = ask(&home.stranger, home.gate_ipv6.into());
    // The gate's kernel says by ICMPv6 that nobody is there.
    assert_eq!(stranger.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// What a port of the gate says to a request from this machine.
fn said(machine: &Namespace, port: u16) -> Vec<u8> {
    machine.inside(|| {
        let patience = Duration::from_secs(5);
        let mut said = Vec::new();
        let mut exchange = || {
            let mut stream = TcpStream::connect_timeout(&on_gate(port), patience)?;
            stream.set_read_timeout(Some(patience))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            stream.read_to_end(&mut said)
        };
        // The end of a connection that was closed unread comes at any of these steps.
        if let Err(error) = exchange() {
            let ended = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(ended.contains(&error.kind()), "{port}: {error}");
        }
        said
    })
}

#[test]
fn a_stranger_on_ipv4_is_refused_by_the_dns_and_closed_unread_elsewhere() {
    let Some(home) = home() else { return };
    let gate = Gate::start(&home, &config("address"));
    let stranger = home.internet.machine();
    // As a home gateway does that forwards ports, or has no NAT at all.
    stranger.ip(&format!("route add {GATE} via 192.0.2.2"));
    stranger.run(&format!("ping -c 1 -W 5 {GATE}"));

    let question = format!("+time=5 +tries=1 @{GATE} {DUAL} A");
    let answer = Answer(stranger.run(&format!("dig {question}")));
    assert!(answer.is("REFUSED"), "{}", answer.0);
    assert!(answer.data().is_empty(), "{}", answer.0);
    assert!(home.dig(&question).is("NOERROR"), "the question is good");

    for port in [53, 80, 443, 3128] {
        let words = said(stranger, port);
        assert!(words.is_empty(), "{port}: {words:?}");
    }
    // The same request from a client is answered where HTTP is spoken.
    for port in [80, 3128] {
        assert!(!said(&home.client, port).is_empty(), "{port}");
    }
    let metrics = home
        .gate
        .run("curl -qsS --max-time 5 http://127.0.0.1:9053/metrics");
    let refused = "sekisho_sessions_refused_total{reason=\"stranger\"} 4\n";
    assert!(metrics.contains(refused), "{metrics}\n{}", gate.said());
}
