//! How sessions leave: the source that an origin sees, and what is told where it cannot be had.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use sekisho::proxy::sniff::quic::packet::Version;
use socket2::{Domain, Socket, Type};

use crate::quic::flight;
use crate::support::{
    Gate, Origin, PATIENCE, Response, Service, Setup, Upstream, connect, has_ipv6, read_response,
    run, socks_associate, socks_datagram, tunnel,
};

/// Where sessions come from.
const SOURCE: &str = "127.0.0.9";

fn setup(upstream: &Upstream, source: &str) -> Setup {
    upstream.addresses("www.origin.example", &["127.0.0.1"]);
    Setup::new(upstream).set("egress.ipv4.source", &format!("\"{source}\""))
}

/// Who comes to the listener, when the gate is asked for this target.
fn seen(gate: &Gate, listener: &TcpListener, target: &str) -> IpAddr {
    let asking = thread::spawn({
        let mut stream = connect(gate.addr("http"));
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        move || {
            stream.write_all(head.as_bytes()).unwrap();
            stream
        }
    });
    let (_, peer) = listener.accept().unwrap();
    drop(asking.join().unwrap());
    peer.ip()
}

#[test]
fn tcp_comes_from_the_source_until_a_reload_gives_another() {
    let upstream = Upstream::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let gate = Gate::start(&setup(&upstream, SOURCE));
    assert_eq!(seen(&gate, &listener, &target).to_string(), SOURCE);
    gate.reload(&setup(&upstream, "127.0.0.10"), "reloaded");
    assert_eq!(seen(&gate, &listener, &target).to_string(), "127.0.0.10");
}

#[test]
fn a_session_to_an_upstream_proxy_comes_from_the_source_too() {
    let upstream = Upstream::start();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let via = format!("\"socks5://{}\"", proxy.local_addr().unwrap());
    let gate = Gate::start(&setup(&upstream, SOURCE).set("egress.via", &via));
    assert_eq!(seen(&gate, &proxy, "away.example:443").to_string(), SOURCE);
}

#[test]
fn datagrams_come_from_the_source() {
    let upstream = Upstream::start();
    let origin = UdpSocket::bind("127.0.0.1:0").unwrap();
    origin.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = origin.local_addr().unwrap().port().to_string();
    let gate = Gate::start(
        &setup(&upstream, SOURCE)
            .mode("address")
            .set("proxy.quic-origin-port", &port),
    );
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in flight(Version::V1, "www.origin.example") {
        client.send_to(&datagram, gate.addr("quic")).unwrap();
    }
    let (_, peer) = origin.recv_from(&mut [0; 2000]).unwrap();
    assert_eq!(peer.ip().to_string(), SOURCE);
}

#[test]
fn a_source_that_is_not_there_is_told_at_the_start_by_check_and_by_each_session() {
    let upstream = Upstream::start();
    let setup = setup(&upstream, "192.0.2.77");
    let gate = Gate::start(&setup);
    let told = "egress.ipv4.source: this machine has no address `192.0.2.77`";
    let warned = gate.wait_for_log("sessions cannot leave as configured");
    assert!(warned.contains(told), "{warned}");
    let checked = run(gate.folder(), &["check", "--config", "sekisho.toml"]);
    let text = String::from_utf8_lossy(&checked.stderr) + String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && text.contains(told), "{text}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let (_, response) = tunnel(gate.addr("http"), &target);
    assert_eq!(response.status, 502, "{}", response.text());
    assert!(response.text().contains(told), "{}", response.text());
}

