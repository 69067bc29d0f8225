//! SOCKS5, SOCKS4 and SOCKS4a on the real program, by raw bytes and by real clients.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};

use hickory_proto::rr::RecordType;
use socket2::{Domain, Socket, Type};

use crate::support::{
    Ask, Gate, Origin, PATIENCE, Reach, Service, Setup, Upstream, clock, connect, has_ipv6,
    installed, ipv4_of, read_response, socks_associate, socks_datagram, socks_greet, socks_request,
    socks_tunnel, tls_get,
};

const HOST: &str = "www.origin.example";

fn home(change: impl Fn(Setup) -> Setup) -> (Upstream, Gate) {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1", "::1"]);
    let gate = Gate::start(&change(Setup::new(&upstream)));
    (upstream, gate)
}

fn curl(arguments: &[&str]) -> Option<Output> {
    if !installed(&["curl"]) {
        return None;
    }
    let output = Command::new("curl")
        .args(["-s", "--max-time", "10", "--noproxy", ""])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Some(output)
}

#[test]
fn early_words_reach_the_origin_and_the_end_of_one_direction_leaves_the_other_open() {
    let (_upstream, gate) = home(|setup| setup);
    let origin = Origin::start(Service::Echo);
    let mut stream = connect(gate.addr("socks"));
    let asked = [
        &[5, 1, 0][..],
        &socks_request(1, HOST, origin.port()),
        b"early ",
    ]
    .concat();
    stream.write_all(&asked).unwrap();
    let mut said = [0; 12];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(said, [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    stream.write_all(b"words ").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "early words bye");
    let line = gate.wait_for_log("inbound=\"socks5\"");
    for field in ["sent=12", "received=15", "ended=\"closed\""] {
        assert!(line.contains(field), "{field}: {line}");
    }
}

#[test]
fn failures_have_their_codes() {
    let (upstream, gate) = home(|setup| setup.set("egress.connect-timeout", r#""800ms""#));
    upstream.addresses("none.example", &[]);
    let refusing = Origin::reached(Service::Echo, Reach::Refuses, Reach::Refuses);
    let silent = Origin::reached(Service::Echo, Reach::Swallows, Reach::Swallows);
    for (command, host, port, code) in [
        (1, HOST, refusing.port(), 5),
        (1, HOST, silent.port(), 6),
        (1, "none.example", 80, 4),
        (1, "10.0.0.1", 80, 2),
        (2, HOST, 80, 7),
    ] {
        let mut stream = socks_greet(gate.addr("socks"));
        stream
            .write_all(&socks_request(command, host, port))
            .unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        assert_eq!(said, [5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{host}:{port}");
    }
}

#[test]
fn who_asks_for_an_address_of_ours_that_stands_in_for_others_reaches_them() {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1", "::1"]);
    let (tls, plain) = (Origin::start(Service::Tls), Origin::start(Service::Http));
    let setup = Setup::new(&upstream)
        .set("proxy.tls-origin-port", &tls.port().to_string())
        .set("proxy.plain-origin-port", &plain.port().to_string());
    let gate = Gate::start(&setup);
    let socks = gate.addr("socks");
    let ours = |kind: &str| {
        let address = gate.addr(kind);
        socks_tunnel(socks, &address.ip().to_string(), address.port())
    };

    let response = tls_get(ours("tls").expect("a tunnel"), HOST, "/").expect("a response");
    assert_eq!((response.status, response.family().as_str()), (200, "ipv6"));
    let mut stream = ours("plain").expect("a tunnel");
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    for _ in 0..2 {
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_response(&mut stream).unwrap().status, 200);
    }
    // Words that did not wait for the answer.
    let mut stream = socks_greet(socks);
    let plain = gate.addr("plain");
    let request = socks_request(1, &plain.ip().to_string(), plain.port());
    stream
        .write_all(&[&request[..], head.as_bytes()].concat())
        .unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..2], [5, 0]);
    assert_eq!(read_response(&mut stream).unwrap().status, 200);

    for kind in ["socks", "http", "web", "dns-tcp"] {
        assert_eq!(ours(kind).err(), Some(2), "{kind}");
    }
    let mut itself = ours("plain").expect("a tunnel");
    let head = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gate.addr("plain"));
    itself.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_response(&mut itself).unwrap().status, 403);
}

#[test]
fn curl_goes_by_every_version() {
    let (_upstream, gate) = home(|setup| setup);
    let origin = Origin::start(Service::Http);
    let proxy = gate.addr("socks");
    let by_name = format!("http://{HOST}:{}/", origin.port());
    let by_address = format!("http://127.0.0.1:{}/", origin.port());
    for (scheme, url) in [
        ("socks5h", &by_name),
        ("socks4a", &by_name),
        ("socks5", &by_address),
        ("socks4", &by_address),
    ] {
        let Some(output) = curl(&["-x", &format!("{scheme}://{proxy}"), url]) else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{scheme}: {output:?}");
        assert!(text.contains("\"family\""), "{scheme}: {text}");
    }
}

