//! By which door sessions leave: source, interface and mark of each family, as the network itself sees them.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use crate::gate::{Gate, config, on_gate};
use crate::home::Home;
use crate::internet::{DUAL, FOUR, SIX};
use crate::requirements::home;
use crate::wait::SOON;

/// A second address of the gate on each family.
const IPV4: &str = "192.168.77.3";
const IPV6: &str = "2001:db8:77::d003";

/// The name server of the internet, by IPv6.
const RESOLVER_IPV6: &str = "2001:db8:100::53";

/// A question for the address of four.origin.net.
const QUESTION: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04four\x06origin\x03net\x00\x00\x01\x00\x01";

/// Counts what leaves the gate with both marks, and from which sources.
fn count(home: &Home) {
    home.gate.nft(&format!(
        "table inet count {{
           counter tcp4 {{ }}; counter tcp6 {{ }}; counter udp6 {{ }}; counter unmarked {{ }};
           chain output {{
             type filter hook output priority 0;
             oifname != \"lan\" accept;
             meta mark 44 ip saddr {IPV4} tcp dport {{ 80, 443 }} counter name tcp4 accept;
             meta mark 66 ip6 saddr {IPV6} tcp dport {{ 80, 443 }} counter name tcp6 accept;
             meta mark 66 ip6 saddr {IPV6} udp dport 53 counter name udp6 accept;
             tcp dport {{ 80, 443 }} counter name unmarked;
           }}; }}"
    ));
}

/// What a place on the internet says to a datagram of the client that comes by SOCKS5.
fn ask_by_socks(home: &Home, to: SocketAddr, datagram: &[u8]) -> Vec<u8> {
    home.client.inside(|| {
        let mut control = TcpStream::connect_timeout(&on_gate(1080), SOON).expect("the proxy");
        control.set_read_timeout(Some(SOON)).expect("a timeout");
        control
            .write_all(&[5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0])
            .expect("to ask");
        let mut said = [0; 12];
        control.read_exact(&mut said).expect("two answers");
        assert_eq!(said[..4], [5, 0, 5, 0], "{said:?}");
        let port = u16::from_be_bytes([said[10], said[11]]);
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        let IpAddr::V6(address) = to.ip() else {
            panic!("an IPv6 address");
        };
        let mut wrapped = vec![0, 0, 0, 4];
        wrapped.extend(address.octets());
        wrapped.extend(to.port().to_be_bytes());
        wrapped.extend(datagram);
        socket.send_to(&wrapped, on_gate(port)).expect("to send");
        let mut buffer = [0; 2000];
        let (length, _) = socket.recv_from(&mut buffer).expect("an answer");
        buffer[22..length].to_vec()
    })
}

#[test]
fn sessions_of_each_family_have_its_source_and_its_mark_without_root() {
    let Some(home) = home() else { return };
    home.gate.ip(&format!("addr add {IPV4}/24 dev lan"));
    home.gate.ip(&format!("addr add {IPV6}/64 dev lan nodad"));
    count(&home);
    let doors = format!(
        "{}\n[egress.ipv4]\nsource = \"{IPV4}\"\ninterface = \"lan\"\nmark = 44\n\
         [egress.ipv6]\nsource = \"{IPV6}\"\ninterface = \"lan\"\nmark = 66\n",
        config("address")
    );
    let gate = Gate::start(&home, &doors);
    let status = fs::read_to_string(format!("/proc/{}/status", gate.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_ne!(field("Uid:"), "0");
    let raw_or_admin = ["0000000000002000", "0000000000001000"];
    for set in ["CapPrm:", "CapEff:"] {
        assert!(raw_or_admin.contains(&&*field(set)), "{set} {}", field(set));
    }
    assert!(!gate.said().contains("cannot leave"), "{}", gate.said());

    for (origin, source) in [(SIX, IPV6), (DUAL, IPV6), (FOUR, "192.0.2.2")] {
        let mark = "/doors";
        let fetched = home.fetch_by_proxy(&format!("https://{origin}{mark}"), &[]);
        assert_eq!(fetched.unwrap().status, 200, "{origin}");
        assert_eq!(home.internet.source_of(origin, mark), source, "{origin}");
    }
    let server = SocketAddr::new(RESOLVER_IPV6.parse().unwrap(), 53);
    let answer = ask_by_socks(&home, server, QUESTION);
    assert_eq!(answer[..2], QUESTION[..2]);
    for counter in ["tcp4", "tcp6", "udp6"] {
        assert!(home.gate.counted(counter) > 0, "{counter}");
    }
    assert_eq!(home.gate.counted("unmarked"), 0);
    assert!(gate.stop().success());
}

#[test]
fn an_interface_that_leads_nowhere_leaves_the_other_family_and_a_reload_brings_it_back() {
    let Some(home) = home() else { return };
    home.gate.ip("link add door type veth peer name doorway");
    home.gate.ip("link set door up");
    let closed = format!(
        "{}\n[egress.ipv6]\ninterface = \"door\"\n",
        config("address")
    );
    let mut gate = Gate::start(&home, &closed);
    let fetch = |mark: &str| {
        let fetched = home.fetch_by_proxy(&format!("https://{DUAL}{mark}"), &[]);
        assert_eq!(fetched.unwrap().status, 200, "{mark}");
        home.internet.source_of(DUAL, mark)
    };
    assert_eq!(fetch("/closed"), "192.0.2.2");
    gate.wait_for("why=\"no route\"", 1);
    gate.reload(&config("address"), "reloaded");
    gate.wait_for("family well", 1);
    assert_eq!(fetch("/open"), home.gate_ipv6.to_string());
    assert!(gate.stop().success());
}

#[test]
fn a_mark_that_comes_with_a_reload_is_told_to_need_a_restart() {
    let Some(home) = home() else { return };
    let mut gate = Gate::start(&home, &config("address"));
    let marked = format!("{}\n[egress.ipv4]\nmark = 44\n", config("address"));
    gate.reload(&marked, "reloaded");
    let said = gate.said();
    assert!(
        said.contains("egress.ipv4.mark: `44` needs CAP_NET_RAW"),
        "{said}"
    );
    let fetched = home.fetch_by_proxy(&format!("https://{SIX}/other"), &[]);
    assert_eq!(fetched.unwrap().status, 200, "IPv6 is as it was");
}
