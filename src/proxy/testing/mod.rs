//! A proxy between clients and origins that are all on loopback, without name resolution.

mod admission;
mod forward;
mod gone;
mod h2;
mod line;
mod login;
mod plain;
mod socks;
mod tls;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::respond::{Failure, Kind};
use super::seam::{Carry, Dial, Task};
use super::{Proxy, Settings, Site};
use crate::config;
use crate::dial::{DialErrorKind, Dialed, Flow};
use crate::net::{Acl, ClientAddr, Family, Interfaces, Target};
use crate::relay::{Carried, Ended, Relay, Turned, Watched};
use crate::steer::{Lists, Steering};
use crate::telemetry::{Metrics, Side};

/// Leads each target to an origin, or nowhere.
#[derive(Debug, Default)]
pub(super) struct Ways(HashMap<&'static str, Result<SocketAddr, Kind>>);

impl Ways {
    pub(super) fn new(
        ways: impl IntoIterator<Item = (&'static str, Result<SocketAddr, Kind>)>,
    ) -> Self {
        Self(ways.into_iter().collect())
    }
}

impl Dial for Ways {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        _: Option<&'a config::Rule>,
    ) -> Task<'a, Result<Dialed, Failure>> {
        Box::pin(async move {
            let way = self.0.get(target.to_string().as_str()).copied();
            let failed = |kind| Failure::new(kind, Side::Origin, format!("no way to {target}"));
            let address = way
                .unwrap_or(Err(Kind::Dial(DialErrorKind::NotFound)))
                .map_err(failed)?;
            Ok(Dialed {
                stream: TcpStream::connect(address).await.unwrap(),
                address,
                family: Family::V4,
                attempts: 1,
                elapsed: Duration::ZERO,
            })
        })
    }

    fn flow(&self, _: ClientAddr, _: &Target, _: Option<&config::Rule>) -> Option<Flow> {
        unreachable!("QUIC is tested with the real program")
    }
}

/// Leads to one origin, but only when told, and tells whether anyone still waits.
#[derive(Debug)]
pub(super) struct Slow {
    origin: SocketAddr,
    begun: Notify,
    go: Notify,
    ended: Notify,
}

impl Dial for Slow {
    fn dial<'a>(
        &'a self,
        _: &'a Target,
        _: Option<&'a config::Rule>,
    ) -> Task<'a, Result<Dialed, Failure>> {
        struct Told<'a>(&'a Notify);
        impl Drop for Told<'_> {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        Box::pin(async move {
            let _told = Told(&self.ended);
            self.begun.notify_one();
            self.go.notified().await;
            Ok(Dialed {
                stream: TcpStream::connect(self.origin).await.unwrap(),
                address: self.origin,
                family: Family::V4,
                attempts: 1,
                elapsed: Duration::ZERO,
            })
        })
    }

    fn flow(&self, _: ClientAddr, _: &Target, _: Option<&config::Rule>) -> Option<Flow> {
        unreachable!("QUIC is tested with the real program")
    }
}

impl Slow {
    async fn new() -> Arc<Self> {
        Arc::new(Self {
            origin: echo().await,
            begun: Notify::new(),
            go: Notify::new(),
            ended: Notify::new(),
        })
    }
}

/// Copies, without an idle timeout.
#[derive(Debug)]
struct Copy;

impl Carry for Copy {
    fn carry<'a>(
        &'a self,
        mut client: TcpStream,
        mut origin: TcpStream,
        _: Duration,
        stop: &'a CancellationToken,
    ) -> Task<'a, Carried> {
        Box::pin(async move {
            let copied = stop
                .run_until_cancelled(tokio::io::copy_bidirectional(&mut client, &mut origin))
                .await;
            let (sent, received, ended) = match copied {
                None => (0, 0, Ended::Cut),
                Some(Ok((sent, received))) => (sent, received, Ended::Closed),
                Some(Err(error)) => (0, 0, Ended::Broken(Side::Origin, error)),
            };
            Carried {
                sent,
                received,
                ended,
            }
        })
    }

    fn follow<'a>(
        &'a self,
        client: TcpStream,
        origin: TcpStream,
        idle: Duration,
        stop: &'a CancellationToken,
        watched: Watched,
    ) -> Task<'a, (Carried, Option<Turned>)> {
        Box::pin(async move {
            let relay = Relay::new(Arc::new(Metrics::new()));
            relay.follow(client, origin, idle, stop, watched).await
        })
    }
}

/// The rules of a configuration.
pub(super) fn rules(text: &str) -> Arc<Steering> {
    let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
    let config = config::Config::parse(text, None, &interfaces, "nameserver 192.0.2.53\n");
    Arc::new(Steering::new(&config.unwrap(), Lists::default()))
}

