//! The PROXY protocol: a listed proxy in front of the gate announces its clients on every listener, and nobody else may.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use socket2::{Domain, Socket, Type};

use crate::support::{
    Gate, Origin, PATIENCE, Service, Setup, Upstream, client_hello, clock, installed,
    read_response, request, socks_tunnel, tunnel,
};

const HOST: &str = "www.origin.example";

/// The proxy in front.
const FRONT: [u8; 4] = [127, 0, 0, 5];

struct Home {
    _upstream: Upstream,
    origin: Origin,
    setup: Setup,
    gate: Gate,
}

fn home() -> Home {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1", "::1"]);
    let origin = Origin::start(Service::Http);
    let port = origin.port().to_string();
    let setup = Setup::new(&upstream)
        .set("proxy.proxy-protocol-from", r#"["127.0.0.5"]"#)
        .set("proxy.plain-origin-port", &port)
        .set("proxy.tls-origin-port", &port)
        .set("proxy.sniff-timeout", r#""2s""#);
    let gate = Gate::start(&setup);
    Home {
        _upstream: upstream,
        origin,
        setup,
        gate,
    }
}

fn from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::from((Ipv4Addr::from(address), 0));
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn v1(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 192.0.2.1 4711 80\r\n").into_bytes()
}

fn v2(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x12".to_vec();
    header.extend(source);
    header.extend([192, 0, 2, 1]);
    header.extend(4711_u16.to_be_bytes());
    header.extend(80_u16.to_be_bytes());
    // An extension that means nothing.
    header.extend([4, 0, 3, 1, 2, 3]);
    header
}

fn get() -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Whether the connection ends without a word.
fn is_closed(mut stream: TcpStream) -> bool {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => all.is_empty(),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn wait_for_refusals(gate: &Gate, reason: &str, count: f64) {
    let name = format!("sekisho_sessions_refused_total{{reason=\"{reason}\"}}");
    let begun = clock();
    loop {
        let head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let text = request(gate.addr("admin"), head).expect("metrics").text();
        let counted = text.lines().find_map(|line| line.strip_prefix(&name));
        if counted.and_then(|value| value.trim().parse::<f64>().ok()) >= Some(count) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{reason}: not counted");
    }
}

#[test]
fn the_announced_client_is_the_client_on_every_listener() {
    let home = home();
    let gate = &home.gate;
    let target = format!("{HOST}:{}", home.origin.port());
    for (header, client) in [
        (v1("127.0.0.77"), "client=127.0.0.77:4711"),
        (v2([127, 0, 0, 78]), "client=127.0.0.78:4711"),
    ] {
        let mut plain = from(FRONT, gate.addr("plain"));
        plain.write_all(&[&header[..], &get()].concat()).unwrap();
        assert_eq!(read_response(&mut plain).unwrap().status, 200);
        drop(plain);
        gate.wait_for_log(&format!("{client} inbound=\"http\""));

        let mut connect = from(FRONT, gate.addr("http"));
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        for byte in [&header[..], head.as_bytes()].concat() {
            connect.write_all(&[byte]).unwrap();
        }
        let mut status = [0; 12];
        connect.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        drop(connect);
        gate.wait_for_log(&format!("{client} inbound=\"connect\""));

        // An origin that does not speak TLS ends this; that it was reached is in the log.
        let mut tls = from(FRONT, gate.addr("tls"));
        let (_, hello) = client_hello(HOST);
        tls.write_all(&[&header[..], &hello].concat()).unwrap();
        drop(tls);
        gate.wait_for_log(&format!("{client} inbound=\"tls\""));

        let mut socks = from(FRONT, gate.addr("socks"));
        let mut wish = vec![5, 1, 0];
        wish.extend([5, 1, 0, 3, u8::try_from(HOST.len()).unwrap()]);
        wish.extend(HOST.bytes());
        wish.extend(home.origin.port().to_be_bytes());
        socks.write_all(&[&header[..], &wish].concat()).unwrap();
        let mut answer = [0; 4];
        socks.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [5, 0, 5, 0]);
        drop(socks);
        gate.wait_for_log(&format!("{client} inbound=\"socks5\""));
    }
    // The header is no part of what the origin gets.
    assert_eq!(home.origin.heads()[0].as_bytes(), get());
}

#[test]
fn a_stranger_is_a_stranger_whoever_announces_him() {
    let home = home();
    for header in [v1("192.0.2.9"), v2([192, 0, 2, 9])] {
        let mut stream = from(FRONT, home.gate.addr("plain"));
        stream.write_all(&[&header[..], &get()].concat()).unwrap();
        assert!(is_closed(stream));
    }
    wait_for_refusals(&home.gate, "stranger", 2.0);
    assert_eq!(home.origin.connections(), 0);
}

#[test]
fn a_listed_proxy_must_announce_and_nobody_else_may() {
    let home = home();
    let gate = &home.gate;
    let mut bare = from(FRONT, gate.addr("plain"));
    bare.write_all(&get()).unwrap();
    assert!(is_closed(bare));
    let mut late = from(FRONT, gate.addr("http"));
    late.write_all(b"PROXY TCP4 127.0.0.77").unwrap();
    assert!(is_closed(late));
    wait_for_refusals(gate, "proxy-protocol", 2.0);
    for kind in ["plain", "http"] {
        let mut other = from([127, 0, 0, 6], gate.addr(kind));
        other
            .write_all(&[&v1("127.0.0.77")[..], &get()].concat())
            .unwrap();
        assert_eq!(read_response(&mut other).unwrap().status, 400, "{kind}");
    }
    assert_eq!(home.origin.connections(), 0);
}

#[test]
fn a_proxy_that_speaks_for_itself_is_the_client() {
    let home = home();
    for header in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x02ab",
    ] {
        let from_line = home.gate.log_len();
        let mut stream = from(FRONT, home.gate.addr("plain"));
        stream.write_all(&[header, &get()].concat()).unwrap();
        assert_eq!(read_response(&mut stream).unwrap().status, 200);
        drop(stream);
        home.gate.wait_for_log_after(from_line, "client=127.0.0.5:");
    }
}

#[test]
fn bounds_are_those_of_the_announced_client_and_a_reload_takes_the_proxy_from_the_list() {
    let home = home();
    let one = home.setup.clone().set("proxy.max-sessions-per-client", "1");
    home.gate.reload(&one, "reloaded");
    let open = |client: &str| {
        let mut stream = from(FRONT, home.gate.addr("plain"));
        let part = &get()[..20];
        stream.write_all(&[&v1(client)[..], part].concat()).unwrap();
        stream
    };
    let first = open("127.0.0.77");
    let mut other = from(FRONT, home.gate.addr("plain"));
    other
        .write_all(&[&v1("127.0.0.78")[..], &get()].concat())
        .unwrap();
    assert_eq!(read_response(&mut other).unwrap().status, 200);
    let mut second = open("127.0.0.77");
    assert_eq!(read_response(&mut second).unwrap().status, 429);
    drop(first);
    let none = home.setup.clone().set("proxy.proxy-protocol-from", "[]");
    home.gate.reload(&none, "reloaded");
    let mut stream = from(FRONT, home.gate.addr("plain"));
    stream.write_all(&get()).unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 200);
}

