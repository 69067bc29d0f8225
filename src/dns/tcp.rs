//! DNS over TCP (RFC 7766): two octets of length before each message, many questions at a time, answers as they are
//! ready. Called by `server`.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handler::{Handler, Transport};
use super::server::Limits;
use super::truth::Truth;
use crate::net::{ClientAddr, accept_loop, prepare_stream};
use crate::telemetry::RefusalLabels;

/// Questions of one connection in flight; it is not read further while that many are.
const PIPELINED: usize = 64;
/// Room for one read at least, in bytes: some questions.
const READ: usize = 512;
/// Connections that every client may have. Beyond, one client may not hold more than half of all, or it could close
/// TCP to the others by doing nothing (RFC 7766 section 6.2.2).
const LEAST_SHARE: usize = 8;
/// The header of a message; nothing shorter is one.
const HEADER: usize = 12;

/// Accepts and serves connections until `stop`, and returns when the last has ended.
pub(super) async fn serve<T: Truth>(
    handler: Arc<Handler<T>>,
    listeners: Vec<TcpListener>,
    limits: Limits,
    stop: CancellationToken,
) {
    // Who drops this future ends its connections too.
    let stop = stop.child_token();
    let _end = stop.clone().drop_guard();
    let places = Arc::new(Semaphore::new(
        limits.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    let shares = Shares::of(limits.max_connections);
    let connections = TaskTracker::new();
    let mut loops = JoinSet::new();
    for listener in listeners {
        let places = Arc::clone(&places);
        let shares = Arc::clone(&shares);
        let handler = Arc::clone(&handler);
        let connections = connections.clone();
        let stop = stop.clone();
        loops.spawn(accept_loop(
            listener,
            stop.clone(),
            move || Arc::clone(&places).acquire_owned(),
            move |stream, client, place| {
                // Strangers are not even read.
                if !handler.admits(client) {
                    tracing::debug!(%client, "a stranger came to the DNS listener");
                    let reason = RefusalLabels { reason: "stranger" };
                    let refused = &handler.metrics().sessions_refused;
                    refused.get_or_create(&reason).inc();
                    return;
                }
                let Some(share) = shares.enter(client.ip()) else {
                    handler.metrics().dns_connections_refused.inc();
                    return;
                };
                let handler = Arc::clone(&handler);
                let stop = stop.clone();
                connections.spawn(async move {
                    let metrics = handler.metrics();
                    metrics.dns_connections.inc();
                    let ended =
                        connection(&handler, stream, client, limits.tcp_idle_timeout, &stop).await;
                    if let Err(error) = ended {
                        tracing::debug!(%client, %error, "a DNS connection ended");
                    }
                    metrics.dns_connections.dec();
                    drop((share, place));
                });
            },
        ));
    }
    while loops.join_next().await.is_some() {}
    connections.close();
    connections.wait().await;
}

/// How many connections each client has; those without one are not in it.
struct Shares {
    most: usize,
    held: Mutex<HashMap<IpAddr, usize>>,
}

impl Shares {
    fn of(max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            most: (max_connections / 2).max(LEAST_SHARE),
            held: Mutex::default(),
        })
    }

    /// One connection more, or `None` where the client has its share.
    fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Share> {
        let mut held = self.held();
        let own = held.get(&client).copied().unwrap_or(0);
        if own >= self.most {
            return None;
        }
        held.insert(client, own + 1);
        Some(Share {
            shares: Arc::clone(self),
            client,
        })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection of a client's share, given back when dropped.
struct Share {
    shares: Arc<Shares>,
    client: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held();
        match held.get_mut(&self.client) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                held.remove(&self.client);
            }
        }
    }
}

/// Serves one connection until the client closes it, is silent for `idle`, or `stop`; what was asked is answered first.
async fn connection<T: Truth>(
    handler: &Arc<Handler<T>>,
    mut stream: TcpStream,
    client: ClientAddr,
    idle: Duration,
    stop: &CancellationToken,
) -> io::Result<()> {
    prepare_stream(&stream)?;
    let (mut reader, mut writer) = stream.split();
    let mut buffer = BytesMut::new();
    let mut open: JoinSet<Option<Vec<u8>>> = JoinSet::new();
    let mut reading = true;
    let mut silence = std::pin::pin!(tokio::time::sleep(idle));
    loop {
        while open.len() < PIPELINED {
            let Some(message) = next_message(&mut buffer)? else {
                break;
            };
            let handler = Arc::clone(handler);
            open.spawn(async move { handler.answer(&message, client, Transport::Tcp).await });
        }
        if !reading && open.is_empty() {
            return Ok(());
        }
        let may_read = reading && open.len() < PIPELINED;
        buffer.reserve(READ);
        tokio::select! {
            Some(answer) = open.join_next(), if !open.is_empty() => {
                if let Ok(Some(answer)) = answer {
                    // A client that asks and does not read may not hold us.
                    tokio::time::timeout(idle, write(&mut writer, &answer)).await??;
                }
                silence.set(tokio::time::sleep(idle));
            }
            read = reader.read_buf(&mut buffer), if may_read => {
                reading = read? > 0;
            }
            () = &mut silence, if open.is_empty() => return Ok(()),
            () = stop.cancelled(), if reading => {
                reading = false;
            }
        }
    }
}

/// Takes a whole message off the front of what was read.
fn next_message(buffer: &mut BytesMut) -> io::Result<Option<BytesMut>> {
    let Some(prefix) = buffer.first_chunk::<2>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*prefix));
    if length < HEADER {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message is shorter than its header",
        ));
    }
    if buffer.len() < 2 + length {
        // Room for this message and no more: the length's two octets bound it.
        buffer.reserve(2 + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(2);
    Ok(Some(buffer.split_to(length)))
}

async fn write(writer: &mut (impl tokio::io::AsyncWrite + Unpin), answer: &[u8]) -> io::Result<()> {
    let length = u16::try_from(answer.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "an answer is too long"))?;
    // One write: a length that travels alone costs a packet, and confuses clients (RFC 7766 section 8).
    let mut framed = Vec::with_capacity(2 + answer.len());
    framed.extend(length.to_be_bytes());
    framed.extend_from_slice(answer);
    writer.write_all(&framed).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_holds_half_of_the_connections_at_most_and_gets_back_what_it_gives() {
        let shares = Shares::of(40);
        let (greedy, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut held: Vec<_> = (0..30).filter_map(|_| shares.enter(greedy)).collect();
        assert_eq!(held.len(), 20);
        let one = shares.enter(other);
        assert!(one.is_some());
        held.pop();
        held.extend(shares.enter(greedy));
        assert!(shares.enter(greedy).is_none());
        drop((held, one));
        assert!(shares.held().is_empty());
        assert_eq!(Shares::of(2).most, LEAST_SHARE);
    }
}
