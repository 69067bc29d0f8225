//! The sockets: UDP through hickory's server, TCP through our own loop (`tcp`).
//!
//! hickory spawns a task for each datagram without a bound, so the handler's own bound stands at its very top. Its TCP
//! listener has no limit on connections and answers in sequence, so it is not used.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Header, HeaderCounts};
use hickory_proto::serialize::binary::BinDecoder;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponseBuilder, Queries};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::handler::{Handler, Transport};
use super::tcp;
use super::truth::Truth;
use crate::net::ClientAddr;

/// Why the DNS side ended.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// A socket could not be taken over by the runtime.
    #[error("could not use a DNS socket")]
    Socket(#[source] io::Error),
    /// The UDP loop ended by itself.
    #[error("the DNS server ended: {0}")]
    Ended(String),
}

/// The bounds of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait in the kernel.
    pub max_connections: usize,
    /// How long a connection may be silent while it has no question open.
    pub tcp_idle_timeout: Duration,
}

/// Serves DNS on sockets that are bound already, until `stop`; then connections finish the questions they have open.
///
/// # Errors
///
/// [`DnsError`] where a socket cannot be used, or the UDP side ends by itself.
pub async fn serve<T: Truth>(
    handler: Arc<Handler<T>>,
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), DnsError> {
    let mut datagrams = Server::new(Datagrams(Arc::clone(&handler)));
    let has_udp = !udp.is_empty();
    for socket in udp {
        socket.set_nonblocking(true).map_err(DnsError::Socket)?;
        let socket = tokio::net::UdpSocket::from_std(socket).map_err(DnsError::Socket)?;
        datagrams.register_socket(socket);
    }
    let mut listeners = Vec::with_capacity(tcp.len());
    for listener in tcp {
        listener.set_nonblocking(true).map_err(DnsError::Socket)?;
        listeners.push(tokio::net::TcpListener::from_std(listener).map_err(DnsError::Socket)?);
    }
    let connections = tokio::spawn(tcp::serve(handler, listeners, limits, stop.clone()));
    let connections = AbortOnDropHandle::new(connections);
    let ended = tokio::select! {
        () = stop.cancelled() => datagrams.shutdown_gracefully().await,
        ended = datagrams.block_until_done(), if has_udp => ended,
    };
    if stop.is_cancelled() {
        connections.await.ok();
        return Ok(());
    }
    Err(DnsError::Ended(ended.map_or_else(
        |error| error.to_string(),
        |()| "its UDP sockets are closed".to_owned(),
    )))
}

/// hickory's way in to the handler.
struct Datagrams<T>(Arc<Handler<T>>);

#[async_trait::async_trait]
impl<T: Truth> RequestHandler for Datagrams<T> {
    async fn handle_request<R: ResponseHandler, C: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let client = ClientAddr::new(request.src());
        let untold = ResponseInfo::from(Header {
            metadata: request.metadata,
            counts: HeaderCounts::default(),
        });
        let Some(reply) = self.0.answer_request(request, client, Transport::Udp).await else {
            return untold;
        };
        // hickory echoes the octets of the question section; where we echo none, it gets an empty one.
        let Ok(no_queries) = Queries::read(&mut BinDecoder::new(&[]), 0) else {
            return untold;
        };
        let queries = match reply.query {
            Some(_) => &request.queries,
            None => &no_queries,
        };
        let response = MessageResponseBuilder::new(queries, reply.edns.as_ref()).build(
            reply.metadata,
            &reply.answers,
            &reply.authorities,
            [],
            &reply.additionals,
        );
        match response_handle.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%client, %error, "could not send an answer");
                untold
            }
        }
    }
}

#[cfg(test)]
mod tests;
