//! The connection of a client as hyper sees it. We keep an eye on it while hyper does not read, and hyper says nothing
//! on it before there was a request: what it does not understand is answered by us, in words.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The first byte of a TLS connection (RFC 8446 section 5.1, a record of the type handshake).
const TLS_HANDSHAKE: u8 = 22;

/// The connection, which hyper owns and others may look at.
#[derive(Debug)]
pub(super) struct Wire(pub(super) Arc<Watched>);

/// A connection with what is known of its beginning.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    /// The first byte that the client sent.
    first: OnceLock<u8>,
    /// Whether there was a request.
    asked: AtomicBool,
}

impl Watched {
    pub(super) fn new(stream: TcpStream) -> Arc<Self> {
        Arc::new(Self {
            stream,
            first: OnceLock::new(),
            asked: AtomicBool::new(false),
        })
    }

    /// There is a request: from now on hyper may speak.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether the client said anything at all.
    pub(super) fn heard(&self) -> bool {
        self.first.get().is_some()
    }

    /// Whether the client took us for a TLS server.
    pub(super) fn is_tls(&self) -> bool {
        self.first.get() == Some(&TLS_HANDSHAKE)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let watched = &self.0;
        loop {
            ready!(watched.stream.poll_read_ready(cx))?;
            let before = buffer.filled().len();
            match watched.stream.try_read_buf(buffer) {
                Ok(_) => {
                    if !watched.heard()
                        && let Some(first) = buffer.filled().get(before)
                    {
                        watched.first.get_or_init(|| *first);
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Wire {
    fn write(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.stream.poll_write_ready(cx))?;
            match write(&self.0.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.0.asked() {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.write(cx, |stream| stream.try_write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.0.asked() {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(SockRef::from(&self.0.stream).shutdown(Shutdown::Write))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.0.asked() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        self.write(cx, |stream| stream.try_write_vectored(slices))
    }
}
