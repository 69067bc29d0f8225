//! Every socket, bound before anything serves and before privileges are dropped.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZero;
use std::thread;

use crate::config::{Config, Mode};
use crate::net::{ListenAddr, PairError, bind_pair, bind_tcp, bind_udp};

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// DNS over UDP.
    DnsUdp,
    /// DNS over TCP.
    DnsTcp,
    /// DNS over TLS.
    DnsTls,
    /// Forward proxy.
    Http,
    /// SOCKS5 and SOCKS4.
    Socks,
    /// Transparent TLS.
    Tls,
    /// Transparent QUIC.
    Quic,
    /// Transparent HTTP, shared with the web where both have the address.
    Plain,
    /// PAC.
    Web,
    /// Metrics and health.
    Admin,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DnsUdp => "dns-udp",
            Self::DnsTcp => "dns-tcp",
            Self::DnsTls => "dns-tls",
            Self::Http => "http",
            Self::Socks => "socks",
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Plain => "plain",
            Self::Web => "web",
            Self::Admin => "admin",
        })
    }
}

/// A socket that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {address} for {kind}: {source}; {}", hint(source))]
pub struct BindError {
    kind: Kind,
    address: SocketAddr,
    source: io::Error,
}

/// The sockets of one gate.
#[derive(Debug)]
pub(super) struct Sockets {
    /// Of each address as many as there are loops.
    pub(super) dns_udp: Vec<Vec<UdpSocket>>,
    pub(super) dns_tcp: Vec<TcpListener>,
    pub(super) dns_tls: Vec<TcpListener>,
    pub(super) http: Vec<TcpListener>,
    pub(super) socks: Vec<TcpListener>,
    pub(super) tls: Vec<TcpListener>,
    pub(super) quic: Vec<UdpSocket>,
    pub(super) plain: Vec<Plain>,
    pub(super) web: Vec<TcpListener>,
    pub(super) admin: Vec<TcpListener>,
}

/// A listener of transparent HTTP.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) listener: TcpListener,
    /// Whether the web is served on it, too, for the hosts that are ours.
    pub(super) shared: bool,
}

impl Sockets {
    /// Binds everything that the configuration asks for; the transparent listeners only where names are steered.
    pub(super) fn bind(config: &Config) -> Result<Self, BindError> {
        let steered = config.steer.mode != Mode::Off;
        let mut dns_udp = Vec::new();
        let mut dns_tcp = Vec::new();
        let loops = config
            .dns
            .threads
            .map_or_else(processors, |threads| threads as usize);
        for address in &config.dns.listen {
            let (udp, tcp) = bind_dns(address.0, loops)?;
            dns_udp.push(udp);
            dns_tcp.push(tcp);
        }
        let transparent = |addresses: &[ListenAddr], kind| {
            if steered {
                bind_all(addresses, kind)
            } else {
                Ok(Vec::new())
            }
        };
        let tls = transparent(&config.proxy.tls, Kind::Tls)?;
        let quic = if steered {
            bind_all_udp(&config.proxy.quic, Kind::Quic)?
        } else {
            Vec::new()
        };
        let plain = transparent(&config.proxy.plain, Kind::Plain)?
            .into_iter()
            .zip(&config.proxy.plain)
            .map(|(listener, address)| Plain {
                listener,
                shared: config.web.listen.contains(address),
            })
            .collect();
        let own: Vec<ListenAddr> = config
            .web
            .listen
            .iter()
            .filter(|address| !(steered && config.proxy.plain.contains(address)))
            .copied()
            .collect();
        Ok(Self {
            dns_udp,
            dns_tcp,
            dns_tls: bind_all(&config.dns.tls, Kind::DnsTls)?,
            http: bind_all(&config.proxy.http, Kind::Http)?,
            socks: bind_all(&config.proxy.socks, Kind::Socks)?,
            tls,
            quic,
            plain,
            web: bind_all(&own, Kind::Web)?,
            admin: bind_all(&config.web.admin, Kind::Admin)?,
        })
    }

    /// What is bound, and where; a shared listener is named for both of its uses.
    pub(super) fn bound(&self) -> Vec<(Kind, SocketAddr)> {
        let tcp = |kind, listeners: &[TcpListener]| -> Vec<(Kind, SocketAddr)> {
            listeners
                .iter()
                .filter_map(|listener| Some((kind, listener.local_addr().ok()?)))
                .collect()
        };
        let udp = |kind, sockets: &[UdpSocket]| -> Vec<(Kind, SocketAddr)> {
            sockets
                .iter()
                .filter_map(|socket| Some((kind, socket.local_addr().ok()?)))
                .collect()
        };
        let mut bound = Vec::new();
        for same in &self.dns_udp {
            bound.extend(udp(Kind::DnsUdp, same.get(..1).unwrap_or_default()));
        }
        bound.extend(tcp(Kind::DnsTcp, &self.dns_tcp));
        bound.extend(tcp(Kind::DnsTls, &self.dns_tls));
        bound.extend(tcp(Kind::Http, &self.http));
        bound.extend(tcp(Kind::Socks, &self.socks));
        bound.extend(tcp(Kind::Tls, &self.tls));
        bound.extend(udp(Kind::Quic, &self.quic));
        for plain in &self.plain {
            if let Ok(address) = plain.listener.local_addr() {
                bound.push((Kind::Plain, address));
                if plain.shared {
                    bound.push((Kind::Web, address));
                }
            }
        }
        bound.extend(tcp(Kind::Web, &self.web));
        bound.extend(tcp(Kind::Admin, &self.admin));
        bound
    }
}

fn bind_all(addresses: &[ListenAddr], kind: Kind) -> Result<Vec<TcpListener>, BindError> {
    addresses
        .iter()
        .map(|address| {
            bind_tcp(address.0).map_err(|source| BindError {
                kind,
                address: address.0,
                source,
            })
        })
        .collect()
}

fn bind_all_udp(addresses: &[ListenAddr], kind: Kind) -> Result<Vec<UdpSocket>, BindError> {
    addresses
        .iter()
        .map(|address| {
            bind_udp(address.0).map_err(|source| BindError {
                kind,
                address: address.0,
                source,
            })
        })
        .collect()
}

/// The processors that we may run on.
fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn bind_dns(address: SocketAddr, loops: usize) -> Result<(Vec<UdpSocket>, TcpListener), BindError> {
    bind_pair(address, loops).map_err(|error| {
        let (kind, source) = match error {
            PairError::Udp(source) => (Kind::DnsUdp, source),
            PairError::Tcp(source) => (Kind::DnsTcp, source),
        };
        BindError {
            kind,
            address,
            source,
        }
    })
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program holds it, `ss -lnp` shows which: stop it, or write another address"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root or CAP_NET_BIND_SERVICE: start as root (sekisho then becomes `user`), or write a higher port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have the address: write one that `ip address` shows"
        }
        _ => "write another address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_reported_with_what_to_do() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let error = bind_all(&[ListenAddr(address)], Kind::Http)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("could not listen on {address} for http: ")),
            "{error}"
        );
        assert!(error.contains("ss -lnp"), "{error}");
    }
}
