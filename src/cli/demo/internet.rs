//! The demo's internet: a DNS server, and origins over both families that tell how they were reached.
//!
//! The name with dead IPv6 has ports of its own on which only IPv4 listens: its `::1` is refused at once, on every
//! machine and without a packet that leaves it. On a machine without `::1` the IPv6 side is missing, and
//! [`Internet::has_ipv6`] says so.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::certificates::{CaFile, Certificates};
use super::client::Reached;
use super::zone::{Place, Zone};
use crate::net::{Family, Target, accept_loop, bind_pair, bind_tcp};

/// The IPv4 side's address: another one than the gate's, so that the table can be told apart. Where the machine has
/// only one loopback address, the usual one.
const IPV4: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::LOCALHOST];

/// How often we look for a port that is free on both families.
const PORT_TRIES: usize = 32;

/// Connections at once on one listener; more wait in the kernel.
const CONNECTIONS: usize = 128;

/// The longest that a connection lasts.
const LIFETIME: Duration = Duration::from_secs(60);

/// The internet, up until dropped.
#[derive(Debug)]
pub(super) struct Internet {
    /// Its DNS server, over UDP and TCP.
    pub dns: SocketAddr,
    /// The IPv4 address of its origins; the IPv6 one is `::1`.
    pub ipv4: Ipv4Addr,
    /// Whether the machine has `::1`.
    pub has_ipv6: bool,
    /// The port of the HTTP origins.
    pub http: u16,
    /// The port of the TLS origins.
    pub tls: u16,
    /// The port of the HTTP origin whose IPv6 is dead.
    pub dead_http: u16,
    /// The port of the TLS origin whose IPv6 is dead.
    pub dead_tls: u16,
    certificates: Certificates,
    /// Bound and not listening: keeps the dead ports dead.
    _closed: Vec<Socket>,
    _stop: DropGuard,
}

impl Internet {
    /// Binds everything on loopback and serves it on the current runtime.
    ///
    /// # Errors
    ///
    /// What the system says where a socket or a certificate could not be had.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(super) fn start() -> io::Result<Self> {
        let hosts = Place::ALL.map(Place::host);
        let certificates = Certificates::new(&hosts).map_err(io::Error::other)?;
        let stop = CancellationToken::new();
        let ipv4 = usable_ipv4()?;
        let has_ipv6 = has_ipv6()?;

        let acceptor = TlsAcceptor::from(Arc::clone(&certificates.server));
        let mut closed = Vec::new();
        let mut port = |tls: Option<&TlsAcceptor>, dead: bool| {
            let (port, listeners, kept) = bind_origin(ipv4, has_ipv6, dead)?;
            closed.extend(kept);
            for listener in listeners {
                spawn_origin(listener, tls.cloned(), stop.clone())?;
            }
            io::Result::Ok(port)
        };
        let (http, tls) = (port(None, false)?, port(Some(&acceptor), false)?);
        let (dead_http, dead_tls) = (port(None, true)?, port(Some(&acceptor), true)?);
        Ok(Self {
            dns: spawn_dns(Zone::new(ipv4), &stop)?,
            ipv4,
            has_ipv6,
            http,
            tls,
            dead_http,
            dead_tls,
            certificates,
            _closed: closed,
            _stop: stop.drop_guard(),
        })
    }

    /// The HTTP port of a name.
    pub(super) fn http_port(&self, place: Place) -> u16 {
        if place == Place::Dead6 {
            self.dead_http
        } else {
            self.http
        }
    }

    /// The TLS port of a name.
    pub(super) fn tls_port(&self, place: Place) -> u16 {
        if place == Place::Dead6 {
            self.dead_tls
        } else {
            self.tls
        }
    }

    /// The certificate of the demo's authority.
    pub(super) fn ca_pem(&self) -> &str {
        &self.certificates.ca_pem
    }

    /// Writes that certificate to a new file, gone when dropped.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn write_ca(&self, folder: &Path) -> io::Result<CaFile> {
        CaFile::write(folder, self.ca_pem())
    }

    /// TLS for clients that trust that authority.
    pub(super) fn client_tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.certificates.client)
    }
}

