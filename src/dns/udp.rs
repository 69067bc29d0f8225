//! DNS over UDP (RFC 1035 section 4.2.1): datagrams are read and answered in batches. What is at hand is answered at once
//! (`fast`); every other question is answered in a task of its own. Called by `server`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::{JoinSet, coop};
use tokio_util::sync::CancellationToken;

use super::batch::{self, Exchanged, Unsent};
use super::fast::Fast;
use super::handler::{Handler, Transport};
use super::truth::Truth;
use crate::net::ClientAddr;

/// How long to wait after the socket failed: the kernel is out of memory, for example.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers what comes in until `stop`, then what is still open.
pub(super) async fn serve<T: Truth>(
    handler: Arc<Handler<T>>,
    socket: UdpSocket,
    stop: CancellationToken,
) {
    let socket = Arc::new(socket);
    let mut open = JoinSet::new();
    loop {
        let ready = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            ready = socket.readable() => ready,
        };
        while open.try_join_next().is_some() {}
        if let Err(error) = ready {
            pause(&error).await;
            continue;
        }
        let mut unsent = Unsent::default();
        let answered = socket.try_io(Interest::READABLE, || {
            let batch = answer_batch(&handler, &socket, &mut open)?;
            unsent = batch.unsent;
            // One that is not full has emptied the socket; the next call would only hear so.
            batch
                .full
                .then_some(())
                .ok_or_else(|| io::ErrorKind::WouldBlock.into())
        });
        unsent.send(&socket).await;
        if let Err(error) = answered
            && error.kind() != io::ErrorKind::WouldBlock
        {
            pause(&error).await;
        }
        // A socket that is never empty does not wait, and others want to go on, too.
        coop::consume_budget().await;
    }
    while open.join_next().await.is_some() {}
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "could not read a datagram; pausing");
    tokio::time::sleep(PAUSE).await;
}

/// Reads what has come, answers what is at hand, and begins with the rest.
fn answer_batch<T: Truth>(
    handler: &Arc<Handler<T>>,
    socket: &Arc<UdpSocket>,
    open: &mut JoinSet<()>,
) -> io::Result<Exchanged> {
    let mut fast = Fast::new(&**handler, Transport::Udp);
    batch::exchange(socket, |packet, source, out| {
        let client = ClientAddr::new(source);
        let at_once = fast
            .as_mut()
            .and_then(|fast| fast.answer(packet, client, out));
        // A task holds a packet before it takes a place among the queries in flight, so the tasks are bounded too.
        if at_once.is_none() && handler.has_room(open.len()) {
            open.spawn(answer(
                Arc::clone(handler),
                Arc::clone(socket),
                packet.to_vec(),
                source,
            ));
        }
    })
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