#[test]
fn curl_needs_the_name_and_the_password_of_the_file() {
    let output = sekisho_password("ann", "secret");
    assert!(output.starts_with("ann:$argon2id$v=19$"), "{output}");
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1", "::1"]);
    let setup = Setup::new(&upstream);
    let gate = Gate::start(&setup);
    gate.write("users", &output);
    gate.reload(&setup.clone().set("proxy.users", r#""users""#), "reloaded");
    let origin = Origin::start(Service::Http);
    let url = format!("http://{HOST}:{}/", origin.port());
    for (kind, scheme) in [("socks", "socks5h"), ("http", "http")] {
        let proxy = gate.addr(kind);
        for (user, good) in [("ann:secret@", true), ("ann:wrong@", false), ("", false)] {
            let Some(output) = curl(&["-f", "-x", &format!("{scheme}://{user}{proxy}"), &url])
            else {
                return;
            };
            assert_eq!(output.status.success(), good, "{scheme} {user}: {output:?}");
        }
    }
    gate.write("users", "ann:secret\n");
    let said = gate.reload(&setup.set("proxy.users", r#""users""#), "reload failed");
    assert!(
        said.contains("line 1: the hash is not a PHC string"),
        "{said}"
    );
}

#[test]
fn a_crowd_of_guesses_is_bounded_and_holds_nobody_else_up() {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    let setup = Setup::new(&upstream);
    let gate = Gate::start(&setup);
    gate.write("users", &sekisho_password("ann", "secret"));
    gate.reload(&setup.set("proxy.users", r#""users""#), "reloaded");
    let origin = Origin::start(Service::Echo);
    let target = format!("{HOST}:{}", origin.port());
    let ask = |from: [u8; 4], credentials: &str| {
        let mut stream = connect_from(from, gate.addr("http"));
        let head = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {credentials}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let begun = clock();
    // ann:guess, and ann:secret.
    let right = "YW5uOnNlY3JldA==";
    let guesses: Vec<_> = (0..60)
        .map(|_| ask([127, 0, 0, 7], "YW5uOmd1ZXNz"))
        .collect();
    for number in 0..20 {
        let name = format!("n{number}.example");
        upstream.addresses(&name, &["192.0.2.7"]);
        let answer = Ask::new(&name, RecordType::A).udp(&gate);
        assert_eq!(ipv4_of(&answer).len(), 1, "{answer:?}");
    }
    let mut status = [0; 12];
    // Who waits longer than ten seconds for a busy machine is told so, and asks again.
    while {
        ask([127, 0, 0, 8], right).read_exact(&mut status).unwrap();
        status.ends_with(b"503") && begun.elapsed() < 6 * PATIENCE
    } {}
    assert!(status.ends_with(b"200"), "{status:?}");
    let mut told = Vec::new();
    for mut stream in guesses {
        stream.read_exact(&mut status).unwrap();
        told.push(String::from_utf8_lossy(&status[9..]).into_owned());
    }
    let count = |status| told.iter().filter(|told| *told == status).count();
    // Ten tries, and one more for each ten seconds that this takes.
    let most = 11 + begun.elapsed().as_secs() / 10;
    assert!(count("407") as u64 <= most && count("407") > 0, "{told:?}");
    // On a busy machine some were told that it is, and not that they are too many.
    while {
        ask([127, 0, 0, 7], "YW5uOmd1ZXNz")
            .read_exact(&mut status)
            .unwrap();
        !status.ends_with(b"429") && begun.elapsed() < 6 * PATIENCE
    } {}
    assert!(status.ends_with(b"429"), "{status:?}");
    assert!(gate.metric("sekisho_logins_total{outcome=\"limited\"}") >= 1.0);
}

/// A connection from an address of loopback.
fn connect_from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(6 * PATIENCE)).unwrap();
    stream
}

/// The line that `sekisho password` prints.
fn sekisho_password(name: &str, password: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sekisho"))
        .args(["password", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("{password}\n").as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server of datagrams on loopback that sends them back; it ends with the test.
fn udp_echo(address: &str) -> SocketAddr {
    let socket = UdpSocket::bind(address).unwrap();
    let here = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&buffer[..length], from).ok();
        }
    });
    here
}

/// A socket of the client, and the association's address.
fn association(gate: &Gate) -> (TcpStream, UdpSocket, SocketAddr) {
    let (stream, relay) = socks_associate(gate.addr("socks"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (stream, socket, relay)
}

/// Sends a payload to a host, and the answer with the address that it came from.
fn exchange(socket: &UdpSocket, relay: SocketAddr, host: &str, port: u16, words: &[u8]) -> Vec<u8> {
    socket
        .send_to(&socks_datagram(host, port, words), relay)
        .unwrap();
    let mut buffer = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut buffer).expect("an answer");
    assert_eq!(from, relay);
    buffer.truncate(length);
    buffer
}

#[test]
fn one_association_reaches_both_families_by_address_and_by_name() {
    let (_upstream, gate) = home(|setup| setup);
    let (stream, socket, relay) = association(&gate);
    let ipv4 = udp_echo("127.0.0.1:0");
    let answer = exchange(&socket, relay, "127.0.0.1", ipv4.port(), b"four");
    assert_eq!(answer, socks_datagram("127.0.0.1", ipv4.port(), b"four"));
    let mut sent = 4;
    if has_ipv6() {
        let ipv6 = udp_echo("[::1]:0");
        for host in ["::1", HOST] {
            let answer = exchange(&socket, relay, host, ipv6.port(), b"six");
            assert_eq!(answer, socks_datagram("::1", ipv6.port(), b"six"));
            sent += 3;
        }
    }
    let big = vec![7; 20_000];
    let answer = exchange(&socket, relay, "127.0.0.1", ipv4.port(), &big);
    assert!(answer.ends_with(&big));
    gate.wait_for_metric("sekisho_associations", 1.0);
    drop(stream);
    let line = gate.wait_for_log("inbound=\"socks5-udp\"");
    let bytes = sent + 20_000;
    for field in [
        format!("sent={bytes}"),
        format!("received={bytes}"),
        "ended=\"closed\"".to_owned(),
    ] {
        assert!(line.contains(&field), "{field}: {line}");
    }
    gate.wait_for_metric("sekisho_associations", 0.0);
}

#[test]
fn strangers_fragments_and_closed_addresses_are_dropped_and_counted() {
    let upstream = Upstream::start();
    let gate = Gate::start(&Setup::guarded(&upstream).set("egress.allow", r#"["127.0.0.0/24"]"#));
    let (_stream, socket, relay) = association(&gate);
    let echo = udp_echo("127.0.0.1:0");
    let port = echo.port();
    exchange(&socket, relay, "127.0.0.1", port, b"first");
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let good = socks_datagram("127.0.0.1", port, b"other");
    other.send_to(&good, relay).unwrap();
    let mut fragment = good;
    fragment[2] = 1;
    for bytes in [
        &fragment[..],
        b"",
        b"\0\0\0\x09",
        &socks_datagram("127.0.1.1", port, b"closed"),
        &socks_datagram("127.0.0.1", gate.addr("admin").port(), b"ours"),
    ] {
        socket.send_to(bytes, relay).unwrap();
    }
    let answer = exchange(&socket, relay, "127.0.0.1", port, b"last");
    assert!(answer.ends_with(b"last"), "{answer:?}");
    for (reason, count) in [
        ("stranger", 1.0),
        ("fragment", 1.0),
        ("malformed", 2.0),
        ("refused", 2.0),
    ] {
        let name = format!("sekisho_udp_dropped_total{{reason=\"{reason}\"}}");
        gate.wait_for_metric(&name, count);
    }
}

#[test]
fn who_was_not_sent_to_is_not_heard() {
    let (_upstream, gate) = home(|setup| setup);
    let (_stream, socket, relay) = association(&gate);
    // It tells which port the association sends from.
    let origin = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port();
    socket
        .send_to(&socks_datagram("127.0.0.1", port, b"hello"), relay)
        .unwrap();
    let (_, from) = origin.recv_from(&mut [0; 100]).unwrap();
    let stranger = UdpSocket::bind("127.0.0.9:0").unwrap();
    stranger
        .send_to(b"unasked", ("127.0.0.1", from.port()))
        .unwrap();
    // The same address may answer from another port.
    let neighbour = UdpSocket::bind("127.0.0.1:0").unwrap();
    gate.wait_for_metric("sekisho_udp_dropped_total{reason=\"unasked\"}", 1.0);
    neighbour
        .send_to(b"asked", ("127.0.0.1", from.port()))
        .unwrap();
    let mut buffer = [0; 100];
    let length = socket.recv(&mut buffer).unwrap();
    assert!(buffer[..length].ends_with(b"asked"));
}

#[test]
fn associations_are_bounded_and_end_when_they_are_silent() {
    let (_upstream, gate) = home(|setup| {
        setup
            .set("proxy.max-associations-per-client", "1")
            .set("proxy.association-timeout", r#""1s""#)
    });
    let (mut first, _, _) = association(&gate);
    let mut second = socks_greet(gate.addr("socks"));
    second.write_all(&socks_request(3, "0.0.0.0", 0)).unwrap();
    let mut said = Vec::new();
    second.read_to_end(&mut said).unwrap();
    assert_eq!(said, [5, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    gate.wait_for_metric(
        "sekisho_sessions_refused_total{reason=\"associations\"}",
        1.0,
    );
    assert_eq!(first.read(&mut [0]).unwrap_or(0), 0);
    gate.wait_for_log("ended=\"idle\"");
    // The line is written before the place is free.
    gate.wait_for_metric("sekisho_sessions_active", 0.0);
    let (_third, _, _) = association(&gate);
}
