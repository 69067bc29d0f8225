//! The stop: new sessions are refused, those in progress finish, and the next start finds its ports.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;

use crate::support::{
    Ask, Gate, Origin, PATIENCE, READY, Reply, Service, Setup, Upstream, a, client_hello, clock,
    connect, ipv4_of, read_response, socks_associate, socks_datagram, socks_tunnel, tunnel,
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
fn sessions_of_every_inbound_outlive_a_reload_and_finish_while_the_gate_stops() {
    const HOST: &str = "www.origin.example";
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    let echo = Origin::start(Service::Echo);
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = echo.port().to_string();
    let setup = Setup::new(&upstream)
        .set("proxy.tls-origin-port", &port)
        .set("proxy.plain-origin-port", &port);
    let mut gate = Gate::start(&setup);

    let (connect_tunnel, _) = tunnel(gate.addr("http"), &format!("{HOST}:{port}"));
    let socks = socks_tunnel(gate.addr("socks"), HOST, echo.port()).expect("a tunnel");
    let mut tls = connect(gate.addr("tls"));
    let (_, hello) = client_hello(HOST);
    tls.write_all(&hello).unwrap();
    let mut plain = connect(gate.addr("plain"));
    let head = format!("PUT / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 999999\r\n\r\n");
    plain.write_all(head.as_bytes()).unwrap();
    for (stream, sent) in [(&mut tls, hello.len()), (&mut plain, head.len())] {
        stream.read_exact(&mut vec![0; sent]).unwrap();
    }
    let mut forward = connect(gate.addr("http"));
    let place = slow.local_addr().unwrap();
    let head =
        format!("GET http://{place}/ HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n");
    forward.write_all(head.as_bytes()).unwrap();
    let (mut asked, _) = slow.accept().unwrap();
    asked.read_exact(&mut [0; 16]).unwrap();
    asked
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        .unwrap();
    let (_association, relay) = socks_associate(gate.addr("socks"));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let there = datagrams.local_addr().unwrap();
    for socket in [&client, &datagrams] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let goes_through = || {
        let datagram = socks_datagram("127.0.0.1", there.port(), b"x");
        client.send_to(&datagram, relay).unwrap();
        let (length, from) = datagrams.recv_from(&mut [0; 10]).expect("a datagram");
        assert_eq!(length, 1);
        datagrams.send_to(b"y", from).unwrap();
        let mut back = [0; 100];
        let length = client.recv(&mut back).expect("its answer");
        assert_eq!(back[..length].last(), Some(&b'y'));
    };
    goes_through();

    let mut streams = [connect_tunnel, socks, tls, plain];
    let mut all_say = |words: &[u8]| {
        for stream in &mut streams {
            stream.write_all(words).unwrap();
            let mut back = vec![0; words.len()];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, words);
        }
    };
    gate.reload(&setup.mode("off"), "reloaded");
    all_say(b"after the reload");
    goes_through();
    gate.signal(Signal::SIGTERM);
    gate.wait_for_log("draining");
    all_say(b"while draining");
    goes_through();
    asked.write_all(b" last").unwrap();
    let response = read_response(&mut forward).expect("the whole response");
    assert_eq!(response.text(), "first last");
    drop((streams, _association));
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    assert!(gate.log_text().contains("cut=0"), "nothing is cut");
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
fn a_question_that_upstream_answers_while_the_gate_stops_is_answered() {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1"]);
    let held = Reply::of([a("late.example", "192.0.2.7")]).held();
    upstream.say("late.example", RecordType::A, held);
    let mut gate = Gate::start(&Setup::new(&upstream));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(gate.addr("dns-udp")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let late = Ask::new("late.example", RecordType::A);
    socket.send(&late.bytes()).unwrap();
    upstream.wait_for("late.example", RecordType::A);
    // While that is owed, others have their answers, from upstream and from the cache.
    for _ in 0..3 {
        let answer = Ask::new("www.example", RecordType::A).udp(&gate);
        assert_eq!(ipv4_of(&answer), ["192.0.2.1".parse::<Ipv4Addr>().unwrap()]);
    }
    gate.signal(Signal::SIGTERM);
    let begun = clock();
    while TcpStream::connect(gate.addr("dns-tcp")).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it does not stop");
        thread::sleep(Duration::from_millis(1));
    }
    upstream.release();
    let mut packet = [0; 512];
    let length = socket.recv(&mut packet).unwrap();
    let answer = Message::from_vec(&packet[..length]).unwrap();
    assert_eq!(ipv4_of(&answer), ["192.0.2.7".parse::<Ipv4Addr>().unwrap()]);
    assert_eq!(gate.wait_for_exit().code(), Some(0));
}

#[test]
fn a_server_that_nobody_waits_for_any_more_does_not_hold_up_the_stop() {
    let silent = Upstream::start();
    silent.otherwise(Reply::silence());
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1"]);
    let setup = Setup::new(&upstream)
        .upstreams(&[silent.address(), upstream.address()])
        .set("dns.upstream.strategy", "\"ordered\"")
        .set("dns.upstream.timeout", "\"4s\"")
        .set("log.level", "\"debug\"");
    let mut gate = Gate::start(&setup);
    let answer = Ask::new("www.example", RecordType::A).udp(&gate);
    assert_eq!(ipv4_of(&answer), ["192.0.2.1".parse::<Ipv4Addr>().unwrap()]);
    assert!(silent.count("www.example", RecordType::A) > 0);
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    let log = gate.log_text();
    assert!(!log.contains("that were open still are ended"), "{log}");
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
