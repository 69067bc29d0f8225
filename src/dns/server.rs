//! The sockets, each with its own loop: `udp`, and `tcp` for TLS, too.
//!
//! The loops of hickory's server are not used: the one for UDP spawns without a bound, answers malformed datagrams of
//! strangers and even malformed responses, and drops what is open at the stop; the one for TCP has no limit on
//! connections and answers in sequence.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::handler::{Handler, Transport};
use super::truth::Truth;
use super::{tcp, udp};

/// The sockets of the DNS side, bound already.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For datagrams.
    pub udp: Vec<UdpSocket>,
    /// For connections.
    pub tcp: Vec<TcpListener>,
    /// For encrypted connections.
    pub tls: Vec<TcpListener>,
}

/// Why the DNS side ended.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// A socket could not be taken over by the runtime.
    #[error("could not use a DNS socket")]
    Socket(#[source] io::Error),
    /// The UDP loop ended by itself.
    #[error("the UDP side of DNS ended")]
    Ended,
}

/// Serves DNS on sockets that are bound already, until `stop`; then questions that are open are answered still.
///
/// # Errors
///
/// [`DnsError`] where a socket cannot be used, or the UDP side ends by itself.
pub async fn serve<T: Truth>(
    handler: Arc<Handler<T>>,
    listeners: Listeners,
    stop: CancellationToken,
) -> Result<(), DnsError> {
    let Listeners { udp, tcp, tls } = listeners;
    let tcp = tcp.into_iter().map(|listener| (listener, Transport::Tcp));
    let tls = tls.into_iter().map(|listener| (listener, Transport::Tls));
    let mut listeners = Vec::new();
    for (listener, transport) in tcp.chain(tls) {
        listener.set_nonblocking(true).map_err(DnsError::Socket)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(DnsError::Socket)?;
        listeners.push((listener, transport));
    }
    let connections = tokio::spawn(tcp::serve(Arc::clone(&handler), listeners, stop.clone()));
    let connections = AbortOnDropHandle::new(connections);
    let mut datagrams = JoinSet::new();
    for socket in udp {
        datagrams.spawn(udp::serve(Arc::clone(&handler), socket, stop.clone()));
    }
    tokio::select! {
        () = stop.cancelled() => {}
        Some(ended) = datagrams.join_next() => {
            if let Ok(Err(error)) = ended {
                return Err(DnsError::Socket(error));
            }
        }
    }
    if !stop.is_cancelled() {
        return Err(DnsError::Ended);
    }
    while datagrams.join_next().await.is_some() {}
    connections.await.ok();
    Ok(())
}

#[cfg(test)]
mod tests;
