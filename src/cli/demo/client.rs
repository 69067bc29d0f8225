//! The demo's clients: what a device on the LAN does, in the fewest lines: ask DNS, use the forward proxy, or connect
//! where DNS pointed it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::rdata::svcb::SvcParamKey;
use hickory_proto::rr::{Name, RData, RecordType};
use http::header::HOST;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;

/// How long one question or one session may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest body that is read, in bytes.
const BODY_BYTES: usize = 64 * 1024;

/// EDNS option code of Extended DNS Errors (RFC 8914).
pub(super) const EXTENDED_ERROR: u16 = 15;

/// What an origin says about a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    /// The host that was asked for.
    pub(super) name: String,
    /// `ipv4` or `ipv6`.
    pub(super) family: String,
    /// The address that the origin saw.
    pub(super) peer: IpAddr,
    /// Whether it came over TLS.
    pub(super) tls: bool,
}

/// Why a client got nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Too slow.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Timeout,
    /// The connection could not be had, or broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The message could not be made or read.
    #[error("not a DNS message: {0}")]
    Dns(String),
    /// The request could not be made.
    #[error("not a request: {0}")]
    Request(#[from] http::Error),
    /// The HTTP exchange broke.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The proxy answered instead of the origin.
    #[error("{status}{}", proxy_status.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Status {
        /// Its status.
        status: StatusCode,
        /// `Proxy-Status` (RFC 9209), if it sent one.
        proxy_status: Option<String>,
    },
    /// The body is not what an origin of the demo sends.
    #[error("the answer is not an origin's")]
    Body,
}

/// What a DNS server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The response code.
    pub(super) rcode: ResponseCode,
    /// A and AAAA records of the answer section.
    pub(super) addresses: Vec<IpAddr>,
    /// The least TTL of the answer section, in seconds.
    pub(super) ttl: Option<u32>,
    /// Whether an HTTPS record carries `ipv6hint`.
    pub(super) ipv6_hint: bool,
    /// TTL of the SOA in the authority section, in seconds.
    pub(super) soa_ttl: Option<u32>,
    /// Extended DNS Errors.
    pub(super) extended_errors: Vec<u16>,
}

/// Asks a DNS server over UDP.
pub(super) async fn ask(
    server: SocketAddr,
    host: &str,
    record_type: RecordType,
) -> Result<Answer, ClientError> {
    patiently(async {
        let dns = |error: &dyn std::fmt::Display| ClientError::Dns(error.to_string());
        let mut name = Name::from_ascii(host).map_err(|error| dns(&error))?;
        name.set_fqdn(true);
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(name, record_type));
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        query.set_edns(edns);

        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(server).await?;
        socket
            .send(&query.to_vec().map_err(|error| dns(&error))?)
            .await?;
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            let length = socket.recv(&mut buffer).await?;
            let packet = buffer.get(..length).unwrap_or_default();
            let answer = Message::from_vec(packet).map_err(|error| dns(&error))?;
            if answer.metadata.id == query.metadata.id && answer.queries == query.queries {
                return Ok(read(&answer));
            }
        }
    })
    .await
}

fn read(message: &Message) -> Answer {
    let errors = message.edns.iter().flat_map(|edns| {
        let code = EdnsCode::from(EXTENDED_ERROR);
        edns.options().get_all(code)
    });
    Answer {
        rcode: message.metadata.response_code,
        addresses: message
            .answers
            .iter()
            .filter_map(|record| record.data.ip_addr())
            .collect(),
        ttl: message.answers.iter().map(|record| record.ttl).min(),
        ipv6_hint: message.answers.iter().any(|record| match &record.data {
            RData::HTTPS(https) => https
                .0
                .svc_params
                .iter()
                .any(|(key, _)| *key == SvcParamKey::Ipv6Hint),
            _ => false,
        }),
        soa_ttl: message
            .authorities
            .iter()
            .find(|record| record.record_type() == RecordType::SOA)
            .map(|record| record.ttl),
        extended_errors: errors
            .filter_map(|option| match option {
                EdnsOption::Unknown(_, data) => data.first_chunk().copied().map(u16::from_be_bytes),
                _ => None,
            })
            .collect(),
    }
}

