//! A tunnel on a stream of HTTP/2 (RFC 9113 section 8.5): DATA frames to the client, TCP to the origin. Called by `h2`.
//!
//! A stream cannot be spliced: the bytes are copied, and what is under way is bounded by the windows of HTTP/2. A tunnel
//! that waits holds no buffer. The end of a stream is the end of that direction, RST_STREAM stands for RST.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::h2::{Reason, RecvStream, SendStream};
use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::super::Proxy;
use super::h2_answer::give;
use super::tunnel::Tunnel;
use crate::net::read_once;
use crate::relay::{Carried, Ended, silence};
use crate::telemetry::Side;

/// What is read from the origin at once, in bytes: one frame of HTTP/2.
const PIECE: usize = 16 * 1024;

type Fault = (Side, io::Error);

/// Carries bytes both ways until both sides are done, one breaks, neither speaks for the idle timeout, or we are cut.
pub(super) async fn run(
    tunnel: Tunnel,
    mut recv: RecvStream,
    mut send: SendStream<Bytes>,
    proxy: &Proxy,
) {
    let Tunnel {
        session,
        target,
        reached,
        origin,
        said,
        idle,
    } = tunnel;
    let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let carrying = async {
        tokio::try_join!(
            up(&mut recv, &origin, &sent),
            down(&origin, &mut send, said, &received, idle),
        )
    };
    let ended = tokio::select! {
        biased;
        () = proxy.cut.cancelled() => Ended::Cut,
        done = carrying => match done {
            Ok(_) => Ended::Closed,
            Err((side, error)) => Ended::Broken(side, error),
        },
        () = silence(idle, || {
            sent.load(Ordering::Relaxed).wrapping_add(received.load(Ordering::Relaxed))
        }, || ()) => Ended::Idle,
    };
    if !matches!(ended, Ended::Closed) {
        // Nobody shall take a truncated stream for a whole one; this only fails on a socket that is gone already.
        SockRef::from(&origin).set_linger(Some(Duration::ZERO)).ok();
        send.send_reset(match ended {
            Ended::Broken(Side::Origin, _) => Reason::CONNECT_ERROR,
            _ => Reason::CANCEL,
        });
    }
    let carried = Carried {
        sent: sent.into_inner(),
        received: received.into_inner(),
        ended,
    };
    session.ended(&target, &reached, &carried);
}

async fn up(recv: &mut RecvStream, origin: &TcpStream, sent: &AtomicU64) -> Result<(), Fault> {
    let broken = |error| (Side::Origin, error);
    while let Some(data) = recv.data().await {
        let mut data = data.map_err(|error| (Side::Client, io::Error::other(error)))?;
        let length = data.len();
        while !data.is_empty() {
            origin.writable().await.map_err(broken)?;
            match origin.try_write(&data) {
                Ok(written) => {
                    bytes::Buf::advance(&mut data, written);
                    count(sent, written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(broken(error)),
            }
        }
        // Only now may the client send as much again. This fails where the stream is reset, which is told above.
        recv.flow_control().release_capacity(length).ok();
    }
    SockRef::from(origin)
        .shutdown(Shutdown::Write)
        .map_err(broken)
}

async fn down(
    origin: &TcpStream,
    send: &mut SendStream<Bytes>,
    said: Bytes,
    received: &AtomicU64,
    idle: Duration,
) -> Result<(), Fault> {
    let gone = || (Side::Client, io::Error::from(io::ErrorKind::BrokenPipe));
    let length = said.len();
    give(send, said, idle).await.ok_or_else(gone)?;
    count(received, length);
    loop {
        tokio::select! {
            ready = origin.readable() => ready.map_err(|error| (Side::Origin, error))?,
            _ = poll_fn(|cx| send.poll_reset(cx)) => return Err(gone()),
        }
        // Room is asked for only once there is something to send: it is taken from all streams of the connection.
        send.reserve_capacity(PIECE);
        let room = loop {
            match poll_fn(|cx| send.poll_capacity(cx)).await {
                Some(Ok(0)) => {}
                Some(Ok(room)) => break room.min(PIECE),
                Some(Err(_)) | None => return Err(gone()),
            }
        };
        let mut piece = BytesMut::with_capacity(room);
        match read_once(origin, room, || {
            origin.try_read_buf(&mut bytes::BufMut::limit(&mut piece, room))
        }) {
            Ok(0) => return send.send_data(Bytes::new(), true).map_err(|_| gone()),
            Ok(length) => {
                send.send_data(piece.freeze(), false).map_err(|_| gone())?;
                count(received, length);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err((Side::Origin, error)),
        }
        send.reserve_capacity(0);
    }
}

fn count(counter: &AtomicU64, length: usize) {
    counter.fetch_add(u64::try_from(length).unwrap_or(u64::MAX), Ordering::Relaxed);
}
