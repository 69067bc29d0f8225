//! DNS over UDP (RFC 1035 section 4.2.1): one datagram, one question, one answer, each question in a task of its own.
//! Called by `server`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::handler::{Handler, Transport};
use super::truth::Truth;
use crate::net::ClientAddr;

/// The longest query that is read, in bytes; of a longer one the rest is lost, so it is malformed.
const LONGEST_QUERY: usize = 4096;
/// How long to wait after the socket failed: the kernel is out of memory, for example.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers what comes in until `stop`, then what is still open.
pub(super) async fn serve<T: Truth>(
    handler: Arc<Handler<T>>,
    socket: UdpSocket,
    stop: CancellationToken,
) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; LONGEST_QUERY];
    let mut open = JoinSet::new();
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            received = socket.recv_from(&mut buffer) => received,
        };
        while open.try_join_next().is_some() {}
        let (length, source) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "could not read a datagram; pausing");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // A task holds a packet before it takes a place among the queries in flight, so the tasks are bounded too.
        if !handler.has_room(open.len()) {
            continue;
        }
        let packet = buffer.get(..length).unwrap_or_default().to_vec();
        open.spawn(answer(
            Arc::clone(&handler),
            Arc::clone(&socket),
            packet,
            source,
        ));
    }
    while open.join_next().await.is_some() {}
}

async fn answer<T: Truth>(
    handler: Arc<Handler<T>>,
    socket: Arc<UdpSocket>,
    packet: Vec<u8>,
    source: SocketAddr,
) {
    let client = ClientAddr::new(source);
    if let Some((answer, _place)) = handler
        .answer_and_hold(packet, client, Transport::Udp)
        .await
        && let Err(error) = socket.send_to(&answer, source).await
    {
        tracing::debug!(%client, %error, "could not send an answer");
    }
}