/// Plain HTTP through a forward proxy: absolute-form (RFC 9112 section 3.2.2).
pub(super) async fn forward(
    proxy: SocketAddr,
    host: &str,
    port: u16,
) -> Result<Reached, ClientError> {
    patiently(async {
        let stream = TcpStream::connect(proxy).await?;
        let target = format!("http://{host}:{port}/");
        get(stream, &target, &format!("{host}:{port}")).await
    })
    .await
}

/// TLS through a forward proxy: CONNECT (RFC 9110 section 9.3.6).
pub(super) async fn connect(
    proxy: SocketAddr,
    host: &str,
    port: u16,
    tls: Arc<ClientConfig>,
) -> Result<Reached, ClientError> {
    patiently(async {
        let authority = format!("{host}:{port}");
        let stream = TcpStream::connect(proxy).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driving = tokio::spawn(connection.with_upgrades());
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(authority.parse::<Uri>().map_err(http::Error::from)?)
            .header(HOST, &authority)
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        refuse(&response)?;
        let tunnel = TokioIo::new(hyper::upgrade::on(response).await?);
        let reached = over_tls(tunnel, host, &authority, tls).await;
        driving.abort();
        reached
    })
    .await
}

/// Plain HTTP to the address that DNS told.
pub(super) async fn plain(
    address: SocketAddr,
    host: &str,
    port: u16,
) -> Result<Reached, ClientError> {
    patiently(async {
        let stream = TcpStream::connect(address).await?;
        get(stream, "/", &format!("{host}:{port}")).await
    })
    .await
}

/// TLS to the address that DNS told, the name in the SNI.
pub(super) async fn tls(
    address: SocketAddr,
    host: &str,
    tls: Arc<ClientConfig>,
) -> Result<Reached, ClientError> {
    patiently(async { over_tls(TcpStream::connect(address).await?, host, host, tls).await }).await
}

async fn over_tls<S>(
    stream: S,
    host: &str,
    authority: &str,
    tls: Arc<ClientConfig>,
) -> Result<Reached, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(tls).connect(name, stream).await?;
    get(stream, "/", authority).await
}

/// One GET, and what the origin says to it.
async fn get<S>(stream: S, target: &str, authority: &str) -> Result<Reached, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let request = Request::builder()
        .uri(target)
        .header(HOST, authority)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    refuse(&response)?;
    let body = Limited::new(response.into_body(), BODY_BYTES)
        .collect()
        .await;
    driving.abort();
    let body = body.map_err(|_| ClientError::Body)?.to_bytes();
    serde_json::from_slice(&body).map_err(|_| ClientError::Body)
}

fn refuse(response: &Response<Incoming>) -> Result<(), ClientError> {
    if response.status() == StatusCode::OK {
        return Ok(());
    }
    let proxy_status = response.headers().get("proxy-status");
    Err(ClientError::Status {
        status: response.status(),
        proxy_status: proxy_status
            .map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned()),
    })
}

