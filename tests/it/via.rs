//! Upstream proxies: sessions of every inbound leave by a second gate or by a SOCKS5 server, and names go there as names.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use hickory_proto::rr::RecordType;

use crate::support::{
    Gate, Origin, Reach, Service, Setup, Upstream, connect, read_response, request, tls_get, tunnel,
};

const HOST: &str = "www.origin.example";

/// Two gates: the first leaves by the second, and only the second can resolve the origin's name.
struct Chain {
    near: Upstream,
    _far: Upstream,
    gate: Gate,
    proxy: Gate,
}

impl Chain {
    fn start(change: impl FnOnce(Setup, SocketAddr) -> Setup) -> Self {
        let (near, far) = (Upstream::start(), Upstream::start());
        far.addresses(HOST, &["127.0.0.1", "::1"]);
        let proxy = Gate::start(&Setup::new(&far));
        let setup = change(Setup::guarded(&near), proxy.addr("http"));
        let gate = Gate::start(&setup);
        Self {
            near,
            _far: far,
            gate,
            proxy,
        }
    }

    fn by_http(change: impl FnOnce(Setup) -> Setup) -> Self {
        Self::start(|setup, proxy| change(setup.set("egress.via", &format!("\"http://{proxy}\""))))
    }

    /// How many sessions the second gate had.
    fn taken_on(&self) -> usize {
        let log = self.proxy.log_text();
        log.matches("inbound=\"connect\"").count()
    }
}

#[test]
fn every_inbound_leaves_by_the_proxy_and_no_name_is_resolved_here() {
    let tls = Origin::start(Service::Tls);
    let http = Origin::start(Service::Http);
    let echo = Origin::start(Service::Echo);
    let chain = Chain::by_http(|setup| {
        setup
            .set("proxy.tls-origin-port", &tls.port().to_string())
            .set("proxy.plain-origin-port", &http.port().to_string())
    });
    let gate = &chain.gate;
    let target = format!("{HOST}:{}", echo.port());
    let (mut stream, response) = tunnel(gate.addr("http"), &target);
    assert_eq!(response.status, 200);
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "last wordsbye");

    let absolute = format!(
        "GET http://{HOST}:{}/ HTTP/1.1\r\nHost: x\r\n\r\n",
        http.port()
    );
    let response = request(gate.addr("http"), absolute.as_bytes()).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());

    let response = tls_get(connect(gate.addr("tls")), HOST, "/").unwrap();
    assert_eq!(response.status, 200);

    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    let response = request(gate.addr("plain"), head.as_bytes()).unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(http.heads().last(), Some(&head));

    for record_type in [RecordType::A, RecordType::AAAA] {
        assert_eq!(chain.near.count(HOST, record_type), 0);
    }
}

#[test]
fn what_is_near_is_refused_and_the_proxy_not_asked() {
    let zone = "$ORIGIN lab.home.arpa.\n$TTL 60\n@ IN SOA ns admin 1 60 60 60 60\n@ IN NS ns\n\
                ns IN A 192.168.1.1\nhost IN A 192.168.1.5\n";
    let chain = Chain::by_http(|setup| setup.zone("lab.home.arpa.zone", zone));
    for target in [
        "127.0.0.1:80",
        "192.168.1.1:80",
        "[::1]:80",
        "169.254.169.254:80",
        "host.lab.home.arpa:80",
        "localhost:80",
    ] {
        let (_, response) = tunnel(chain.gate.addr("http"), target);
        assert_eq!(response.status, 403, "{target}");
    }
    assert_eq!(chain.taken_on(), 0);
}