pub(super) fn settings() -> Settings {
    Settings {
        networks: Acl::new(["127.0.0.0/8".parse().unwrap()]),
        rules: rules(""),
        proxy: config::Proxy {
            http: Vec::new(),
            socks: Vec::new(),
            users: None,
            tls: Vec::new(),
            tls_origin_port: 443,
            plain: Vec::new(),
            plain_origin_port: 80,
            quic: Vec::new(),
            quic_origin_port: 443,
            quic_flows: 4,
            quic_flows_per_client: 4,
            quic_idle_timeout: Duration::from_secs(120),
            max_sessions: 100,
            max_sessions_per_client: 100,
            rate_limit: 0,
            rate_burst: 1,
            max_associations: 10,
            max_associations_per_client: 10,
            association_timeout: Duration::from_secs(60),
            proxy_protocol_from: Acl::default(),
            idle_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(60),
            sniff_timeout: Duration::from_secs(60),
            sniff_bytes: 65_536,
            header_bytes: 16_384,
            via: Some("gate".to_owned()),
            forwarded: config::Forwarded::Transparent,
            x_forwarded_for: config::Forwarded::Transparent,
        },
        users: None,
    }
}

/// A proxy, and what it counted.
pub(super) struct Gate {
    pub(super) proxy: Arc<Proxy>,
    metrics: Arc<Metrics>,
}

impl Gate {
    pub(super) fn new(
        settings: Settings,
        ways: impl IntoIterator<Item = (&'static str, Result<SocketAddr, Kind>)>,
    ) -> Self {
        Self::with(settings, Arc::new(Ways::new(ways)))
    }

    fn with(settings: Settings, dial: Arc<dyn Dial>) -> Self {
        let metrics = Arc::new(Metrics::new());
        Self {
            proxy: Proxy::assemble(settings, dial, Arc::new(Copy), Arc::clone(&metrics)),
            metrics,
        }
    }

    pub(super) async fn forward(&self) -> SocketAddr {
        let (listener, address) = listen().await;
        tokio::spawn(Arc::clone(&self.proxy).serve_forward(listener));
        address
    }

    pub(super) async fn socks(&self) -> SocketAddr {
        let (listener, address) = listen().await;
        tokio::spawn(Arc::clone(&self.proxy).serve_socks(listener));
        address
    }

    pub(super) async fn tls(&self) -> SocketAddr {
        let (listener, address) = listen().await;
        tokio::spawn(Arc::clone(&self.proxy).serve_tls(listener));
        address
    }

    pub(super) async fn plain(&self, site: Option<Arc<dyn Site>>) -> SocketAddr {
        let (listener, address) = listen().await;
        tokio::spawn(Arc::clone(&self.proxy).serve_plain(listener, site));
        address
    }

    /// Stops, waits for every session's end, and then looks whether a line stands in the table.
    pub(super) async fn counted(&self, line: &str) {
        self.proxy.stop();
        within(self.proxy.drained()).await;
        let text = self.metrics.encode();
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
}

/// The future's outcome, or a failed test where it takes longer than any step here does.
pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(Duration::from_secs(60), future).await;
    ended.expect("this should have ended by now")
}

pub(super) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An origin that says back what it hears.
pub(super) async fn echo() -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
                write.shutdown().await.ok();
            });
        }
    });
    address
}

/// An origin that answers every message without a body with `answer`; it tells the number of the connection, from 0,
/// and the head of each request. An empty answer ends the connection.
pub(super) async fn scripted(
    answer: &'static str,
) -> (SocketAddr, mpsc::UnboundedReceiver<(usize, String)>) {
    let (listener, address) = listen().await;
    let (tell, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Some(head) = head(&mut stream).await {
                    tell.send((number, head)).ok();
                    if answer.is_empty() {
                        break;
                    }
                    stream.write_all(answer.as_bytes()).await.ok();
                }
            });
        }
    });
    (address, heard)
}

/// Reads one head of a message, byte by byte so that nothing behind it is taken.
pub(super) async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(within(stream.read_u8()).await.ok()?);
    }
    Some(String::from_utf8(bytes).unwrap())
}

/// Connects, says something, and reads until the other side is done.
pub(super) async fn exchange(address: SocketAddr, words: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(words.as_ref()).await.unwrap();
    String::from_utf8_lossy(&rest(&mut stream).await).into_owned()
}

/// Reads until the other side is done, or broke off.
pub(super) async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut room = [0; 4096];
    while let Ok(length @ 1..) = within(stream.read(&mut room)).await {
        bytes.extend_from_slice(&room[..length]);
    }
    bytes
}