fn usable_ipv4() -> io::Result<Ipv4Addr> {
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in IPV4 {
        match TcpListener::bind((address, 0)) {
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn has_ipv6() -> io::Result<bool> {
    match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => Ok(true),
        Err(error) if lacks_ipv6(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an error means that there is no `::1`, or no IPv6 at all.
fn lacks_ipv6(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    let absent = [
        nix::errno::Errno::EAFNOSUPPORT,
        nix::errno::Errno::EPROTONOSUPPORT,
    ];
    error.kind() == ErrorKind::AddrNotAvailable
        || absent.iter().any(|errno| number == Some(*errno as i32))
}

/// Listeners on one port of both families, or where `dead` on IPv4, with the port of IPv6 held closed.
fn bind_origin(
    ipv4: Ipv4Addr,
    has_ipv6: bool,
    dead: bool,
) -> io::Result<(u16, Vec<TcpListener>, Option<Socket>)> {
    let mut last = io::Error::from(ErrorKind::AddrInUse);
    for _ in 0..PORT_TRIES {
        let first = bind_tcp((ipv4, 0).into())?;
        let port = first.local_addr()?.port();
        if !has_ipv6 {
            return Ok((port, vec![first], None));
        }
        let second = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let bound = if dead {
            hold(second).map(|socket| (vec![], Some(socket)))
        } else {
            bind_tcp(second).map(|listener| (vec![listener], None))
        };
        match bound {
            Ok((mut listeners, kept)) => {
                listeners.push(first);
                return Ok((port, listeners, kept));
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn hold(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_only_v6(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn spawn_origin(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    spawn_listener(listener, stop, move |stream, peer| {
        let tls = tls.clone();
        async move {
            match tls {
                None => origin(stream, peer, false).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => origin(stream, peer, true).await,
                    Err(error) => tracing::debug!(%error, "a TLS handshake of the demo failed"),
                },
            }
        }
    });
    Ok(())
}

/// Serves every connection with `serve`, at most [`CONNECTIONS`] at once, none longer than [`LIFETIME`].
fn spawn_listener<F>(
    listener: tokio::net::TcpListener,
    stop: CancellationToken,
    serve: impl Fn(TcpStream, IpAddr) -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let stopped = stop.clone();
    tokio::spawn(accept_loop(
        listener,
        stop,
        move || Arc::clone(&permits).acquire_owned(),
        |error| tracing::debug!(%error, "could not accept a connection"),
        move |stream, peer, permit| {
            let (serving, stop) = (serve(stream, peer.ip()), stopped.clone());
            tokio::spawn(async move {
                let _permit = permit;
                tokio::select! {
                    () = stop.cancelled() => {}
                    // Late or not, the connection is over.
                    _ = tokio::time::timeout(LIFETIME, serving) => {}
                }
            });
        },
    ));
}

/// Answers every request with how it came.
async fn origin<S>(stream: S, peer: IpAddr, tls: bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let host = request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok());
        let reached = Reached {
            name: host
                .and_then(|host| Target::parse(host, Some(80)).ok())
                .map(|target| target.host.to_string())
                .unwrap_or_default(),
            family: Family::of(peer).as_str().to_owned(),
            peer,
            tls,
        };
        let mut body = serde_json::to_vec(&reached).unwrap_or_default();
        body.push(b'\n');
        let mut response = Response::new(Full::new(Bytes::from(body)));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to a demo origin broke");
    }
}

fn spawn_dns(zone: Zone, stop: &CancellationToken) -> io::Result<SocketAddr> {
    let (datagrams, tcp) = bind_pair((Ipv4Addr::LOCALHOST, 0).into(), 1)?;
    let udp = datagrams.into_iter().next().ok_or(ErrorKind::NotFound)?;
    let (udp, tcp) = (
        UdpSocket::from_std(udp)?,
        tokio::net::TcpListener::from_std(tcp)?,
    );
    let address = udp.local_addr()?;
    let (stopped, datagrams) = (stop.clone(), zone.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = stopped.cancelled() => {}
            () = dns_over_udp(&datagrams, &udp) => {}
        }
    });
    spawn_listener(tcp, stop.clone(), move |stream, _| {
        let zone = zone.clone();
        async move {
            if let Err(error) = dns_over_tcp(&zone, stream).await {
                tracing::debug!(%error, "a DNS connection of the demo ended");
            }
        }
    });
    Ok(address)
}

async fn dns_over_udp(zone: &Zone, socket: &UdpSocket) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        // An error here is that of an earlier answer's receiver.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let answer = buffer.get(..length).and_then(|packet| zone.respond(packet));
        if let Some(answer) = answer {
            socket.send_to(&answer, peer).await.ok();
        }
    }
}

/// RFC 1035 section 4.2.2: every message after its length.
async fn dns_over_tcp(zone: &Zone, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let mut packet = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut packet).await?;
        let answer = zone.respond(&packet).ok_or(ErrorKind::InvalidData)?;
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        stream.write_all(&framed).await?;
    }
}
