//! One port number on 127.0.0.1 and on ::1, each of which serves, refuses or swallows.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// What becomes of a connection to one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It is accepted.
    Serves,
    /// It is reset at once: the port is taken, but nobody listens.
    Refuses,
    /// It gets no answer at all: the queue of the listener is full.
    Swallows,
}

/// Whether this machine has ::1.
pub(crate) fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// A port held on both families.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The number.
    pub(crate) port: u16,
    /// The listeners of the families that serve.
    pub(crate) listeners: Vec<TcpListener>,
    _held: Vec<Held>,
}

/// Sockets that keep a port refusing or swallowing.
#[derive(Debug)]
struct Held {
    _listener: Socket,
    _fill: Vec<Socket>,
}

impl Pair {
    /// Takes a free port number; without ::1 on this machine, on IPv4 only.
    pub(crate) fn bind(ipv4: Reach, ipv6: Reach) -> Self {
        for _ in 0..100 {
            let first = socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
            let port = local(&first).port();
            let second = match has_ipv6() {
                true => match socket(SocketAddr::from((Ipv6Addr::LOCALHOST, port))) {
                    Ok(socket) => Some(socket),
                    Err(error) if error.kind() == ErrorKind::AddrInUse => continue,
                    Err(error) => panic!("[::1]:{port}: {error}"),
                },
                false => None,
            };
            let mut pair = Self {
                port,
                listeners: Vec::new(),
                _held: Vec::new(),
            };
            pair.take(first, ipv4);
            if let Some(second) = second {
                pair.take(second, ipv6);
            }
            return pair;
        }
        panic!("no port is free on both families");
    }

    fn take(&mut self, socket: Socket, reach: Reach) {
        match reach {
            Reach::Serves => {
                socket.listen(1024).expect("listen");
                self.listeners.push(socket.into());
            }
            Reach::Refuses => self._held.push(Held {
                _listener: socket,
                _fill: Vec::new(),
            }),
            Reach::Swallows => {
                socket.listen(0).expect("listen");
                let fill = fill(local(&socket));
                self._held.push(Held {
                    _listener: socket,
                    _fill: fill,
                });
            }
        }
    }
}

/// Connects until the queue is full, so that the kernel drops every further SYN.
fn fill(address: SocketAddr) -> Vec<Socket> {
    let mut fill = Vec::new();
    for _ in 0..8 {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("socket");
        let connected = socket
            .connect_timeout(&address.into(), Duration::from_millis(100))
            .is_ok();
        if !connected {
            return fill;
        }
        fill.push(socket);
    }
    panic!("the queue of {address} never fills");
}

fn socket(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local(socket: &Socket) -> SocketAddr {
    let address = socket.local_addr().expect("bound");
    address.as_socket().expect("an internet address")
}

#[test]
fn a_port_serves_refuses_and_swallows() {
    let hosts: &[std::net::IpAddr] = match has_ipv6() {
        true => &[
            Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(Ipv6Addr::LOCALHOST),
        ],
        false => &[std::net::IpAddr::V4(Ipv4Addr::LOCALHOST)],
    };
    for &host in hosts {
        for reach in [Reach::Serves, Reach::Refuses, Reach::Swallows] {
            let pair = Pair::bind(reach, reach);
            for _ in 0..3 {
                let address = SocketAddr::from((host, pair.port));
                let outcome = TcpStream::connect_timeout(&address, Duration::from_millis(150))
                    .map(|_| ())
                    .map_err(|error| error.kind());
                let expected = match reach {
                    Reach::Serves => Ok(()),
                    Reach::Refuses => Err(ErrorKind::ConnectionRefused),
                    Reach::Swallows => Err(ErrorKind::TimedOut),
                };
                assert_eq!(outcome, expected, "{host} {reach:?}");
            }
        }
    }
}