#[test]
fn an_interface_that_is_not_there_closes_its_family_and_no_other() {
    let upstream = Upstream::start();
    upstream.addresses("www.origin.example", &["127.0.0.1", "::1"]);
    let gate = Gate::start(&Setup::new(&upstream).set("egress.ipv6.interface", "\"no-such-door\""));
    let warned = gate.wait_for_log("sessions cannot leave as configured");
    let told = "egress.ipv6.interface: there is no interface `no-such-door`";
    assert!(warned.contains(told), "{warned}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = seen(&gate, &listener, &format!("www.origin.example:{port}"));
    assert_eq!(peer.to_string(), "127.0.0.1");
}

/// A client that has this address.
fn client(gate: &Gate, address: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let here = SocketAddr::new(address.parse().unwrap(), 0);
    socket.bind(&here.into()).unwrap();
    socket.connect(&gate.addr("http").into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

fn get(stream: &mut TcpStream, origin: &Origin) -> Response {
    let host = format!("www.origin.example:{}", origin.port());
    let head = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    read_response(stream).expect("an answer")
}

#[test]
fn a_rule_says_the_families_of_its_sessions_and_no_connection_is_shared_across() {
    if !has_ipv6() {
        return;
    }
    let upstream = Upstream::start();
    upstream.addresses("www.origin.example", &["127.0.0.1", "::1"]);
    let setup = Setup::new(&upstream)
        .rule("clients = [\"127.0.0.4\"]\nfamilies = \"ipv4-only\"")
        .rule("clients = [\"127.0.0.6\"]\nfamilies = \"ipv6-only\"");
    let gate = Gate::start(&setup);
    let origin = Origin::start(Service::Http);
    let ways = [
        ("127.0.0.4", "ipv4"),
        ("127.0.0.6", "ipv6"),
        ("127.0.0.1", "ipv6"),
    ];
    let mut clients = ways.map(|(address, family)| (client(&gate, address), family));
    for _ in 0..3 {
        for (stream, family) in &mut clients {
            assert_eq!(get(stream, &origin).family(), *family);
        }
    }
    assert_eq!(origin.connections(), 3, "each of them has been used again");
    let mut stream = client(&gate, "127.0.0.4");
    stream
        .write_all(b"CONNECT [::1]:9 HTTP/1.1\r\nHost: [::1]:9\r\n\r\n")
        .unwrap();
    let refused = read_response(&mut stream).expect("an answer");
    assert_eq!(refused.status, 403);
    let told = "[::1]:9 is an IPv6 address, and its rule says `families = \"ipv4-only\"`";
    assert!(refused.text().contains(told), "{}", refused.text());
    assert!(refused.text().contains("sekisho explain"));
    upstream.addresses("four.origin.example", &["127.0.0.1"]);
    let mut stream = client(&gate, "127.0.0.6");
    let host = format!("four.origin.example:{}", origin.port());
    let head = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let refused = read_response(&mut stream).expect("an answer");
    assert_eq!(refused.status, 403, "{}", refused.text());
    let told = format!("{host} has no IPv6 address, and its rule says `families = \"ipv6-only\"`");
    assert!(refused.text().contains(&told), "{}", refused.text());
}

#[test]
fn a_rule_says_the_families_of_datagrams_too() {
    if !has_ipv6() {
        return;
    }
    let upstream = Upstream::start();
    upstream.addresses("www.origin.example", &["127.0.0.1", "::1"]);
    let setup = Setup::new(&upstream).rule("families = \"ipv4-only\"");
    let gate = Gate::start(&setup);
    let ipv4 = UdpSocket::bind("127.0.0.1:0").unwrap();
    ipv4.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = ipv4.local_addr().unwrap().port();
    let ipv6 = UdpSocket::bind(("::1", port));
    let (_stream, relay) = socks_associate(gate.addr("socks"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for host in ["::1", "www.origin.example"] {
        let datagram = socks_datagram(host, port, host.as_bytes());
        socket.send_to(&datagram, relay).unwrap();
    }
    let mut buffer = [0; 100];
    let (length, _) = ipv4.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"www.origin.example");
    gate.wait_for_metric("sekisho_udp_dropped_total{reason=\"refused\"}", 1.0);
    if let Ok(ipv6) = ipv6 {
        ipv6.set_nonblocking(true).unwrap();
        assert!(ipv6.recv_from(&mut buffer).is_err());
    }
    let shown = run(
        gate.folder(),
        &["config", "show", "--config", "sekisho.toml"],
    );
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("families = \"ipv4-only\""), "{shown}");
}
