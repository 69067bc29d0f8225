//! How sockets leave this machine: the one place of this room that opens them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::sys::socket::setsockopt;
use nix::{libc, setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

use super::error::is_unroutable;
use crate::net::Family;

/// How sockets of each family leave.
#[derive(Clone, Debug, Default)]
pub(super) struct Ways;

impl Ways {
    /// An unconnected UDP socket on a free port, non-blocking.
    pub(super) fn open_udp(&self, family: Family) -> io::Result<UdpSocket> {
        let any: SocketAddr = match family {
            Family::V4 => (Ipv4Addr::UNSPECIFIED, 0).into(),
            Family::V6 => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = udp(family)?;
        socket.bind(&any.into())?;
        Ok(socket.into())
    }

    /// A TCP connection.
    pub(super) async fn connect_tcp(&self, to: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(to).await
    }

    /// Whether the kernel knows a way to the address, from an address that is not only good for the link.
    pub(super) fn has_route(&self, to: SocketAddr) -> bool {
        let local = self.connect_udp(to).and_then(|socket| socket.local_addr());
        match local.map(|local| local.ip()) {
            Ok(IpAddr::V6(local)) => !local.is_unicast_link_local(),
            Ok(IpAddr::V4(local)) => !local.is_link_local(),
            // No descriptor left, for one, says nothing about routes.
            Err(error) => !is_unroutable(&error),
        }
    }

    /// A UDP socket that talks to one address, non-blocking. It does not fragment (RFC 9000 section 14).
    pub(super) fn connect_udp(&self, to: SocketAddr) -> io::Result<UdpSocket> {
        let family = Family::of(to.ip());
        let socket = udp(family)?;
        match family {
            Family::V4 => setsockopt(&socket, MtuDiscover4, &libc::IP_PMTUDISC_PROBE)?,
            Family::V6 => setsockopt(&socket, MtuDiscover6, &libc::IPV6_PMTUDISC_PROBE)?,
        }
        socket.connect(&to.into())?;
        Ok(socket.into())
    }
}

fn udp(family: Family) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if family == Family::V6 {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends without waiting for the runtime to have seen that the socket is ready, which a new one never is.
pub(super) fn send_now(socket: &tokio::net::UdpSocket, datagram: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send(datagram)
}

sockopt_impl!(
    /// What IPv4 does with a datagram that is too long for the path.
    MtuDiscover4,
    SetOnly,
    libc::IPPROTO_IP,
    libc::IP_MTU_DISCOVER,
    libc::c_int
);

sockopt_impl!(
    /// What IPv6 does with a datagram that is too long for the path.
    MtuDiscover6,
    SetOnly,
    libc::IPPROTO_IPV6,
    libc::IPV6_MTU_DISCOVER,
    libc::c_int
);
