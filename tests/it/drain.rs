//! The stop: new sessions are refused, those in progress finish, and the next start finds its ports.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;

use crate::support::{
    Ask, Gate, Origin, READY, Reply, Service, Setup, Upstream, clock, connect, read_response,
    tunnel,
};

fn home() -> (Upstream, Gate, Origin) {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1"]);
    let gate = Gate::start(&Setup::new(&upstream));
    (upstream, gate, Origin::start(Service::Echo))
}

/// Whether a new session gets nowhere: no connection, or one that ends without a word.
fn is_closed(to: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&to, Duration::from_secs(1)) else {
        return true;
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
        .write_all(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: x\r\n\r\n")
        .ok();
    match stream.read(&mut [0]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn a_gate_without_sessions_stops_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (_upstream, mut gate, _origin) = home();
        let begun = clock();
        gate.signal(signal);
        assert_eq!(gate.wait_for_exit().code(), Some(0), "{signal}");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        assert!(gate.log_text().contains("stopped"));
    }
}

#[test]
fn a_session_in_progress_finishes_while_new_ones_are_refused() {
    let (_upstream, mut gate, origin) = home();
    let target = format!("127.0.0.1:{}", origin.port());
    let (mut stream, response) = tunnel(gate.addr("http"), &target);
    assert_eq!(response.status, 200);
    let begun = clock();
    gate.signal(Signal::SIGTERM);
    gate.wait_for_log("draining");
    assert!(
        is_closed(gate.addr("http")),
        "who reads the line may rely on it"
    );
    let answer = Ask::new("www.example", RecordType::A).udp(&gate);
    assert_eq!(
        answer.answers.len(),
        1,
        "names are told until the drain is over"
    );
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "last wordsbye");
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "it did not wait for the limit"
    );
}

#[test]
fn a_session_that_does_not_finish_is_cut_after_ten_seconds() {
    let (_upstream, mut gate, origin) = home();
    let target = format!("127.0.0.1:{}", origin.port());
    let (mut stream, _) = tunnel(gate.addr("http"), &target);
    let begun = clock();
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    let elapsed = begun.elapsed();
    assert!(elapsed < Duration::from_secs(12), "{elapsed:?}");
    assert!(
        !matches!(stream.read(&mut [0]), Ok(1..)),
        "the session is over"
    );
    let stopped = gate.wait_for_log("stopped");
    assert!(stopped.contains("cut=1"), "{stopped}");
    let log = gate.log_text();
    let last_line = log.find("ended=\"cut\"").expect("the session has its line");
    assert!(last_line < log.find("stopped").unwrap(), "{log}");
}

#[test]
fn a_question_that_nobody_answers_does_not_hold_up_the_stop() {
    let upstream = Upstream::start();
    upstream.otherwise(Reply::silence());
    let setup = Setup::new(&upstream).set("dns.upstream.timeout", "\"9s\"");
    let mut gate = Gate::start(&setup);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let packet = Ask::new("www.example", RecordType::A).bytes();
    socket.send_to(&packet, gate.addr("dns-udp")).unwrap();
    let mut stream = connect(gate.addr("dns-tcp"));
    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &packet].concat()).unwrap();
    upstream.wait_for("www.example", RecordType::A);
    let begun = clock();
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    let elapsed = begun.elapsed();
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}

#[test]
fn an_idle_keep_alive_connection_does_not_hold_up_the_stop() {
    let (_upstream, mut gate, _origin) = home();
    let origin = Origin::start(Service::Http);
    let mut stream = connect(gate.addr("http"));
    let port = origin.port();
    let head = format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 200);
    let begun = clock();
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn after_a_crash_the_same_ports_are_bound_at_once() {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1"]);
    // An address of its own, so that no other test can take the ports in between.
    let keys = [
        ("dns.listen", "dns-tcp"),
        ("proxy.http", "http"),
        ("proxy.socks", "socks"),
        ("proxy.tls", "tls"),
        ("web.admin", "admin"),
    ];
    let mut setup = Setup::new(&upstream);
    for (key, _) in keys {
        setup = setup.set(key, r#"["127.0.0.77:0"]"#);
    }
    let mut gate = Gate::start(&setup);
    let origin = Origin::start(Service::Echo);
    let target = format!("127.0.0.1:{}", origin.port());
    let (_stream, response) = tunnel(gate.addr("http"), &target);
    assert_eq!(response.status, 200);
    for (key, kind) in keys {
        setup = setup.set(key, &format!("[\"{}\"]", gate.addr(kind)));
    }
    gate.kill();
    let again = Gate::start(&setup);
    assert_eq!(again.addr("http"), gate.addr("http"));
    assert_eq!(
        Ask::new("www.example", RecordType::A)
            .tcp(&again)
            .answers
            .len(),
        1
    );
}

#[test]
fn a_port_that_is_taken_is_named_and_the_start_fails() {
    let (upstream, first, _origin) = home();
    let taken = first.addr("http");
    let setup = Setup::new(&upstream).set("proxy.http", &format!("[\"{taken}\"]"));
    let mut second = Gate::launch(&setup);
    assert_eq!(second.wait_for_exit().code(), Some(1));
    let log = second.log_text();
    assert!(log.contains(&taken.to_string()), "{log}");
    assert!(!log.contains(READY), "{log}");
}
