//! `/proxy.pac` and `/wpad.dat`, on their own listener and on the one shared with steered traffic.

use std::net::SocketAddr;

use crate::support::{Gate, Origin, Response, Service, Setup, Upstream, request};

const TYPE: &str = "application/x-ns-proxy-autoconfig";

fn get(to: SocketAddr, path: &str, host: &str) -> Option<Response> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    request(to, head.as_bytes())
}

fn assert_pac(response: &Response, gate: &Gate) {
    assert_eq!(response.status, 200, "{}", response.head);
    let content_type = response.header("content-type").expect("a type");
    assert_eq!(content_type.split(';').next(), Some(TYPE));
    let script = response.text();
    assert!(
        script.contains("function FindProxyForURL(url, host)"),
        "{script}"
    );
    let proxy = format!("PROXY 127.0.0.1:{}; DIRECT", gate.addr("http").port());
    assert!(script.contains(&proxy), "{proxy}: {script}");
}

#[test]
fn the_script_is_served_by_both_names_with_its_type() {
    let upstream = Upstream::start();
    for mode in ["off", "ipv6-only", "address"] {
        let gate = Gate::start(&Setup::new(&upstream).mode(mode));
        for (path, host) in [
            ("/proxy.pac", "127.0.0.1"),
            ("/wpad.dat", "wpad"),
            ("/wpad.dat", "wpad.home.arpa"),
        ] {
            let response = get(gate.addr("web"), path, host).expect("a response");
            assert_pac(&response, &gate);
        }
        let missing = get(gate.addr("web"), "/none", "wpad").expect("a response");
        assert_eq!(missing.status, 404);
    }
}

#[test]
fn on_the_shared_port_the_host_decides() {
    let upstream = Upstream::start();
    upstream.addresses("www.origin.example", &["127.0.0.1", "::1"]);
    let origin = Origin::start(Service::Http);
    let shared = r#"["127.0.0.1:0"]"#;
    let gate = Gate::start(
        &Setup::new(&upstream)
            .set("proxy.plain", shared)
            .set("web.listen", shared)
            .set("proxy.plain-origin-port", &origin.port().to_string()),
    );
    let found = gate.find_addr("plain").or_else(|| gate.find_addr("web"));
    let to = found.expect("the shared listener");
    for host in ["wpad", "WPAD.home.arpa", "127.0.0.1", &to.to_string()] {
        let response = get(to, "/wpad.dat", host).expect("a response");
        assert_pac(&response, &gate);
    }
    assert_eq!(origin.connections(), 0);
    let response = get(to, "/wpad.dat", "www.origin.example").expect("the origin's response");
    assert_eq!(
        response.header("x-origin"),
        Some("here"),
        "any other host is steered traffic"
    );
    assert_eq!(response.report()["path"], "/wpad.dat");
}

#[test]
fn a_local_name_of_the_gate_is_the_gates_host_also_after_a_reload() {
    let head = "$TTL 60\n@ SOA gate hostmaster 1 1 1 1 60\n@ NS gate\n";
    let upstream = Upstream::start();
    let shared = r#"["127.0.0.1:0"]"#;
    let setup = |names: &str| {
        Setup::new(&upstream)
            .set("proxy.plain", shared)
            .set("web.listen", shared)
            .zone("home.arpa.zone", &format!("{head}{names}"))
    };
    let gate = Gate::start(&setup("gate A 127.0.0.1\nnas A 192.168.1.10\n"));
    let to = gate.addr("plain");
    assert_pac(
        &get(to, "/proxy.pac", "gate.home.arpa").expect("a response"),
        &gate,
    );
    let refused = get(to, "/proxy.pac", "nas.home.arpa").expect("a response");
    assert_eq!(refused.status, 403, "the LAN is not carried to");
    gate.reload(&setup("door A 127.0.0.1\n"), "reloaded");
    assert_pac(
        &get(to, "/proxy.pac", "door.home.arpa").expect("a response"),
        &gate,
    );
    let gone = get(to, "/proxy.pac", "gate.home.arpa").expect("a response");
    assert_eq!(gone.status, 502);
}

#[test]
fn only_one_listener_is_bound_for_a_shared_address() {
    let upstream = Upstream::start();
    let shared = r#"["127.0.0.1:0"]"#;
    let setup = Setup::new(&upstream)
        .set("proxy.plain", shared)
        .set("web.listen", shared);
    let gate = Gate::start(&setup);
    let addresses: Vec<_> = ["plain", "web"]
        .iter()
        .filter_map(|kind| gate.find_addr(kind))
        .collect();
    assert!(!addresses.is_empty());
    assert!(
        addresses.iter().all(|address| *address == addresses[0]),
        "{addresses:?}"
    );
}
