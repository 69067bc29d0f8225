//! A stranger on the IPv6 internet, to whom the gate's own address is open, finds nothing there.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::gate::{Gate, config};
use crate::home::{GATE, Home};
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
    let ask = |machine: &crate::namespace::Namespace, server: IpAddr| {
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
