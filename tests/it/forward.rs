//! Requests in absolute-form: passed on as RFC 9110 asks of a proxy, on connections that are used again.

use std::io::Write as _;

use crate::support::{
    Gate, Origin, Reach, Service, Setup, Upstream, connect, read_response, request,
};

const HOST: &str = "www.origin.example";

fn home() -> (Upstream, Gate, Origin) {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1", "::1"]);
    let gate = Gate::start(&Setup::new(&upstream));
    (upstream, gate, Origin::start(Service::Http))
}

#[test]
fn the_origin_sees_origin_form_and_its_own_host_and_hears_nothing_of_the_gate() {
    let (_upstream, gate, origin) = home();
    let port = origin.port();
    let head = format!(
        "POST http://{HOST}:{port}/a?b=c HTTP/1.1\r\nHost: other.example\r\nContent-Length: 4\r\n\r\nbody"
    );
    let response = request(gate.addr("http"), head.as_bytes()).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    let report = response.report();
    assert_eq!(report["method"], "POST");
    assert_eq!(report["path"], "/a?b=c");
    assert_eq!(report["body"], 4);
    // RFC 9112 section 3.2.2: the target of the request line counts, not Host.
    assert_eq!(report["host"], format!("{HOST}:{port}"));
    let seen = report["head"].as_str().unwrap().to_ascii_lowercase();
    for silent in ["via:", "forwarded:", "x-forwarded-for:"] {
        assert!(!seen.contains(&format!("\r\n{silent}")), "{seen}");
    }
    assert_eq!(response.header("via"), None, "{}", response.head);
    assert_eq!(response.header("x-origin"), Some("here"));
}

#[test]
fn origins_hear_of_the_client_what_the_configuration_says_and_a_reload_changes_it() {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1", "::1"]);
    let setup = Setup::new(&upstream);
    let gate = Gate::start(&setup);
    let origin = Origin::start(Service::Http);
    // Whoever lists them in Connection must not be able to hide (RFC 9110 section 7.6.1).
    let head = format!(
        "GET http://{HOST}:{}/ HTTP/1.1\r\nHost: {HOST}\r\nForwarded: for=one\r\nForwarded: for=two\r\n\
         X-Forwarded-For: 192.0.2.1\r\nX-Real: x\r\n",
        origin.port()
    );
    let told = |more: &str| {
        let head = format!("{head}{more}\r\n");
        let response = request(gate.addr("http"), head.as_bytes()).unwrap();
        let report = response.report();
        let seen = report["head"].as_str().unwrap().to_ascii_lowercase();
        let lines = seen.split("\r\n").filter(|line| line.contains("forwarded"));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let untouched = [
        "forwarded: for=one",
        "forwarded: for=two",
        "x-forwarded-for: 192.0.2.1",
    ];
    assert_eq!(told(""), untouched);
    let hiding = "Connection: Forwarded, X-Forwarded-For\r\n";
    for (word, more, lines) in [
        (
            "on",
            "",
            &[
                "forwarded: for=one, for=two, for=127.0.0.1",
                "x-forwarded-for: 192.0.2.1, 127.0.0.1",
            ][..],
        ),
        (
            "on",
            hiding,
            &["forwarded: for=127.0.0.1", "x-forwarded-for: 127.0.0.1"],
        ),
        (
            "truncate",
            "",
            &["forwarded: for=127.0.0.1", "x-forwarded-for: 127.0.0.1"],
        ),
        ("delete", "", &[]),
    ] {
        let word = format!("\"{word}\"");
        let setup = setup.clone().set("proxy.forwarded", &word);
        gate.reload(&setup.set("proxy.x-forwarded-for", &word), "reloaded");
        assert_eq!(told(more), lines, "{word}");
    }
}

#[test]
fn headers_of_one_hop_go_no_further() {
    let (_upstream, gate, origin) = home();
    let head = format!(
        "GET http://{HOST}:{}/ HTTP/1.1\r\nHost: {HOST}\r\nConnection: keep-alive, X-Mine\r\n\
         X-Mine: secret\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         Proxy-Authorization: Basic eDp5\r\nTE: deflate\r\nX-Kept: yes\r\n\r\n",
        origin.port()
    );
    let response = request(gate.addr("http"), head.as_bytes()).unwrap();
    let seen = response.report()["head"]
        .as_str()
        .unwrap()
        .to_ascii_lowercase();
    for gone in [
        "x-mine",
        "keep-alive:",
        "proxy-connection",
        "proxy-authorization",
        "te:",
    ] {
        assert!(!seen.contains(&format!("\r\n{gone}")), "{gone}: {seen}");
    }
    assert!(seen.contains("\r\nx-kept: yes"), "{seen}");
}

#[test]
fn connections_to_an_origin_are_used_again() {
    let (_upstream, gate, origin) = home();
    let head = format!(
        "GET http://{HOST}:{}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
        origin.port()
    );
    let mut stream = connect(gate.addr("http"));
    for _ in 0..5 {
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_response(&mut stream).unwrap().status, 200);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn bodies_pass_in_both_framings_and_sizes() {
    let (_upstream, gate, origin) = home();
    let port = origin.port();
    let head = format!("GET http://{HOST}:{port}/big/3000000 HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    assert_eq!(
        request(gate.addr("http"), head.as_bytes())
            .unwrap()
            .body
            .len(),
        3_000_000
    );
    let head = format!(
        "PUT http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n"
    );
    let response = request(gate.addr("http"), head.as_bytes()).unwrap();
    assert_eq!(response.status, 200);
    assert!(response.report()["body"].as_u64().unwrap() >= 5);
}

#[test]
fn what_was_not_reached_is_told_with_proxy_status_and_a_body() {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1", "::1"]);
    let gate = Gate::start(&Setup::new(&upstream).set("egress.connect-timeout", r#""800ms""#));
    let refusing = Origin::reached(Service::Http, Reach::Refuses, Reach::Refuses);
    let silent = Origin::reached(Service::Http, Reach::Swallows, Reach::Swallows);
    for (target, status, error) in [
        (
            format!("{HOST}:{}", refusing.port()),
            502,
            "connection_refused",
        ),
        (
            format!("{HOST}:{}", silent.port()),
            504,
            "connection_timeout",
        ),
        ("missing.example".to_owned(), 502, "dns_error"),
        ("10.0.0.1".to_owned(), 403, "destination_ip_prohibited"),
    ] {
        let head = format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let response = request(gate.addr("http"), head.as_bytes()).unwrap();
        assert_eq!(response.status, status, "{target}: {}", response.text());
        let why = response.header("proxy-status").expect("Proxy-Status");
        assert!(why.contains(&format!("error={error}")), "{target}: {why}");
        assert!(!response.body.is_empty(), "{target}");
    }
}

#[test]
fn what_is_no_request_of_a_proxy_is_a_client_error() {
    let (_upstream, gate, _origin) = home();
    for bytes in [
        "GET / HTTP/1.1\r\nHost: x.example\r\n\r\n",
        "GET ftp://x.example/ HTTP/1.1\r\nHost: x.example\r\n\r\n",
        "GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
        "\0\0\0\r\n\r\n",
        "SSH-2.0-nobody\r\n\r\n",
    ] {
        if let Some(response) = request(gate.addr("http"), bytes.as_bytes()) {
            assert!(
                (400..500).contains(&response.status),
                "{bytes}: {}",
                response.head
            );
        }
    }
    assert!(!gate.log_text().contains("panicked"));
}
