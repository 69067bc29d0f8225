//! Scripted servers over TCP, TLS, HTTPS, QUIC and HTTP/3, and the authority that signs for them.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes};
use hickory_proto::op::Message;
use hickory_resolver::net::h3::h3_server::H3Server;
use hickory_resolver::net::quic::QuicServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::config::Upstream;
use crate::resolve::upstream::Trust;

/// A query, and where it stands.
pub(super) struct Seen {
    /// The how-many-th connection, from 0.
    pub(super) connection: usize,
    /// The how-many-th query on it, from 0.
    pub(super) nth: usize,
    pub(super) query: Message,
    pub(super) length: usize,
}

/// What a server does with it.
pub(super) enum Step {
    Answer(Message),
    Silent,
    /// Ends the connection, whatever is on it.
    Close,
    /// Says that it ends it, and reads what was sent before that was heard.
    Finish,
}

type Script = Arc<dyn Fn(&Seen) -> Step + Send + Sync>;

/// An authority of its own, with a file that a gate can be told.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// One who trusts this authority.
    pub(super) fn trust(&self, config: &Upstream) -> Trust {
        let mut config = config.clone();
        config.ca = vec![self.folder.path().join("ca.pem")];
        Trust::load(&config).unwrap()
    }

    /// A server for these names and addresses.
    pub(super) fn server(&self, names: &[&str], protocol: &str) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config)
    }
}

