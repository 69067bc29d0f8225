//! The admin listener: alive, ready, and the metrics.

use hickory_proto::rr::RecordType;

use crate::support::{Ask, Gate, Response, Setup, Upstream, request};

fn get(gate: &Gate, path: &str) -> Response {
    let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    request(gate.addr("admin"), head.as_bytes()).expect("a response")
}

#[test]
fn a_gate_that_serves_is_live_and_ready() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::new(&upstream));
    for path in ["/live", "/ready"] {
        assert_eq!(get(&gate, path).status, 200, "{path}");
    }
    assert_eq!(get(&gate, "/none").status, 404);
}

#[test]
fn metrics_count_what_happened() {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1", "2001:db8::1"]);
    let gate = Gate::start(&Setup::new(&upstream));
    for _ in 0..3 {
        Ask::new("www.example", RecordType::AAAA).udp(&gate);
    }
    let response = get(&gate, "/metrics");
    assert_eq!(response.status, 200);
    let text = response.text();
    let value = |name: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    assert!(value("sekisho_dns_queries_total") >= 3.0, "{text}");
    assert!(value("sekisho_dns_withheld_total") >= 3.0, "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    for line in samples {
        assert!(line.starts_with("sekisho_"), "{line}");
        assert!(!line.contains("127.0.0.1"), "no addresses: {line}");
    }
}
