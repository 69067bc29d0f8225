//! A client: queries as a step describes them, and the sockets they travel on.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns as Opt, Message, MessageType, OpCode, Query};
use hickory_proto::rr::DNSClass;
use hickory_proto::rr::rdata::opt::EdnsOption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use socket2::{Domain, Socket, Type};

use super::format::{Edns, Step, Transport};
use super::records;

/// The query of a step.
pub(crate) fn query(
    step: &Step,
    question: &str,
    id: u16,
    cookie: Option<&str>,
) -> Result<Vec<u8>, String> {
    let mut words = question.split_whitespace();
    let (Some(name), Some(record_type)) = (words.next(), words.next()) else {
        return Err(format!("`{question}`: write NAME TYPE"));
    };
    let mut query = Query::query(records::name(name)?, records::record_type(record_type)?);
    query.set_query_class(match words.next() {
        None | Some("IN") => DNSClass::IN,
        Some("CH") => DNSClass::CH,
        Some("HS") => DNSClass::HS,
        Some("ANY") => DNSClass::ANY,
        Some(other) => return Err(format!("`{other}` is no class")),
    });
    let code = match step.opcode.as_deref() {
        None | Some("QUERY") => OpCode::Query,
        Some("STATUS") => OpCode::Status,
        Some("NOTIFY") => OpCode::Notify,
        Some("UPDATE") => OpCode::Update,
        Some(other) => OpCode::from_u8(other.parse().map_err(|_| "no such opcode")?),
    };
    let mut message = Message::new(id, MessageType::Query, code);
    let flags = step.flags.as_deref().unwrap_or("rd");
    let has = |flag| flags.split_whitespace().any(|word| word == flag);
    message.metadata.recursion_desired = has("rd");
    message.metadata.checking_disabled = has("cd");
    message.metadata.authentic_data = has("ad");
    message.metadata.authoritative = has("aa");
    message.metadata.truncation = has("tc");
    message.add_query(query);
    let size = match &step.edns {
        None => Some(1232),
        Some(Edns::Size(size)) => Some(*size),
        Some(Edns::Word(word)) if word == "none" => None,
        Some(Edns::Word(word)) => return Err(format!("edns = `{word}`: write a size or \"none\"")),
    };
    if let Some(size) = size {
        let mut edns = Opt::new();
        edns.set_max_payload(size);
        edns.set_dnssec_ok(has("do"));
        edns.set_version(step.edns_version.unwrap_or(0));
        for option in &step.options {
            let (code, data) = option.split_once(':').unwrap_or((option, ""));
            let code = code
                .parse()
                .map_err(|_| format!("`{option}`: write CODE:HEX"))?;
            let data = data.replace("{cookie}", cookie.unwrap_or_default());
            let data = records::hex(&data)?;
            edns.options_mut().insert(EdnsOption::Unknown(code, data));
        }
        message.set_edns(edns);
    }
    message.to_vec().map_err(|error| error.to_string())
}

/// What a read brought.
#[derive(Debug)]
pub(crate) enum Came {
    /// A message.
    Packet(Vec<u8>),
    /// Nothing so far.
    Nothing,
    /// The end of the connection.
    End,
}

/// A socket of the client.
pub(crate) enum Line {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>, Vec<u8>),
}

impl Line {
    /// A new socket from one of the client's addresses.
    pub(crate) fn open(over: Transport, from: IpAddr, to: SocketAddr) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("the client's socket: {error}");
        let from = SocketAddr::new(from, 0);
        if over == Transport::Udp {
            let socket = UdpSocket::bind(from).map_err(fail)?;
            socket.connect(to).map_err(fail)?;
            return Ok(Self::Udp(socket));
        }
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(fail)?;
        socket.bind(&from.into()).map_err(fail)?;
        socket.connect(&to.into()).map_err(fail)?;
        let stream: TcpStream = socket.into();
        if over == Transport::Tcp {
            return Ok(Self::Tcp(stream, Vec::new()));
        }
        let name = ServerName::IpAddress(to.ip().into());
        let client = ClientConnection::new(tls(), name).map_err(|error| error.to_string())?;
        let stream = StreamOwned::new(client, stream);
        Ok(Self::Tls(Box::new(stream), Vec::new()))
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, packet: &[u8]) -> Result<(), String> {
        let length = u16::try_from(packet.len()).map_err(|error| error.to_string())?;
        let framed = [&length.to_be_bytes()[..], packet].concat();
        let sent = match self {
            Self::Udp(socket) => socket.send(packet).map(|_| ()),
            Self::Tcp(stream, _) => stream.write_all(&framed),
            Self::Tls(stream, _) => stream.write_all(&framed).and_then(|()| stream.flush()),
        };
        sent.map_err(|error| format!("could not send: {error}"))
    }

    /// The next message, if one comes in so much real time.
    pub(crate) fn receive(&mut self, wait: Duration) -> Result<Came, String> {
        let fail = |error: std::io::Error| format!("could not receive: {error}");
        let mut chunk = vec![0; 65_535];
        loop {
            let (read, buffer) = match self {
                Self::Udp(socket) => {
                    socket.set_read_timeout(Some(wait)).map_err(fail)?;
                    return match socket.recv(&mut chunk) {
                        Ok(length) => {
                            chunk.truncate(length);
                            Ok(Came::Packet(chunk))
                        }
                        Err(error) if is_late(&error) => Ok(Came::Nothing),
                        Err(error) => Err(fail(error)),
                    };
                }
                Self::Tcp(stream, buffer) => {
                    if let Some(packet) = unframed(buffer) {
                        return Ok(Came::Packet(packet));
                    }
                    stream.set_read_timeout(Some(wait)).map_err(fail)?;
                    (stream.read(&mut chunk), buffer)
                }
                Self::Tls(stream, buffer) => {
                    if let Some(packet) = unframed(buffer) {
                        return Ok(Came::Packet(packet));
                    }
                    stream.sock.set_read_timeout(Some(wait)).map_err(fail)?;
                    (stream.read(&mut chunk), buffer)
                }
            };
            match read {
                Ok(0) => return Ok(Came::End),
                Ok(length) => buffer.extend(chunk.iter().take(length)),
                Err(error) if is_late(&error) => return Ok(Came::Nothing),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
                    ) =>
                {
                    return Ok(Came::End);
                }
                Err(error) => return Err(fail(error)),
            }
        }
    }
}

fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A whole message off the front.
fn unframed(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(*buffer.first_chunk::<2>()?));
    if buffer.len() < 2 + length {
        return None;
    }
    let mut packet: Vec<u8> = buffer.drain(..2 + length).collect();
    Some(packet.split_off(2))
}

fn tls() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Opportunistic(provider)))
        .with_no_client_auth();
    Arc::new(config)
}

/// Takes every certificate, as clients do that look for privacy only (RFC 7858 section 4.1).
#[derive(Debug)]
struct Opportunistic(Arc<CryptoProvider>);

impl ServerCertVerifier for Opportunistic {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
