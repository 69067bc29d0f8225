//! DNS over HTTPS on HTTP/2 (RFC 8484), over QUIC (RFC 9250) and over HTTP/3, through the connections of hickory.
//! Opened and replaced by `link`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hickory_proto::op::{DnsRequest, DnsRequestOptions, Message};
use hickory_resolver::net::h2::HttpsClientStream;
use hickory_resolver::net::h3::H3ClientStream;
use hickory_resolver::net::quic::QuicClientStream;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioRuntimeProvider};
use hickory_resolver::net::xfer::{DnsExchange, FirstAnswer};
use hickory_resolver::net::{DnsHandle, NetError};
use rustls::ClientConfig;

use super::message::Query;
use super::stream::StreamError;
use super::{AskError, io_failure};
use crate::config::{Server, Transport};

/// Longer than any query here waits, so that our own clock decides.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3600);

/// How many letters of an error are told.
const MAX_TEXT: usize = 200;

/// An open connection.
pub(super) struct Exchange {
    handle: DnsExchange<TokioRuntimeProvider>,
    answers: AtomicU64,
}

impl Exchange {
    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// [`AskError::Network`] when the server cannot be reached or is not the one it should be.
    pub(super) async fn open(
        server: &Server,
        tls: &ClientConfig,
        provider: &TokioRuntimeProvider,
    ) -> Result<Self, AskError> {
        let address = server.address;
        let path: Arc<str> = server.path.as_deref().unwrap_or("/dns-query").into();
        let name: Arc<str> = match &server.name {
            Some(name) => name.as_str().into(),
            None => address.ip().to_string().into(),
        };
        let local = match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = || match provider.quic_binder() {
            Some(binder) => binder
                .bind_quic(SocketAddr::new(local, 0), address)
                .map_err(|error| io_failure(&error)),
            None => Err(AskError::Network("there is no QUIC here".to_owned())),
        };
        let handle = match server.transport {
            Transport::Quic => {
                let socket = socket()?;
                QuicClientStream::builder()
                    .crypto_config(tls.clone())
                    .request_timeout(REQUEST_TIMEOUT)
                    .exchange(socket, address, name, provider.clone())
                    .await
            }
            Transport::H3 => {
                let socket = socket()?;
                H3ClientStream::builder()
                    .crypto_config(tls.clone())
                    .request_timeout(REQUEST_TIMEOUT)
                    .exchange(socket, address, name, path, provider.clone())
                    .await
            }
            Transport::Https | Transport::Udp | Transport::Tcp | Transport::Tls => {
                let mut builder =
                    HttpsClientStream::builder(Arc::new(tls.clone()), provider.clone());
                builder.request_timeout(REQUEST_TIMEOUT);
                builder.exchange(address, name, path).await
            }
        };
        Ok(Self {
            handle: handle.map_err(failure)?,
            answers: AtomicU64::new(0),
        })
    }

    /// How many answers came on it.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Asks on it.
    ///
    /// # Errors
    ///
    /// [`StreamError`].
    pub(super) async fn ask(&self, query: &Query) -> Result<Message, StreamError> {
        let request = DnsRequest::new(query.message().clone(), DnsRequestOptions::default());
        match self.handle.send(request).first_answer().await {
            Ok(response) => {
                self.answers.fetch_add(1, Ordering::Relaxed);
                Ok(response.into_message())
            }
            Err(NetError::Proto(error)) => Err(StreamError::Malformed(plain(&error.to_string()))),
            Err(error) => match failure(error) {
                AskError::Network(text) => Err(StreamError::Lost(text)),
                error => Err(StreamError::Lost(error.to_string())),
            },
        }
    }
}

fn failure(error: NetError) -> AskError {
    match error {
        NetError::Io(error) => io_failure(&error),
        NetError::Timeout => AskError::Timeout,
        NetError::Busy => AskError::Network("the connection was closed".to_owned()),
        error => AskError::Network(plain(&error.to_string())),
    }
}

/// An error of hickory for people and logs: it may quote all that the server sent instead of an answer.
fn plain(text: &str) -> String {
    // Here the body of an answer of HTTP begins.
    let text = text.split(", message:").next().unwrap_or_default();
    text.chars()
        .take(MAX_TEXT)
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("answers", &self.answers)
            .finish_non_exhaustive()
    }
}
