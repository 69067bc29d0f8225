//! Every bound: what happens at it, and that the gate serves again below it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use hickory_proto::rr::RecordType;

use crate::support::{
    Ask, Gate, Origin, PATIENCE, Reply, Service, Setup, Upstream, clock, connect, exchange_udp,
    request, tunnel, txt,
};

/// Long enough to be sure that nothing comes, where something would come at once.
const A_WHILE: Duration = Duration::from_millis(300);

fn home(change: impl Fn(Setup) -> Setup) -> (Upstream, Gate, Origin, String) {
    let upstream = Upstream::start();
    upstream.addresses("www.origin.example", &["127.0.0.1", "::1"]);
    let gate = Gate::start(&change(Setup::new(&upstream)));
    let origin = Origin::start(Service::Echo);
    let target = format!("www.origin.example:{}", origin.port());
    (upstream, gate, origin, target)
}

/// Waits for the end of the stream and returns what came before it.
fn read_to_the_end(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    if let Err(error) = stream.read_to_end(&mut all) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    all
}

/// Asserts that nothing comes, and that the stream stays open.
fn assert_silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(A_WHILE)).unwrap();
    let error = stream.read(&mut [0]).expect_err("silence");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
}

fn metric(gate: &Gate, name: &str) -> f64 {
    let head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let text = request(gate.addr("admin"), head).expect("metrics").text();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Waits until so many sessions have failed: one is counted about when its client is told.
fn wait_for_failures(gate: &Gate, inbound: &str, count: f64) {
    let name = format!("sekisho_session_failures_total{{inbound=\"{inbound}\",side=\"client\"}}");
    let begun = clock();
    while metric(gate, &name) < count {
        assert!(begun.elapsed() < PATIENCE, "{inbound}: not counted");
    }
}

fn wait_for_limit(gate: &Gate, limit: &str, count: f64) {
    let name = format!("sekisho_session_limits_total{{limit=\"{limit}\"}}");
    let begun = clock();
    while metric(gate, &name) < count {
        assert!(begun.elapsed() < PATIENCE, "{limit}: not counted");
    }
}

#[test]
fn a_client_with_too_many_sessions_is_refused_until_one_ends() {
    let (_upstream, gate, _origin, target) =
        home(|setup| setup.set("proxy.max-sessions-per-client", "2"));
    let first = tunnel(gate.addr("http"), &target);
    let second = tunnel(gate.addr("http"), &target);
    assert_eq!((first.1.status, second.1.status), (200, 200));
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let refused = request(gate.addr("http"), head.as_bytes()).expect("an answer");
    assert_eq!(refused.status, 429);
    let why = refused.header("proxy-status").unwrap();
    assert!(why.contains("connection_limit_reached"), "{why}");
    let name = "sekisho_sessions_refused_total{reason=\"per-client\"}";
    assert!(metric(&gate, name) >= 1.0);
    drop(first);
    let begun = clock();
    loop {
        let mut stream = connect(gate.addr("http"));
        stream.write_all(head.as_bytes()).ok();
        let mut status = [0; 12];
        if stream.read_exact(&mut status).is_ok() && status.ends_with(b"200") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the place was never given back");
    }
}

#[test]
fn a_client_that_connects_too_fast_is_refused_on_every_inbound() {
    let (_upstream, gate, _origin, target) = home(|setup| {
        setup
            .set("proxy.rate-limit", "1")
            .set("proxy.rate-burst", "3")
    });
    let statuses = (0..5).map(|_| tunnel(gate.addr("http"), &target).1.status);
    let statuses: Vec<u16> = statuses.collect();
    // As many as the burst, and perhaps one for each second that this takes.
    assert_eq!(statuses[..3], [200, 200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
    let name = "sekisho_sessions_refused_total{reason=\"rate\"}";
    let before = metric(&gate, name);
    let plain = request(gate.addr("plain"), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(plain.is_some_and(|answer| answer.status >= 400));
    for _ in 0..3 {
        read_to_the_end({
            let mut stream = connect(gate.addr("tls"));
            stream.write_all(&[0x16]).ok();
            stream.shutdown(std::net::Shutdown::Write).ok();
            stream
        });
    }
    assert!(metric(&gate, name) > before);
}

#[test]
fn sessions_beyond_the_total_wait_for_a_place() {
    let (_upstream, gate, _origin, target) = home(|setup| setup.set("proxy.max-sessions", "2"));
    let first = tunnel(gate.addr("http"), &target);
    let second = tunnel(gate.addr("http"), &target);
    assert_eq!((first.1.status, second.1.status), (200, 200));
    let mut third = connect(gate.addr("http"));
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    third.write_all(head.as_bytes()).unwrap();
    assert_silent(&mut third);
    assert!(metric(&gate, "sekisho_sessions_held_total") >= 1.0);
    drop(first);
    let mut status = [0; 12];
    third.read_exact(&mut status).unwrap();
    assert!(status.ends_with(b"200"));
}

#[test]
fn a_silent_session_is_ended() {
    let (_upstream, gate, _origin, target) =
        home(|setup| setup.set("proxy.idle-timeout", r#""1s""#));
    let (mut stream, response) = tunnel(gate.addr("http"), &target);
    assert_eq!(response.status, 200);
    stream.write_all(b"x").unwrap();
    assert!(read_to_the_end(stream).starts_with(b"x"));
    wait_for_limit(&gate, "idle-timeout", 1.0);
}

#[test]
fn a_client_that_does_not_say_where_to_is_hung_up_on() {
    let (_upstream, gate, _origin, _) =
        home(|setup| setup.set("proxy.sniff-timeout", r#""500ms""#));
    for (kind, beginnings) in [
        ("tls", [&b""[..], &[0x16, 3, 1, 2, 0, 1, 0]]),
        ("plain", [&b""[..], b"GET / HTTP/1.1\r\nHos"]),
        ("http", [&b""[..], b"CONNECT a.example:44"]),
    ] {
        for beginning in beginnings {
            let mut stream = connect(gate.addr(kind));
            stream.write_all(beginning).unwrap();
            let said = read_to_the_end(stream);
            let refusal = said.is_empty() || said[0] == 21 || said.starts_with(b"HTTP/1.1 408");
            assert!(refusal, "{kind}: {said:?}");
        }
    }
    wait_for_failures(&gate, "tls", 1.0);
    wait_for_failures(&gate, "http", 1.0);
    wait_for_limit(&gate, "sniff-timeout", 3.0);
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let (_upstream, gate, origin, target) =
        home(|setup| setup.set("proxy.header-bytes", r#""8KiB""#));
    let filler = "x".repeat(100_000);
    for (kind, inbound, line) in [
        ("http", "forward", format!("GET http://{target}/ HTTP/1.1")),
        ("plain", "http", "GET / HTTP/1.1".to_owned()),
    ] {
        let head = format!("{line}\r\nHost: {target}\r\nX-Filler: {filler}\r\n\r\n");
        let mut stream = connect(gate.addr(kind));
        // The gate may hang up before it has read it all.
        stream.write_all(head.as_bytes()).ok();
        let said = read_to_the_end(stream);
        assert!(
            said.is_empty() || said.starts_with(b"HTTP/1.1 431"),
            "{kind}"
        );
        wait_for_failures(&gate, inbound, 1.0);
    }
    wait_for_limit(&gate, "header-bytes", 2.0);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_hello_that_is_too_long_is_refused() {
    let (_upstream, gate, _origin, _) = home(|setup| setup.set("proxy.sniff-bytes", r#""4KiB""#));
    let mut hello = vec![0x16, 3, 1, 0x3f, 0xfc, 1, 0, 0x3f, 0xf8];
    hello.resize(12_000, 0);
    // TLS 1.2, no session, and more cipher suites than fit.
    hello[9..11].copy_from_slice(&[3, 3]);
    hello[44..46].copy_from_slice(&[0x30, 0]);
    let mut stream = connect(gate.addr("tls"));
    stream.write_all(&hello).ok();
    let said = read_to_the_end(stream);
    assert!(said.is_empty() || said[0] == 21);
    wait_for_failures(&gate, "tls", 1.0);
    wait_for_limit(&gate, "sniff-bytes", 1.0);
}

#[test]
fn dns_connections_beyond_the_bound_wait_for_a_place() {
    let (_upstream, gate, _origin, _) = home(|setup| {
        setup
            .set("dns.max-connections", "1")
            .set("dns.tcp-idle-timeout", r#""30s""#)
    });
    let question = Ask::new("www.origin.example", RecordType::A).bytes();
    let length = u16::try_from(question.len()).unwrap().to_be_bytes();
    let framed = [&length[..], &question].concat();
    let mut first = connect(gate.addr("dns-tcp"));
    first.write_all(&framed).unwrap();
    first.read_exact(&mut [0; 2]).unwrap();
    let mut second = connect(gate.addr("dns-tcp"));
    second.write_all(&framed).unwrap();
    assert_silent(&mut second);
    drop(first);
    second.read_exact(&mut [0; 2]).unwrap();
}

#[test]
fn a_silent_dns_connection_is_closed() {
    let (_upstream, gate, _origin, _) =
        home(|setup| setup.set("dns.tcp-idle-timeout", r#""500ms""#));
    assert!(read_to_the_end(connect(gate.addr("dns-tcp"))).is_empty());
}

#[test]
fn queries_beyond_the_bound_are_dropped_and_counted() {
    let (upstream, gate, _origin, _) = home(|setup| setup.set("dns.max-queries", "1"));
    let reply = Reply::of([txt("held.example", "x")]).held();
    upstream.say("held.example", RecordType::TXT, reply).say(
        "more.example",
        RecordType::TXT,
        Reply::of([txt("more.example", "x")]),
    );
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let held = Ask::new("held.example", RecordType::TXT).bytes();
    socket.send_to(&held, gate.addr("dns-udp")).unwrap();
    upstream.wait_for("held.example", RecordType::TXT);
    let more = Ask::new("more.example", RecordType::TXT);
    assert_eq!(
        exchange_udp(gate.addr("dns-udp"), &more.bytes(), A_WHILE),
        None
    );
    assert!(metric(&gate, "sekisho_dns_overload_total") >= 1.0);
    upstream.release();
    socket.recv(&mut [0; 1500]).unwrap();
    let begun = clock();
    // The place is given back a moment after the answer.
    while exchange_udp(gate.addr("dns-udp"), &more.bytes(), A_WHILE).is_none() {
        assert!(begun.elapsed() < PATIENCE, "the place was never given back");
    }
}

#[test]
fn a_reload_lets_those_in_who_waited_at_the_old_bounds() {
    let (upstream, gate, _origin, target) = home(|setup| {
        setup
            .set("proxy.max-sessions", "1")
            .set("dns.max-connections", "1")
    });
    let _session = tunnel(gate.addr("http"), &target);
    let mut session = connect(gate.addr("http"));
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    session.write_all(head.as_bytes()).unwrap();
    let question = Ask::new("www.origin.example", RecordType::A).bytes();
    let length = u16::try_from(question.len()).unwrap().to_be_bytes();
    let framed = [&length[..], &question].concat();
    let mut held = connect(gate.addr("dns-tcp"));
    held.write_all(&framed).unwrap();
    held.read_exact(&mut [0; 2]).unwrap();
    let mut asking = connect(gate.addr("dns-tcp"));
    asking.write_all(&framed).unwrap();
    assert_silent(&mut session);
    gate.reload(&Setup::new(&upstream), "reloaded");
    let mut status = [0; 12];
    session.read_exact(&mut status).unwrap();
    assert!(status.ends_with(b"200"));
    asking.read_exact(&mut [0; 2]).unwrap();
}
