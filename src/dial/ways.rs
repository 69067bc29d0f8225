//! How sockets leave this machine: the one place of this room that opens them, by `egress.ipv4` and `egress.ipv6`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use nix::{libc, setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::error::is_unroutable;
use crate::config::{Egress, Outlet};
use crate::net::Family;

/// How sockets of each family leave.
#[derive(Clone, Debug, Default)]
pub(super) struct Ways(Arc<[Outlet; 2]>);

/// A key of the configuration that the system does not take at this moment.
#[derive(Debug, thiserror::Error)]
#[error("egress.{family}.{key}: {}", self.why())]
pub(super) struct Unusable {
    family: Family,
    key: &'static str,
    value: String,
    source: io::Error,
}

impl Unusable {
    fn why(&self) -> String {
        let (key, value) = (self.key, &self.value);
        match errno(&self.source) {
            Some(Errno::EADDRNOTAVAIL) => format!("this machine has no address `{value}`"),
            Some(Errno::ENODEV) => format!("there is no interface `{value}`"),
            Some(Errno::EPERM) if key == "mark" => format!(
                "`{value}` needs CAP_NET_RAW (CAP_NET_ADMIN before Linux 5.17), which this process has not; a gate \
                 that is started as root keeps it where a mark is written then"
            ),
            _ => format!("`{value}` cannot be used: {}", self.source),
        }
    }
}

/// Whether a key of ours is to blame, and neither the destination nor the way to it.
pub(super) fn is_unusable(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Unusable>())
}

impl Ways {
    /// As configured.
    pub(super) fn new(egress: &Egress) -> Self {
        Self(Arc::new([egress.ipv4.clone(), egress.ipv6.clone()]))
    }

    /// What of the configuration cannot be had at this moment, in a sentence each.
    pub(super) fn problems(&self) -> Vec<String> {
        let opened = [Family::V4, Family::V6].map(|family| self.open_udp(family));
        opened
            .into_iter()
            .filter_map(Result::err)
            .filter(is_unusable)
            .map(|error| error.to_string())
            .collect()
    }

    /// An unconnected UDP socket on a free port, non-blocking.
    pub(super) fn open_udp(&self, family: Family) -> io::Result<UdpSocket> {
        let socket = udp(family)?;
        if !self.prepare(&socket, family)? {
            let any: SocketAddr = match family {
                Family::V4 => (Ipv4Addr::UNSPECIFIED, 0).into(),
                Family::V6 => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            socket.bind(&any.into())?;
        }
        Ok(socket.into())
    }

    /// A TCP connection.
    pub(super) async fn connect_tcp(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let family = Family::of(to.ip());
        let socket = match family {
            Family::V4 => TcpSocket::new_v4()?,
            Family::V6 => TcpSocket::new_v6()?,
        };
        if self.outlet(family).source.is_some() {
            // The port is chosen for the destination: a source has as many of them as it has destinations times 28,000.
            setsockopt(&socket, IpBindAddressNoPort, &true)?;
        }
        self.prepare(&SockRef::from(&socket), family)?;
        socket.connect(to).await
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
        self.prepare(&socket, family)?;
        socket.connect(&to.into())?;
        Ok(socket.into())
    }

    fn outlet(&self, family: Family) -> &Outlet {
        let [ipv4, ipv6] = &*self.0;
        match family {
            Family::V4 => ipv4,
            Family::V6 => ipv6,
        }
    }

    /// Gives a socket its mark, its interface and its source; whether it has a source, and so is bound.
    fn prepare(&self, socket: &Socket, family: Family) -> io::Result<bool> {
        let Outlet {
            source,
            interface,
            mark,
        } = self.outlet(family);
        let unusable = |key, value: String| {
            move |source: io::Error| {
                let kind = source.kind();
                let why = Unusable {
                    family,
                    key,
                    value,
                    source,
                };
                io::Error::new(kind, why)
            }
        };
        if *mark != 0 {
            let marked = socket.set_mark(*mark);
            marked.map_err(unusable("mark", mark.to_string()))?;
        }
        if let Some(interface) = interface {
            let bound = socket.bind_device(Some(interface.as_bytes()));
            bound.map_err(unusable("interface", interface.clone()))?;
        }
        let Some(source) = source else {
            return Ok(false);
        };
        match socket.bind(&SocketAddr::new(*source, 0).into()) {
            Err(error) if errno(&error) == Some(Errno::EADDRNOTAVAIL) => {
                Err(unusable("source", source.to_string())(error))
            }
            bound => bound.map(|()| true),
        }
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outlet(source: Option<&str>, interface: Option<&str>) -> Outlet {
        Outlet {
            source: source.map(|text| text.parse().unwrap()),
            interface: interface.map(str::to_owned),
            mark: 0,
        }
    }

    fn ways(ipv4: Outlet) -> Ways {
        Ways(Arc::new([ipv4, Outlet::default()]))
    }

    fn origin() -> (std::net::TcpListener, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn every_socket_of_a_family_comes_from_its_source() {
        let ways = ways(outlet(Some("127.0.0.9"), None));
        let (_listener, origin) = origin();
        let source = IpAddr::from([127, 0, 0, 9]);
        let tcp = ways.connect_tcp(origin).await.unwrap();
        assert_eq!(tcp.local_addr().unwrap().ip(), source);
        let udp = ways.connect_udp(origin).unwrap();
        assert_eq!(udp.local_addr().unwrap().ip(), source);
        let open = ways.open_udp(Family::V4).unwrap();
        assert_eq!(open.local_addr().unwrap().ip(), source);
        assert_ne!(open.local_addr().unwrap().port(), 0);
        assert!(ways.has_route(origin) && ways.problems().is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_had_names_its_key_and_is_no_ways_to_anywhere() {
        for (broken, key, value) in [
            (outlet(Some("192.0.2.77"), None), "source", "192.0.2.77"),
            (
                outlet(None, Some("no-such-door")),
                "interface",
                "no-such-door",
            ),
        ] {
            let ways = ways(broken);
            let (_listener, origin) = origin();
            let errors = [
                ways.connect_tcp(origin).await.unwrap_err(),
                ways.connect_udp(origin).unwrap_err(),
                ways.open_udp(Family::V4).unwrap_err(),
            ];
            for error in errors {
                let text = error.to_string();
                assert!(text.starts_with(&format!("egress.ipv4.{key}: ")), "{text}");
                assert!(text.contains(value), "{text}");
                assert!(is_unusable(&error) && is_unroutable(&error), "{text}");
            }
            assert_eq!(ways.problems().len(), 1, "the other family is well");
            assert!(!ways.has_route(origin));
        }
    }
}