#[test]
fn an_origin_of_a_rule_is_told_the_client_before_anything_else() {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port();
    for version in ["v1", "v2"] {
        let setup = Setup::new(&upstream)
            .set("proxy.tls-origin-port", &port.to_string())
            .rule(&format!(
                "domains = [\"{HOST}\"]\nsend-proxy = \"{version}\""
            ));
        let gate = Gate::start(&setup);
        let (mut connect, response) = tunnel(gate.addr("http"), &format!("{HOST}:{port}"));
        assert_eq!(response.status, 200);
        connect.write_all(b"hello").unwrap();
        is_told(
            &origin,
            version,
            connect.local_addr().unwrap(),
            &gate,
            "http",
            b"hello",
        );
        let mut socks = socks_tunnel(gate.addr("socks"), HOST, port).expect("a tunnel");
        socks.write_all(b"hello").unwrap();
        is_told(
            &origin,
            version,
            socks.local_addr().unwrap(),
            &gate,
            "socks",
            b"hello",
        );
        let (_, hello) = client_hello(HOST);
        let mut tls = crate::support::connect(gate.addr("tls"));
        tls.write_all(&hello).unwrap();
        is_told(
            &origin,
            version,
            tls.local_addr().unwrap(),
            &gate,
            "tls",
            &hello,
        );
    }
}

/// The next connection of the origin begins with a header that announces the client, and goes on with its words.
fn is_told(
    origin: &TcpListener,
    version: &str,
    client: SocketAddr,
    gate: &Gate,
    listener: &str,
    words: &[u8],
) {
    let here = gate.addr(listener);
    let header = match version {
        "v1" => format!(
            "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
            client.port(),
            here.port()
        )
        .into_bytes(),
        _ => [
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".as_slice(),
            &client.port().to_be_bytes(),
            &here.port().to_be_bytes(),
        ]
        .concat(),
    };
    let expected = [&header, words].concat();
    let (mut stream, _) = origin.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut found = vec![0; expected.len()];
    stream.read_exact(&mut found).unwrap();
    assert_eq!(found, expected, "{listener} {version}");
}

#[test]
fn curl_announces_itself() {
    if !installed(&["curl"]) {
        return;
    }
    let home = home();
    let plain = home.gate.addr("plain");
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "10", "--noproxy", "*"])
        .args(["--haproxy-protocol", "--interface", "127.0.0.5"])
        .args(["--connect-to", &format!("{HOST}:80:{plain}")])
        .arg(format!("http://{HOST}/"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("\"method\":\"GET\""), "{said}{why}");
}
