//! The cache from outside: what it forgets when told.

use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;

use crate::support::{Ask, Gate, Response, Setup, Upstream, request};

/// A request to the admin listener, with more lines of its head.
fn admin(gate: &Gate, method: &str, path: &str, lines: &str) -> Response {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    request(gate.addr("admin"), head.as_bytes()).expect("a response")
}

/// One number of `GET /cache`.
fn figure(gate: &Gate, key: &str) -> u64 {
    let report: serde_json::Value =
        serde_json::from_slice(&admin(gate, "GET", "/cache", "").body).unwrap();
    report[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no {key} in {report}"))
}

fn ask(gate: &Gate, owner: &str) -> usize {
    Ask::new(owner, RecordType::TXT).udp(gate).answers.len()
}

#[test]
fn a_name_a_suffix_or_all_is_forgotten_when_the_admin_says_so() {
    let upstream = Upstream::start();
    let owners = ["a.example", "b.example", "c.other.example"];
    let gate = Gate::start(&Setup::new(&upstream));
    let mut expected = [0; 3];
    for (path, forgotten, asked) in [
        ("/cache/flush?name=a.example", 1, [1, 0, 0]),
        ("/cache/flush?suffix=other.example", 1, [0, 0, 1]),
        ("/cache/flush?suffix=Example.", 3, [1, 1, 1]),
        ("/cache/flush", 3, [1, 1, 1]),
    ] {
        for owner in owners {
            ask(&gate, owner);
        }
        if expected == [0; 3] {
            expected = [1; 3];
        }
        let before = owners.map(|owner| upstream.count(owner, RecordType::TXT));
        assert_eq!(before, expected, "{path}");
        let response = admin(&gate, "POST", path, "");
        assert_eq!(response.text(), format!("{forgotten}\n"), "{path}");
        for (count, more) in expected.iter_mut().zip(asked) {
            *count += more;
        }
    }
    assert_eq!(figure(&gate, "flushes"), 4);
    assert_eq!(figure(&gate, "entries"), 0);
    let json = admin(
        &gate,
        "POST",
        "/cache/flush",
        "Accept: application/json\r\n",
    );
    assert_eq!(json.text(), "{\"flushed\":0}\n");
}

#[test]
fn a_page_in_a_browser_flushes_nothing() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::new(&upstream));
    ask(&gate, "a.example");
    let origin = "Origin: http://evil.example\r\n";
    assert_eq!(admin(&gate, "POST", "/cache/flush", origin).status, 403);
    assert_eq!(admin(&gate, "GET", "/cache/flush", "").status, 405);
    let rebound = "POST /cache/flush HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let response = request(gate.addr("admin"), rebound.as_bytes()).unwrap();
    assert_eq!(response.status, 421);
    assert_eq!(figure(&gate, "entries"), 1);
}

#[test]
fn sigusr1_forgets_everything_and_says_how_much() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::new(&upstream));
    for owner in ["a.example", "b.example"] {
        ask(&gate, owner);
    }
    gate.signal(Signal::SIGUSR1);
    let line = gate.wait_for_log("cache flushed");
    assert!(line.contains("forgotten=2"), "{line}");
    ask(&gate, "a.example");
    assert_eq!(upstream.count("a.example", RecordType::TXT), 2);
}