/// A running server; ends when dropped.
pub(super) struct Streams {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    /// Connections that the other side closed.
    pub(super) closed: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Streams {
    /// TCP, or TLS.
    pub(super) fn serve<S>(listener: TcpListener, tls: Option<Arc<ServerConfig>>, script: S) -> Self
    where
        S: Fn(&Seen) -> Step + Send + Sync + 'static,
    {
        let address = listener.local_addr().unwrap();
        let script: Script = Arc::new(script);
        let connections = Arc::new(AtomicUsize::new(0));
        let closed = Arc::new(AtomicUsize::new(0));
        let (count, ends) = (Arc::clone(&connections), Arc::clone(&closed));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let connection = count.fetch_add(1, Ordering::Relaxed);
                let (script, tls, ends) = (Arc::clone(&script), tls.clone(), Arc::clone(&ends));
                open.spawn(async move {
                    match tls {
                        None => converse(stream, connection, &script, &ends).await,
                        Some(tls) => {
                            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"dot"[..]));
                                converse(stream, connection, &script, &ends).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            connections,
            closed,
            _tasks: tasks,
        }
    }

    /// HTTP/2.
    pub(super) async fn https<S>(tls: Arc<ServerConfig>, script: S) -> Self
    where
        S: Fn(&Seen) -> Step + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let script: Script = Arc::new(script);
        Self::around(listener.local_addr().unwrap(), |connections| async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let connection = connections.fetch_add(1, Ordering::Relaxed);
                let (script, tls) = (Arc::clone(&script), Arc::clone(&tls));
                open.spawn(async move {
                    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else {
                        return;
                    };
                    let mut http = h2::server::handshake(stream).await.unwrap();
                    let mut nth = 0;
                    while let Some(Ok((request, mut respond))) = http.accept().await {
                        let mut body = request.into_body();
                        let query = body.data().await.unwrap().unwrap();
                        let seen = seen(connection, nth, &query);
                        nth += 1;
                        match script(&seen) {
                            Step::Answer(message) => {
                                let head = http::Response::builder()
                                    .header("content-type", "application/dns-message")
                                    .body(())
                                    .unwrap();
                                let mut body = respond.send_response(head, false).unwrap();
                                let bytes = message.to_vec().unwrap();
                                body.send_data(bytes.into(), true).unwrap();
                            }
                            Step::Silent => {}
                            Step::Close | Step::Finish => return,
                        }
                    }
                });
            }
        })
    }

    /// QUIC.
    pub(super) async fn quic<S>(tls: Arc<ServerConfig>, script: S) -> Self
    where
        S: Fn(&Seen) -> Step + Send + Sync + 'static,
    {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut server = QuicServer::with_socket_and_tls_config(socket, tls).unwrap();
        let script: Script = Arc::new(script);
        Self::around(address, |connections| async move {
            let mut open = JoinSet::new();
            loop {
                let Ok(Some((mut streams, _))) = server.next().await else {
                    continue;
                };
                let connection = connections.fetch_add(1, Ordering::Relaxed);
                let script = Arc::clone(&script);
                open.spawn(async move {
                    let mut nth = 0;
                    let mut unanswered = Vec::new();
                    while let Some(Ok(mut stream)) = streams.next().await {
                        let query = stream.receive_bytes().await.unwrap();
                        let seen = seen(connection, nth, &query);
                        nth += 1;
                        match script(&seen) {
                            Step::Answer(message) => {
                                stream.send(message).await.unwrap();
                                stream.finish().await.unwrap();
                            }
                            Step::Silent => unanswered.push(stream),
                            Step::Close | Step::Finish => return,
                        }
                    }
                });
            }
        })
    }

    /// HTTP/3.
    pub(super) async fn h3<S>(tls: Arc<ServerConfig>, script: S) -> Self
    where
        S: Fn(&Seen) -> Step + Send + Sync + 'static,
    {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut server = H3Server::with_socket_and_tls_config(socket, tls).unwrap();
        let script: Script = Arc::new(script);
        Self::around(address, |connections| async move {
            let mut open = JoinSet::new();
            loop {
                let Ok(Some((mut http, _))) = server.accept().await else {
                    continue;
                };
                let connection = connections.fetch_add(1, Ordering::Relaxed);
                let script = Arc::clone(&script);
                open.spawn(async move {
                    let mut nth = 0;
                    let mut answering = JoinSet::new();
                    let (end, mut ended) = tokio::sync::mpsc::channel(1);
                    loop {
                        let accepted = tokio::select! {
                            accepted = http.accept() => accepted,
                            _ = ended.recv() => return,
                        };
                        let Some(Ok((_, mut stream))) = accepted else {
                            return;
                        };
                        let (script, end) = (Arc::clone(&script), end.clone());
                        let place = nth;
                        nth += 1;
                        answering.spawn(async move {
                            let mut query = stream.recv_data().await.unwrap().unwrap();
                            let query = query.copy_to_bytes(query.remaining());
                            while let Ok(Some(_)) = stream.recv_data().await {}
                            match script(&seen(connection, place, &query)) {
                                Step::Answer(message) => {
                                    let head = http::Response::builder()
                                        .header("content-type", "application/dns-message")
                                        .body(())
                                        .unwrap();
                                    let bytes = Bytes::from(message.to_vec().unwrap());
                                    // The connection may be over.
                                    let _sent = stream.send_response(head).await;
                                    let _sent = stream.send_data(bytes).await;
                                    let _sent = stream.finish().await;
                                }
                                Step::Silent => {}
                                Step::Close | Step::Finish => {
                                    let _ended = end.send(()).await;
                                }
                            }
                        });
                    }
                });
            }
        })
    }

    fn around<F>(address: SocketAddr, serve: impl FnOnce(Arc<AtomicUsize>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let connections = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(Arc::clone(&connections)));
        Self {
            address,
            connections,
            closed: Arc::default(),
            _tasks: tasks,
        }
    }
}

fn seen(connection: usize, nth: usize, query: &[u8]) -> Seen {
    Seen {
        connection,
        nth,
        query: Message::from_vec(query).unwrap(),
        length: query.len(),
    }
}

async fn converse<T>(mut stream: T, connection: usize, script: &Script, closed: &AtomicUsize)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut nth = 0;
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await.unwrap();
        let seen = seen(connection, nth, &query);
        nth += 1;
        match script(&seen) {
            Step::Answer(message) => {
                let bytes = message.to_vec().unwrap();
                let mut frame = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
                frame.extend(bytes);
                if stream.write_all(&frame).await.is_err() {
                    return;
                }
            }
            Step::Silent => {}
            Step::Close => return,
            Step::Finish => {
                let _heard = stream.shutdown().await;
                while let Ok(1..) = stream.read(&mut [0; 4096]).await {}
                return;
            }
        }
    }
    closed.fetch_add(1, Ordering::Relaxed);
}
