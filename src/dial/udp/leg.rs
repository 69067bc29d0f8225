//! The connected sockets of a flow, and which of their errors mean that an origin is gone.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use tokio::io::{Interest, ReadBuf, Ready};
use tokio::net::UdpSocket;

use super::super::rules::Rules;
use super::super::ways::{Ways, send_now};
use crate::telemetry::DropLabels;

/// Who opens connected sockets. The tests have their own.
pub(in crate::dial) trait Wire: Send + Sync {
    type Socket: Leg;

    fn open(&self, to: SocketAddr) -> io::Result<Self::Socket>;
}

/// A connected socket.
pub(in crate::dial) trait Leg: Send + Sync {
    fn send(&self, datagram: &[u8]) -> io::Result<()>;

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>;

    fn local_ip(&self) -> io::Result<IpAddr>;
}

/// The system's UDP.
pub(in crate::dial) struct System(pub(super) Ways);

/// A socket of the system, and the wait for its errors.
pub(in crate::dial) struct Socket {
    pub(super) udp: Arc<UdpSocket>,
    broken: Mutex<Option<Broken>>,
}

/// Ends when the socket has an error.
type Broken = Pin<Box<dyn Future<Output = io::Result<Ready>> + Send>>;

impl Wire for System {
    type Socket = Socket;

    fn open(&self, to: SocketAddr) -> io::Result<Socket> {
        Ok(Socket {
            udp: Arc::new(UdpSocket::from_std(self.0.connect_udp(to)?)?),
            broken: Mutex::default(),
        })
    }
}

impl Leg for Socket {
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        send_now(&self.udp, datagram).map(drop)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(received) = self.udp.poll_recv(context, buffer) {
            return Poll::Ready(received);
        }
        self.poll_error(context).map(Err)
    }

    fn local_ip(&self) -> io::Result<IpAddr> {
        Ok(self.udp.local_addr()?.ip())
    }
}

impl Socket {
    /// That a port is closed is told as an error of the socket, with nothing to read, and nobody is woken for it who
    /// waits to read.
    fn poll_error(&self, context: &mut Context<'_>) -> Poll<io::Error> {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let waiting = broken.get_or_insert_with(|| {
                let udp = Arc::clone(&self.udp);
                Box::pin(async move { udp.ready(Interest::ERROR).await })
            });
            let ready = ready!(waiting.as_mut().poll(context));
            *broken = None;
            let taken = ready.and_then(|_| {
                self.udp.try_io(Interest::ERROR, || {
                    // Without an error the readiness is taken back.
                    let error = self.udp.take_error()?;
                    Err::<(), _>(error.unwrap_or_else(|| io::ErrorKind::WouldBlock.into()))
                })
            });
            match taken {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(error),
            }
        }
    }
}

/// The next datagram, or the error that ends the flow.
pub(super) async fn received(socket: &impl Leg, buffer: &mut [u8]) -> io::Result<usize> {
    poll_fn(|context| poll_received(socket, context, buffer)).await
}

pub(super) fn poll_received(
    socket: &impl Leg,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        let mut read = ReadBuf::new(buffer);
        return match socket.poll_recv(context, &mut read) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(read.filled().len())),
            // Not the end: such an error is about one datagram that was sent.
            Poll::Ready(Err(error)) if is_about_a_datagram(&error) => continue,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
    }
}

/// What sending came to: a datagram that is dropped is no failure.
pub(super) fn sent(rules: &Rules, outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if is_about_a_datagram(&error) => {
            let too_long = error.raw_os_error() == Some(Errno::EMSGSIZE as i32);
            dropped(rules, if too_long { "too-long" } else { "busy" });
            Ok(())
        }
        outcome => outcome,
    }
}

pub(super) fn dropped(rules: &Rules, reason: &'static str) {
    rules
        .metrics
        .udp_dropped
        .get_or_create(&DropLabels { reason })
        .inc();
}

/// Too long for the path, or no room in the kernel: the next one may do better.
fn is_about_a_datagram(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMSGSIZE | Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR)
    )
}