#[test]
fn what_the_proxy_says_is_passed_on_and_a_dead_one_is_named() {
    let chain = Chain::by_http(|setup| setup);
    let (_, response) = tunnel(chain.gate.addr("http"), "none.origin.example:80");
    assert_eq!(response.status, 502, "{}", response.text());

    for (reach, status, reason) in [
        (Reach::Refuses, 502, "destination_unavailable"),
        (Reach::Swallows, 504, "connection_timeout"),
    ] {
        let dead = Origin::reached(Service::Echo, reach, reach);
        let upstream = Upstream::start();
        let gate = Gate::start(
            &Setup::guarded(&upstream)
                .set("egress.connect-timeout", r#""800ms""#)
                .set(
                    "egress.via",
                    &format!("\"socks5://me:secret@127.0.0.1:{}\"", dead.port()),
                ),
        );
        let (_, response) = tunnel(gate.addr("http"), "a.example:443");
        assert_eq!(response.status, status, "{}", response.text());
        let why = response.header("proxy-status").unwrap();
        assert!(why.contains(reason), "{why}");
        let text = response.text();
        assert!(
            text.contains(&format!("socks5://127.0.0.1:{}", dead.port())),
            "{text}"
        );
        assert!(!gate.log_text().contains("secret"));
        let metrics = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let metrics = request(gate.addr("admin"), metrics).unwrap().text();
        assert!(
            metrics.contains("sekisho_via_failures_total{reason=\"unreached\"} 1"),
            "{metrics}"
        );
    }
}

#[test]
fn a_gate_that_is_its_own_upstream_proxy_goes_round_only_once() {
    let upstream = Upstream::start();
    let setup = Setup::new(&upstream);
    let gate = Gate::start(&setup);
    let own = format!("\"http://{}\"", gate.addr("http"));
    gate.reload(&setup.set("egress.via", &own), "reloaded");
    let (_, response) = tunnel(gate.addr("http"), "a.example:443");
    assert_eq!(response.status, 502, "{}", response.text());
}

#[test]
fn a_rule_sends_its_domains_and_clients_by_the_proxy_and_no_pool_is_shared() {
    let origin = Origin::start(Service::Http);
    let url = format!("http://{HOST}:{}/", origin.port());
    let chain = Chain::start(|setup, proxy| {
        setup
            .set("egress.allow", r#"["127.0.0.0/8", "::1/128"]"#)
            .rule("domains = [\"direct.origin.example\"]\nvia = \"direct\"")
            .rule(&format!(
                "clients = [\"127.0.0.9\"]\nvia = \"http://{proxy}\""
            ))
    });
    chain.near.addresses(HOST, &["127.0.0.1", "::1"]);
    chain
        .near
        .addresses("direct.origin.example", &["127.0.0.1", "::1"]);
    let from = |address: [u8; 4], url: &str| {
        let mut stream = connect_from(address, chain.gate.addr("http"));
        write!(stream, "GET {url} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        read_response(&mut stream).unwrap().status
    };
    assert_eq!(from([127, 0, 0, 1], &url), 200);
    assert_eq!(from([127, 0, 0, 9], &url), 200);
    assert_eq!(origin.connections(), 2, "each way has its own connection");
    assert_eq!(from([127, 0, 0, 9], &url), 200);
    assert_eq!(from([127, 0, 0, 1], &url), 200);
    assert_eq!(origin.connections(), 2, "and keeps it");
    let direct = format!("http://direct.origin.example:{}/", origin.port());
    assert_eq!(from([127, 0, 0, 9], &direct), 200);
    assert_eq!(chain.near.count("direct.origin.example", RecordType::A), 1);
}

#[test]
fn a_reload_changes_the_way_of_new_sessions_and_leaves_the_old_ones() {
    let echo = Origin::start(Service::Echo);
    let target = format!("127.0.0.1:{}", echo.port());
    let upstream = Upstream::start();
    let far = Upstream::start();
    let proxy = Gate::start(&Setup::new(&far));
    let setup = Setup::new(&upstream);
    let gate = Gate::start(&setup);
    let (mut old, _) = tunnel(gate.addr("http"), &target);
    let via = format!("\"http://{}\"", proxy.addr("http"));
    gate.reload(&setup.set("egress.via", &via), "reloaded");
    let (mut new, response) = tunnel(gate.addr("http"), &target);
    assert_eq!(response.status, 200);
    for stream in [&mut old, &mut new] {
        stream.write_all(b"x").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        assert_eq!(all, "xbye");
    }
    proxy.wait_for_log("inbound=\"connect\"");
}

#[test]
fn socks5_gets_the_name_and_the_credentials_and_early_words_are_not_lost() {
    let server = socks5(Some(("me", "p@ss")), 0);
    let upstream = Upstream::start();
    // The proxy's own name is resolved here.
    upstream.addresses("socks.origin.example", &["127.0.0.1"]);
    let port = server.address.port();
    let setup = Setup::guarded(&upstream);
    let via = |user: &str| format!("\"socks5://{user}@socks.origin.example:{port}\"");
    let gate = Gate::start(&setup.clone().set("egress.via", &via("me:p%40ss")));
    let (mut stream, response) = tunnel(gate.addr("http"), "ssh.example:22");
    assert_eq!(response.status, 200, "{}", response.text());
    let mut all = String::new();
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "SSH-2.0 ssh.example:22");
    gate.reload(&setup.set("egress.via", &via("me:wrong")), "reloaded");
    let (_, response) = tunnel(gate.addr("http"), "ssh.example:22");
    assert_eq!(response.status, 502);
    assert!(
        response.text().contains("credentials"),
        "{}",
        response.text()
    );
}

#[test]
fn the_codes_of_socks5_become_statuses() {
    for (code, status, reason) in [
        (1, 502, "destination_unavailable"),
        (2, 502, "destination_unavailable"),
        (3, 502, "destination_ip_unroutable"),
        (4, 502, "destination_unavailable"),
        (5, 502, "connection_refused"),
        (6, 504, "connection_timeout"),
        (8, 502, "destination_unavailable"),
    ] {
        let server = socks5(None, code);
        let upstream = Upstream::start();
        let via = format!("\"socks5://{}\"", server.address);
        let gate = Gate::start(&Setup::guarded(&upstream).set("egress.via", &via));
        let (_, response) = tunnel(gate.addr("http"), "a.example:443");
        assert_eq!(response.status, status, "{code}");
        let why = response.header("proxy-status").unwrap();
        assert!(why.contains(reason), "{code}: {why}");
    }
}

fn connect_from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::from((Ipv4Addr::from(address), 0));
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(crate::support::PATIENCE))
        .unwrap();
    stream
}

