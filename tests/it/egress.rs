//! How sessions leave: the source that an origin sees, and what is told where it cannot be had.

use std::io::Write as _;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::thread;

use sekisho::proxy::sniff::quic::packet::Version;

use crate::quic::flight;
use crate::support::{Gate, PATIENCE, Setup, Upstream, connect, run, tunnel};

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
