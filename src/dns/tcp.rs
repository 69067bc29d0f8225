//! DNS over TCP (RFC 7766) and TLS (RFC 7858): two octets of length before each message, many questions at a time,
//! answers as they are ready. Called by `server`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fast::{Fast, Last};
use super::handler::{Handler, Transport};
use super::in_flight::Place;
use super::truth::Truth;
use crate::net::{ClientAddr, accept_loop};
use crate::telemetry::RefusalLabels;

/// Questions of one connection in flight; it is not read further while that many are.
const PIPELINED: usize = 64;
/// Room for one read at least, in bytes: some questions.
const READ: usize = 512;
/// Answers that were at hand are written when they are so many bytes, at the latest.
const AT_ONCE: usize = 16 << 10;
/// The header of a message; nothing shorter is one.
const HEADER: usize = 12;

/// Accepts and serves connections until `stop`, and returns when the last has ended. All listeners share the places.
pub(super) async fn serve<T: Truth>(
    handler: Arc<Handler<T>>,
    listeners: Vec<(TcpListener, Transport)>,
    stop: CancellationToken,
) {
    // Who drops this future ends its connections too.
    let stop = stop.child_token();
    let _end = stop.clone().drop_guard();
    let connections = TaskTracker::new();
    let mut loops = JoinSet::new();
    for (listener, transport) in listeners {
        let admission = Arc::clone(handler.admission());
        let failures = Arc::clone(&handler);
        let handler = Arc::clone(&handler);
        let connections = connections.clone();
        let stop = stop.clone();
        loops.spawn(accept_loop(
            listener,
            stop.clone(),
            move || {
                let admission = Arc::clone(&admission);
                async move { admission.room().await }
            },
            move |error| failures.metrics().accept_failed(error),
            move |stream, client, ()| {
                // Strangers are not even read.
                if !handler.admits(client) {
                    tracing::debug!(%client, "a stranger came to the DNS listener");
                    let reason = RefusalLabels { reason: "stranger" };
                    let refused = &handler.metrics().sessions_refused;
                    refused.get_or_create(&reason).inc();
                    return;
                }
                let Some(seat) = handler.admission().enter(client.ip()) else {
                    handler.metrics().dns_connections_refused.inc();
                    return;
                };
                let handler = Arc::clone(&handler);
                let stop = stop.clone();
                connections.spawn(async move {
                    let metrics = handler.metrics();
                    metrics.dns_connections.inc();
                    let idle = handler.limits().tcp_idle_timeout;
                    let served = match transport {
                        Transport::Tls => tls(&handler, stream, client, idle, &stop).await,
                        Transport::Udp | Transport::Tcp => {
                            connection(&handler, stream, client, transport, idle, &stop).await
                        }
                    };
                    if let Err(error) = served {
                        tracing::debug!(%client, %error, "a DNS connection ended");
                    }
                    metrics.dns_connections.dec();
                    drop(seat);
                });
            },
        ));
    }
    while loops.join_next().await.is_some() {}
    connections.close();
    connections.wait().await;
}

/// Serves one connection inside TLS; the handshake may take as long as a connection may be silent.
async fn tls<T: Truth>(
    handler: &Arc<Handler<T>>,
    stream: TcpStream,
    client: ClientAddr,
    idle: Duration,
    stop: &CancellationToken,
) -> io::Result<()> {
    let Some(config) = handler.tls() else {
        return Ok(());
    };
    let handshake = tokio::time::timeout(idle, TlsAcceptor::from(config).accept(stream));
    let shaken = tokio::select! {
        shaken = handshake => shaken.map_err(io::Error::from).and_then(|shaken| shaken),
        () = stop.cancelled() => return Ok(()),
    };
    if shaken.is_err() {
        handler.metrics().dns_tls_failures.inc();
    }
    // The state of TLS is large, and the task would carry it beside that of the connection.
    let stream = Box::new(shaken?);
    connection(handler, stream, client, Transport::Tls, idle, stop).await
}

/// Serves one connection until the client closes it, is silent for `idle`, or `stop`; what was asked is answered first.
async fn connection<T: Truth>(
    handler: &Arc<Handler<T>>,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    client: ClientAddr,
    transport: Transport,
    idle: Duration,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut open: JoinSet<Option<(Vec<u8>, Place)>> = JoinSet::new();
    let mut reading = true;
    let mut silence = std::pin::pin!(tokio::time::sleep(idle));
    loop {
        let at_once = take(handler, &mut buffer, client, transport, &mut open)?;
        if !at_once.is_empty() {
            tokio::time::timeout(idle, write(&mut stream, &at_once)).await??;
            silence.set(tokio::time::sleep(idle));
            continue;
        }
        if !reading && open.is_empty() {
            break;
        }
        let may_read = reading && open.len() < PIPELINED;
        buffer.reserve(READ);
        tokio::select! {
            Some(answer) = open.join_next(), if !open.is_empty() => {
                if let Ok(Some((answer, _place))) = answer {
                    // A client that asks and does not read may not hold us.
                    let framed = framed(&answer)?;
                    tokio::time::timeout(idle, write(&mut stream, &framed)).await??;
                }
                silence.set(tokio::time::sleep(idle));
            }
            read = stream.read_buf(&mut buffer), if may_read => {
                reading = read? > 0;
            }
            () = &mut silence, if open.is_empty() => break,
            () = stop.cancelled(), if reading => {
                reading = false;
            }
        }
    }
    // TLS says that this is the end, and not the work of somebody between.
    tokio::time::timeout(idle, stream.shutdown()).await?
}

/// Begins with the questions that have been read, and gives back what is to be written for those whose answer is at hand.
fn take<T: Truth>(
    handler: &Arc<Handler<T>>,
    buffer: &mut BytesMut,
    client: ClientAddr,
    transport: Transport,
    open: &mut JoinSet<Option<(Vec<u8>, Place)>>,
) -> io::Result<Vec<u8>> {
    let mut fast = Fast::new(&**handler, transport, Last::default());
    let mut out = Vec::new();
    while open.len() < PIPELINED && out.len() < AT_ONCE {
        let Some(message) = next_message(buffer)? else {
            break;
        };
        let begin = out.len();
        out.extend([0; 2]);
        let answered = fast
            .as_mut()
            .and_then(|fast| fast.answer(&message, client, &mut out));
        if answered.is_none() {
            out.truncate(begin);
            let handler = Arc::clone(handler);
            open.spawn(async move { handler.answer_and_hold(message, client, transport).await });
            continue;
        }
        let length = prefix(out.len() - begin - 2)?;
        if let Some(place) = out.get_mut(begin..).and_then(<[u8]>::first_chunk_mut) {
            *place = length;
        }
    }
    Ok(out)
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

/// A message with its length before it: one write, because a length that travels alone costs a packet, and confuses
/// clients (RFC 7766 section 8).
fn framed(answer: &[u8]) -> io::Result<Vec<u8>> {
    let length = prefix(answer.len())?;
    Ok([&length, answer].concat())
}

fn prefix(length: usize) -> io::Result<[u8; 2]> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidData, "an answer is too long");
    u16::try_from(length)
        .map(u16::to_be_bytes)
        .map_err(too_long)
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), framed: &[u8]) -> io::Result<()> {
    writer.write_all(framed).await?;
    writer.flush().await
}