async fn patiently<T>(
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    // On the heap, because the states of TLS and HTTP are large.
    match tokio::time::timeout(PATIENCE, Box::pin(work)).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
    use tokio::net::TcpListener;

    use super::super::{Internet, Place};
    use super::*;

    #[tokio::test]
    async fn the_internet_tells_by_which_family_it_was_reached() {
        let internet = Internet::start().unwrap();
        let host = Place::Dual.host();
        let told = ask(internet.dns, host, RecordType::AAAA).await.unwrap();
        assert_eq!(told.rcode, ResponseCode::NoError);
        assert_eq!(told.addresses, ["::1".parse::<IpAddr>().unwrap()]);
        let hint = ask(internet.dns, host, RecordType::HTTPS).await.unwrap();
        assert!(hint.ipv6_hint);
        let gone = ask(internet.dns, Place::Gone.host(), RecordType::A)
            .await
            .unwrap();
        assert_eq!(
            (gone.rcode, gone.soa_ttl),
            (ResponseCode::NXDomain, Some(300))
        );

        let over_ipv4 = SocketAddr::from((internet.ipv4, internet.http));
        let reached = plain(over_ipv4, host, internet.http).await.unwrap();
        assert_eq!(
            (reached.name.as_str(), reached.family.as_str()),
            (host, "ipv4")
        );
        let secure = SocketAddr::from((internet.ipv4, internet.dead_tls));
        let reached = tls(secure, Place::Dead6.host(), internet.client_tls())
            .await
            .unwrap();
        assert!(reached.tls && reached.name == Place::Dead6.host());
        if !internet.has_ipv6 {
            println!("skipped: no ::1 on this machine");
            return;
        }
        let over_ipv6 = "::1".parse::<IpAddr>().unwrap();
        let reached = plain((over_ipv6, internet.http).into(), host, 80)
            .await
            .unwrap();
        assert_eq!((reached.family.as_str(), reached.peer), ("ipv6", over_ipv6));
        let reached = tls(
            (over_ipv6, internet.tls).into(),
            host,
            internet.client_tls(),
        )
        .await;
        assert_eq!(reached.unwrap().family, "ipv6");
        for port in [internet.dead_http, internet.dead_tls] {
            let refused = plain((over_ipv6, port).into(), Place::Dead6.host(), port).await;
            assert!(
                matches!(refused, Err(ClientError::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
            );
        }
    }

    #[tokio::test]
    async fn dns_answers_over_tcp_too() {
        use tokio::io::AsyncReadExt;
        let internet = Internet::start().unwrap();
        let mut query = Message::query();
        let name = Name::from_ascii("four.demo.example.").unwrap();
        query.add_query(Query::query(name, RecordType::A));
        let query = query.to_vec().unwrap();
        let mut stream = TcpStream::connect(internet.dns).await.unwrap();
        stream
            .write_u16(query.len().try_into().unwrap())
            .await
            .unwrap();
        stream.write_all(&query).await.unwrap();
        let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut answer).await.unwrap();
        let answer = read(&Message::from_vec(&answer).unwrap());
        assert_eq!(answer.addresses, [IpAddr::V4(internet.ipv4)]);
    }

    /// A proxy that knows one way.
    async fn tunnel_to(origin: SocketAddr, answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut client = BufReader::new(listener.accept().await.unwrap().0);
            let mut line = String::from("first");
            while !line.trim().is_empty() {
                line.clear();
                client.read_line(&mut line).await.unwrap();
            }
            client.write_all(answer.as_bytes()).await.unwrap();
            if answer.contains(" 200 ") {
                let mut origin = TcpStream::connect(origin).await.unwrap();
                copy_bidirectional(&mut client, &mut origin).await.ok();
            }
        });
        address
    }

    #[tokio::test]
    async fn both_ways_through_a_forward_proxy_work_and_refusals_are_told() {
        let internet = Internet::start().unwrap();
        let host = Place::Four.host();
        let http = SocketAddr::from((internet.ipv4, internet.http));
        // An origin takes absolute-form as well (RFC 9112 section 3.2.2).
        let reached = forward(http, host, internet.http).await.unwrap();
        assert_eq!((reached.name.as_str(), reached.tls), (host, false));

        let secure = SocketAddr::from((internet.ipv4, internet.tls));
        let proxy = tunnel_to(secure, "HTTP/1.1 200 OK\r\n\r\n").await;
        let reached = connect(proxy, host, internet.tls, internet.client_tls())
            .await
            .unwrap();
        assert_eq!((reached.name.as_str(), reached.tls), (host, true));

        let answer = "HTTP/1.1 502 Bad Gateway\r\nProxy-Status: x; error=dns_error\r\nContent-Length: 0\r\n\r\n";
        let proxy = tunnel_to(secure, answer).await;
        let refused = connect(proxy, host, internet.tls, internet.client_tls()).await;
        let text = refused.unwrap_err().to_string();
        assert_eq!(text, "502 Bad Gateway (x; error=dns_error)");
    }
}
