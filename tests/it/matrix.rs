//! Every inbound with every fault of the way out: by which family the origin was reached, or how the client was told
//! that it was not.

use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use hickory_proto::rr::RecordType;

use crate::support::{
    Gate, H2Client, Origin, PATIENCE, QuicClient, QuicOrigin, Reach, Reply, Response, Service,
    Setup, Upstream, a, aaaa, clock, connect, has_ipv6, read_response, request, socks_associate,
    socks_datagram, socks_tunnel, tls_get, tunnel,
};

/// The origin's name.
const HOST: &str = "www.origin.example";

/// How a session comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inbound {
    Connect,
    Forward,
    ConnectH2,
    ForwardH2,
    Socks5,
    Socks5Udp,
    Tls,
    Http,
    Quic,
}

/// What is wrong with the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    V6Ok,
    /// IPv6 gets no answer.
    V6BlackHoled,
    /// IPv6 is reset.
    V6Refused,
    /// There is no AAAA.
    V4Only,
    /// There is no A.
    V6Only,
    /// The name has no address.
    NoAddress,
    /// AAAA comes long after A.
    SlowAaaa,
    /// A comes long after AAAA.
    SlowA,
}

/// What must become of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Family(&'static str),
    Unresolved,
}

impl Fault {
    fn outcome(self) -> Outcome {
        match self {
            Self::V6Ok | Self::V6Only | Self::SlowA => Outcome::Family("ipv6"),
            Self::V6BlackHoled | Self::V6Refused | Self::V4Only | Self::SlowAaaa => {
                Outcome::Family("ipv4")
            }
            Self::NoAddress => Outcome::Unresolved,
        }
    }

    /// Whether the cell says anything on a machine without ::1.
    fn needs_ipv6(self) -> bool {
        !matches!(self, Self::V4Only | Self::NoAddress)
    }

    fn reach_of_ipv6(self) -> Reach {
        match self {
            Self::V6BlackHoled => Reach::Swallows,
            Self::V6Refused => Reach::Refuses,
            _ => Reach::Serves,
        }
    }

    fn script(self, upstream: &Upstream) {
        let late = Duration::from_millis(700);
        let (ipv4, ipv6) = (a(HOST, "127.0.0.1"), aaaa(HOST, "::1"));
        match self {
            Self::V6Ok | Self::V6BlackHoled | Self::V6Refused => {
                upstream.addresses(HOST, &["127.0.0.1", "::1"]);
            }
            Self::V4Only => {
                upstream.addresses(HOST, &["127.0.0.1"]);
            }
            Self::V6Only => {
                upstream.addresses(HOST, &["::1"]);
            }
            Self::NoAddress => {
                upstream.addresses(HOST, &[]);
            }
            Self::SlowAaaa => {
                upstream.say(HOST, RecordType::A, Reply::of([ipv4]));
                upstream.say(HOST, RecordType::AAAA, Reply::of([ipv6]).late(late));
            }
            Self::SlowA => {
                upstream.say(HOST, RecordType::A, Reply::of([ipv4]).late(late));
                upstream.say(HOST, RecordType::AAAA, Reply::of([ipv6]));
            }
        }
    }
}

