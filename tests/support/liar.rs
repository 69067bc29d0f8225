//! A DNS server that does to the gate what no honest one would: packet by packet, over UDP, TCP or TLS.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{Name, RecordType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{certificate, name};

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Udp,
    Tcp,
    Tls,
}

/// A question.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Its name, in lower case.
    pub(crate) name: Name,
    /// Its type.
    pub(crate) record_type: RecordType,
    /// How it came.
    pub(crate) way: Way,
    /// What came.
    pub(crate) message: Message,
}

impl Asked {
    /// Whether it is about this name.
    pub(crate) fn is(&self, owner: &str) -> bool {
        self.name == name(owner)
    }

    /// The answer to it, without any record yet.
    pub(crate) fn answer(&self) -> Message {
        let mut message = self.message.clone();
        message.metadata.message_type = MessageType::Response;
        message.metadata.recursion_available = true;
        message
    }
}

/// One thing that the server does.
#[derive(Clone, Debug)]
pub(crate) enum Lie {
    /// Sends a packet.
    Say(Vec<u8>),
    /// Sends a packet from another port; over a connection it is sent on it.
    Elsewhere(Vec<u8>),
    /// Sends these bytes without a length in front of them.
    Raw(Vec<u8>),
    /// Sends a packet, a byte a second.
    Drip(Vec<u8>),
    /// Ends the connection at once, without a word.
    Reset,
    /// Ends the connection.
    Close,
}

type Script = dyn Fn(&Asked) -> Vec<Lie> + Send + Sync;

/// The server; its threads end with the test run.
#[derive(Debug)]
pub(crate) struct Liar {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<(Name, RecordType)>>>,
    certificate: Option<(tempfile::TempDir, PathBuf)>,
}

struct Shared {
    script: Box<Script>,
    seen: Arc<Mutex<Vec<(Name, RecordType)>>>,
}

impl Shared {
    fn lies(&self, packet: &[u8], way: Way) -> Vec<Lie> {
        let Ok(message) = Message::from_vec(packet) else {
            return Vec::new();
        };
        let Some(query) = message.queries.first() else {
            return Vec::new();
        };
        let asked = Asked {
            name: query.name().to_lowercase(),
            record_type: query.query_type(),
            way,
            message: message.clone(),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push((asked.name.clone(), asked.record_type));
        drop(seen);
        (self.script)(&asked)
    }
}

impl Liar {
    /// Serves UDP and TCP on one port.
    pub(crate) fn start<S>(script: S) -> Self
    where
        S: Fn(&Asked) -> Vec<Lie> + Send + Sync + 'static,
    {
        let (udp, tcp) = super::upstream::bind();
        let (this, shared) = Self::around(udp.local_addr().expect("bound"), script);
        let datagrams = Arc::clone(&shared);
        thread::spawn(move || serve_udp(&datagrams, &udp));
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let socket = stream.try_clone().ok();
                    converse(&shared, stream, socket, Way::Tcp);
                });
            }
        });
        this
    }

    /// Serves TLS, with a certificate of its own.
    pub(crate) fn tls<S>(script: S) -> Self
    where
        S: Fn(&Asked) -> Vec<Lie> + Send + Sync + 'static,
    {
        let (chain, key) = certificate();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, &chain).expect("written");
        let config = tls_server(&chain, &key, b"dot");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let (mut this, shared) = Self::around(listener.local_addr().expect("bound"), script);
        this.certificate = Some((folder, path));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, config) = (Arc::clone(&shared), Arc::clone(&config));
                thread::spawn(move || {
                    let socket = stream.try_clone().ok();
                    let server = ServerConnection::new(config).expect("a server");
                    converse(&shared, StreamOwned::new(server, stream), socket, Way::Tls);
                });
            }
        });
        this
    }

    fn around<S>(address: SocketAddr, script: S) -> (Self, Arc<Shared>)
    where
        S: Fn(&Asked) -> Vec<Lie> + Send + Sync + 'static,
    {
        let seen = Arc::default();
        let shared = Shared {
            script: Box::new(script),
            seen: Arc::clone(&seen),
        };
        let this = Self {
            address,
            seen,
            certificate: None,
        };
        (this, Arc::new(shared))
    }

    /// The port it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file with its certificate, where it speaks TLS.
    pub(crate) fn certificate(&self) -> Option<&PathBuf> {
        self.certificate.as_ref().map(|(_, path)| path)
    }

    /// How often this was asked until now.
    pub(crate) fn count(&self, owner: &str, record_type: RecordType) -> usize {
        let wanted = (name(owner).to_lowercase(), record_type);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|seen| **seen == wanted).count()
    }
}

/// The server's side of TLS that speaks this protocol.
pub(super) fn tls_server(chain: &str, key: &str, protocol: &[u8]) -> Arc<ServerConfig> {
    let chain = CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("a server");
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

fn serve_udp(shared: &Shared, socket: &UdpSocket) {
    let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let mut packet = [0; 65_535];
    while let Ok((length, client)) = socket.recv_from(&mut packet) {
        for lie in shared.lies(&packet[..length], Way::Udp) {
            match lie {
                Lie::Say(bytes) | Lie::Raw(bytes) => socket.send_to(&bytes, client).ok(),
                Lie::Elsewhere(bytes) => elsewhere.send_to(&bytes, client).ok(),
                Lie::Drip(_) | Lie::Reset | Lie::Close => None,
            };
        }
    }
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a message").to_be_bytes();
    [&length[..], bytes].concat()
}

fn converse(
    shared: &Shared,
    mut stream: impl Read + Write,
    socket: Option<TcpStream>,
    way: Way,
) -> Option<()> {
    let mut length = [0; 2];
    loop {
        stream.read_exact(&mut length).ok()?;
        let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut packet).ok()?;
        for lie in shared.lies(&packet, way) {
            match lie {
                Lie::Say(bytes) | Lie::Elsewhere(bytes) => {
                    stream.write_all(&framed(&bytes)).ok()?;
                }
                Lie::Raw(bytes) => stream.write_all(&bytes).ok()?,
                Lie::Drip(bytes) => {
                    for byte in framed(&bytes) {
                        stream.write_all(&[byte]).ok()?;
                        stream.flush().ok()?;
                        thread::sleep(Duration::from_secs(1));
                    }
                }
                Lie::Reset => {
                    if let Some(socket) = &socket {
                        socket2::SockRef::from(socket)
                            .set_linger(Some(Duration::ZERO))
                            .ok()?;
                    }
                    return None;
                }
                Lie::Close => return None,
            }
            stream.flush().ok()?;
        }
    }
}