/// A server of SOCKS5 that says, in the same segment as its answer, what it was asked for.
struct Socks5 {
    address: SocketAddr,
}

fn socks5(credentials: Option<(&'static str, &'static str)>, code: u8) -> Socks5 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever is refused hangs up in the middle.
            answer(stream, credentials, code).ok();
        }
    });
    Socks5 { address }
}

fn answer(
    mut stream: TcpStream,
    credentials: Option<(&str, &str)>,
    code: u8,
) -> std::io::Result<()> {
    let take = |stream: &mut TcpStream, count: usize| {
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes).map(|()| bytes)
    };
    let text = |stream: &mut TcpStream| {
        let length = usize::from(take(stream, 1)?[0]);
        take(stream, length).map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let head = take(&mut stream, 2)?;
    let methods = take(&mut stream, usize::from(head[1]))?;
    let wanted = if credentials.is_some() { 2 } else { 0 };
    assert!(methods.contains(&wanted));
    stream.write_all(&[5, wanted])?;
    if let Some(credentials) = credentials {
        take(&mut stream, 1)?;
        let given = (text(&mut stream)?, text(&mut stream)?);
        let right = (given.0.as_str(), given.1.as_str()) == credentials;
        stream.write_all(&[1, u8::from(!right)])?;
        if !right {
            return Ok(());
        }
    }
    assert_eq!(take(&mut stream, 4)?, [5, 1, 0, 3], "a name");
    let host = text(&mut stream)?;
    let port = take(&mut stream, 2)?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    let mut reply = vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    if code == 0 {
        reply.extend(format!("SSH-2.0 {host}:{port}").bytes());
    }
    stream.write_all(&reply)
}