fn cell(inbound: Inbound, fault: Fault) {
    if fault.needs_ipv6() && !has_ipv6() {
        println!("skipped: this machine has no ::1");
        return;
    }
    let service = match inbound {
        Inbound::Quic => return quic_cell(fault),
        Inbound::Socks5Udp => return cell_of_datagrams(fault),
        Inbound::Tls => Service::Tls,
        Inbound::Connect
        | Inbound::Forward
        | Inbound::ConnectH2
        | Inbound::ForwardH2
        | Inbound::Socks5
        | Inbound::Http => Service::Http,
    };
    let origin = Origin::reached(service, Reach::Serves, fault.reach_of_ipv6());
    let upstream = Upstream::start();
    fault.script(&upstream);
    let port = origin.port();
    let gate = Gate::start(
        &Setup::new(&upstream)
            .set("proxy.tls-origin-port", &port.to_string())
            .set("proxy.plain-origin-port", &port.to_string()),
    );
    let begun = clock();
    let response = visit(inbound, &gate, port);
    let elapsed = begun.elapsed();
    match fault.outcome() {
        Outcome::Family(family) => {
            let response = response.expect("a response of the origin");
            assert_eq!(response.status, 200, "{}", response.text());
            assert_eq!(response.family(), family);
            assert_eq!(
                response.report()["host"]
                    .as_str()
                    .unwrap()
                    .split(':')
                    .next(),
                Some(HOST)
            );
        }
        Outcome::Unresolved => {
            assert_eq!(origin.connections(), 0);
            assert_unresolved(inbound, response);
        }
    }
    // A fault of one family costs a part of a second, never a timeout.
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

/// QUIC has origins and clients of its own, and a refusal in its own words.
fn quic_cell(fault: Fault) {
    let origin = QuicOrigin::reached(Reach::Serves, fault.reach_of_ipv6());
    let upstream = Upstream::start();
    fault.script(&upstream);
    let port = origin.port().to_string();
    let gate = Gate::start(&Setup::new(&upstream).set("proxy.quic-origin-port", &port));
    let client = QuicClient::new();
    let begun = clock();
    let connection = client.connect(gate.addr("quic"), HOST);
    match fault.outcome() {
        Outcome::Family(family) => {
            let connection = connection.expect("a connection");
            let said = String::from_utf8(client.say(&connection, b"hello")).expect("text");
            assert_eq!(said, format!("{family} {HOST} hello"));
        }
        Outcome::Unresolved => {
            assert_eq!(origin.connections(), 0);
            let error = connection.expect_err("a refusal").to_string();
            assert!(error.contains("sekisho"), "{error}");
        }
    }
    let elapsed = begun.elapsed();
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

/// As [`cell`], of an association: the address that the answer came from tells the family.
fn cell_of_datagrams(fault: Fault) {
    let port = serve_datagrams(fault);
    let upstream = Upstream::start();
    fault.script(&upstream);
    let gate = Gate::start(&Setup::new(&upstream));
    let (_stream, relay) = socks_associate(gate.addr("socks"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let begun = clock();
    let asked = socks_datagram(HOST, port, b"x");
    socket.send_to(&asked, relay).unwrap();
    match fault.outcome() {
        Outcome::Family(family) => {
            let mut answer = [0; 100];
            let length = socket.recv(&mut answer).expect("an answer of the origin");
            let host = if family == "ipv6" { "::1" } else { "127.0.0.1" };
            assert_eq!(answer[..length], socks_datagram(host, port, b"x"));
        }
        Outcome::Unresolved => {
            let name = "sekisho_udp_dropped_total{reason=\"unresolved\"}";
            gate.wait_for_metric(name, 1.0);
        }
    }
    let elapsed = begun.elapsed();
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

/// A port number of both families, on which those that the fault leaves send back what they get.
fn serve_datagrams(fault: Fault) -> u16 {
    loop {
        let ipv4 = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = ipv4.local_addr().unwrap().port();
        let mut sockets = vec![(ipv4, true)];
        let reach = fault.reach_of_ipv6();
        if reach != Reach::Refuses && has_ipv6() {
            let Ok(ipv6) = UdpSocket::bind(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)))
            else {
                continue;
            };
            sockets.push((ipv6, reach == Reach::Serves));
        }
        for (socket, answers) in sockets {
            thread::spawn(move || {
                let mut buffer = [0; 100];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    if answers {
                        socket.send_to(&buffer[..length], from).ok();
                    }
                }
            });
        }
        return port;
    }
}

/// The response of the origin, or that of the gate; `None` where the connection was closed without one.
fn visit(inbound: Inbound, gate: &Gate, port: u16) -> Option<Response> {
    match inbound {
        Inbound::Quic => None,
        Inbound::Connect => {
            let (mut stream, response) = tunnel(gate.addr("http"), &format!("{HOST}:{port}"));
            if response.status != 200 {
                return Some(response);
            }
            let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            read_response(&mut stream)
        }
        Inbound::Forward => {
            let head = format!("GET http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n");
            request(gate.addr("http"), head.as_bytes())
        }
        Inbound::ConnectH2 => {
            let client = H2Client::connect(gate.addr("http"));
            let (mut stream, response) = client.tunnel(&format!("{HOST}:{port}"));
            if response.status != 200 {
                let body = client.rest(&mut stream).unwrap();
                return Some(Response { body, ..response });
            }
            let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
            client.say(&mut stream, head.as_bytes(), false).unwrap();
            read_response(&mut client.rest(&mut stream).unwrap().as_slice())
        }
        Inbound::ForwardH2 => {
            let client = H2Client::connect(gate.addr("http"));
            Some(client.get(&format!("http://{HOST}:{port}/")))
        }
        Inbound::Socks5 => match socks_tunnel(gate.addr("socks"), HOST, port) {
            Ok(mut stream) => {
                let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
                stream.write_all(head.as_bytes()).unwrap();
                read_response(&mut stream)
            }
            Err(code) => {
                assert_eq!(code, 4, "host unreachable");
                None
            }
        },
        Inbound::Socks5Udp => unreachable!("datagrams have no response"),
        Inbound::Tls => tls_get(connect(gate.addr("tls")), HOST, "/"),
        Inbound::Http => {
            let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
            request(gate.addr("plain"), head.as_bytes())
        }
    }
}

fn assert_unresolved(inbound: Inbound, response: Option<Response>) {
    match inbound {
        Inbound::Connect | Inbound::Forward | Inbound::ConnectH2 | Inbound::ForwardH2 => {
            let response = response.expect("the gate says why");
            assert_eq!(response.status, 502, "{}", response.text());
            let why = response.header("proxy-status").expect("Proxy-Status");
            assert!(why.contains("error=dns_error"), "{why}");
            assert!(!response.body.is_empty(), "a body for people");
        }
        // There is nothing that a transparent proxy may say within TLS; SOCKS has a code for it.
        Inbound::Socks5 | Inbound::Socks5Udp | Inbound::Tls | Inbound::Quic => {
            assert!(response.is_none());
        }
        Inbound::Http => assert!(response.is_none_or(|response| response.status == 502)),
    }
}

macro_rules! matrix {
    ($($inbound:ident: $variant:ident),* $(,)?) => {$(
        mod $inbound {
            use super::{Fault, Inbound, cell};

            #[test]
            fn prefers_ipv6() {
                cell(Inbound::$variant, Fault::V6Ok);
            }

            #[test]
            fn falls_back_when_ipv6_is_a_black_hole() {
                cell(Inbound::$variant, Fault::V6BlackHoled);
            }

            #[test]
            fn falls_back_when_ipv6_is_refused() {
                cell(Inbound::$variant, Fault::V6Refused);
            }

            #[test]
            fn reaches_an_origin_with_ipv4_only() {
                cell(Inbound::$variant, Fault::V4Only);
            }

            #[test]
            fn reaches_an_origin_with_ipv6_only() {
                cell(Inbound::$variant, Fault::V6Only);
            }

            #[test]
            fn says_so_when_the_name_has_no_address() {
                cell(Inbound::$variant, Fault::NoAddress);
            }

            #[test]
            fn does_not_wait_for_a_slow_aaaa() {
                cell(Inbound::$variant, Fault::SlowAaaa);
            }

            #[test]
            fn does_not_wait_for_a_slow_a() {
                cell(Inbound::$variant, Fault::SlowA);
            }
        }
    )*};
}

matrix! {
    connect_tunnel: Connect,
    forward_request: Forward,
    connect_tunnel_h2: ConnectH2,
    forward_request_h2: ForwardH2,
    socks5: Socks5,
    socks5_udp: Socks5Udp,
    transparent_tls: Tls,
    transparent_http: Http,
    transparent_quic: Quic,
}
