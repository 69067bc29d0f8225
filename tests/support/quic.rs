//! QUIC: clients and origins of quinn, on runtimes of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint, EndpointConfig, TokioRuntime};
use rustls::pki_types::ServerName;
use socket2::{Domain, Socket, Type};
use tokio::runtime::Runtime;

use super::tls::{client_config, server_config};
use super::{PATIENCE, Reach, has_ipv6};

/// An origin of QUIC on one port of both families. On each stream it says by which family and for which name it was
/// reached, and then all that it was told.
#[derive(Debug)]
pub(crate) struct QuicOrigin {
    port: u16,
    connections: Arc<AtomicUsize>,
    _held: Vec<UdpSocket>,
    _runtime: Runtime,
}

impl QuicOrigin {
    /// An origin that serves on both families.
    pub(crate) fn start() -> Self {
        Self::reached(Reach::Serves, Reach::Serves)
    }

    /// An origin with a fault in one family or both.
    pub(crate) fn reached(ipv4: Reach, ipv6: Reach) -> Self {
        Self::made(ipv4, ipv6, false)
    }

    /// An origin that wants every address proven first (RFC 9000 section 8.1.2).
    pub(crate) fn with_retry() -> Self {
        Self::made(Reach::Serves, Reach::Serves, true)
    }

    fn made(ipv4: Reach, ipv6: Reach, retry: bool) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let connections = Arc::new(AtomicUsize::new(0));
        let (port, sockets) = bind();
        let mut held = Vec::new();
        for (socket, reach) in sockets.into_iter().zip([ipv4, ipv6]) {
            match reach {
                Reach::Serves => {
                    let connections = Arc::clone(&connections);
                    let _guard = runtime.enter();
                    let config = QuicServerConfig::try_from(server_config()).expect("TLS 1.3");
                    let endpoint = Endpoint::new(
                        EndpointConfig::default(),
                        Some(quinn::ServerConfig::with_crypto(Arc::new(config))),
                        socket,
                        Arc::new(TokioRuntime),
                    );
                    let endpoint = endpoint.expect("an endpoint");
                    runtime.spawn(serve(endpoint, retry, connections));
                }
                Reach::Refuses => {
                    // A socket that talks to another is none for whom else comes.
                    let other = SocketAddr::new(socket.local_addr().expect("bound").ip(), 9);
                    socket.connect(other).expect("connected");
                    held.push(socket);
                }
                Reach::Swallows => held.push(socket),
            }
        }
        Self {
            port,
            connections,
            _held: held,
            _runtime: runtime,
        }
    }

    /// The port, the same on both families.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Connections begun until now.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(endpoint: Endpoint, retry: bool, connections: Arc<AtomicUsize>) {
    let family = match endpoint.local_addr().expect("bound").ip() {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(_) => "ipv6",
    };
    while let Some(incoming) = endpoint.accept().await {
        if retry && !incoming.remote_address_validated() {
            incoming.retry().expect("not yet validated");
            continue;
        }
        connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else {
                return;
            };
            let name = connection
                .handshake_data()
                .and_then(|data| data.downcast::<HandshakeData>().ok())
                .and_then(|data| data.server_name)
                .unwrap_or_default();
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                let told = receive.read_to_end(1 << 26).await.unwrap_or_default();
                let mut answer = format!("{family} {name} ").into_bytes();
                answer.extend(told);
                send.write_all(&answer).await.ok();
                send.finish().ok();
            }
        });
    }
}

fn bind() -> (u16, Vec<UdpSocket>) {
    for _ in 0..100 {
        let first = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = first.local_addr().expect("bound").port();
        let mut sockets = vec![first];
        if has_ipv6() {
            let second = Socket::new(Domain::IPV6, Type::DGRAM, None).expect("a socket");
            second.set_only_v6(true).expect("IPv6 only");
            let address = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            if second.bind(&address.into()).is_err() {
                continue;
            }
            sockets.push(second.into());
        }
        for socket in &sockets {
            socket.set_nonblocking(true).expect("non-blocking");
        }
        return (port, sockets);
    }
    panic!("no port is free on both families");
}

/// A client with one port.
#[derive(Debug)]
pub(crate) struct QuicClient {
    endpoint: Endpoint,
    runtime: Runtime,
}

impl QuicClient {
    pub(crate) fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let guard = runtime.enter();
        let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("an endpoint");
        drop(guard);
        let config = QuicClientConfig::try_from(client_config()).expect("TLS 1.3");
        let mut config = quinn::ClientConfig::new(Arc::new(config));
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_millis(500)));
        config.transport_config(Arc::new(transport));
        endpoint.set_default_client_config(config);
        Self { endpoint, runtime }
    }

    /// A connection to whoever is taken for `host`, or why there is none.
    pub(crate) fn connect(
        &self,
        gate: SocketAddr,
        host: &str,
    ) -> Result<Connection, ConnectionError> {
        let _guard = self.runtime.enter();
        let connecting = self.endpoint.connect(gate, host).expect("a good name");
        self.runtime
            .block_on(tokio::time::timeout_at(patience(), connecting))
            .expect("an answer in time")
    }

    /// What the origin says on a new stream.
    pub(crate) fn say(&self, connection: &Connection, text: &[u8]) -> Vec<u8> {
        let saying = async {
            let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
            send.write_all(text).await.expect("written");
            send.finish().expect("once");
            receive.read_to_end(1 << 26).await.expect("an answer")
        };
        self.runtime
            .block_on(async { tokio::time::timeout_at(patience(), saying).await })
            .expect("in time")
    }

    /// Goes on from another port, as a client that changes networks does.
    pub(crate) fn rebind(&self) {
        let _guard = self.runtime.enter();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        self.endpoint.rebind(socket).expect("rebound");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test lives by the real clock"
)]
fn patience() -> tokio::time::Instant {
    tokio::time::Instant::now() + PATIENCE
}

/// The ClientHello of a client of QUIC: with a post-quantum key, longer than a datagram.
pub(crate) fn quic_hello(host: &str) -> Vec<u8> {
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let mut client = rustls::quic::ClientConnection::new(
        client_config(),
        rustls::quic::Version::V1,
        name,
        Vec::new(),
    )
    .expect("a client");
    let mut hello = Vec::new();
    client.write_hs(&mut hello);
    hello
}
