//! The connection to an origin as hyper sees it: answers are screened before hyper reads them, and what an origin has
//! said is read even where it takes nothing any more. Called by `pool`.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::screen::Screen;
use super::sieve::Sieve;

/// What answers of an origin are held against.
#[derive(Clone, Debug)]
pub(super) struct Answers(Arc<Mutex<Screen>>);

impl Answers {
    /// A request is sent, with HEAD or another method.
    pub(super) fn expect(&self, head: bool) {
        // Every change is complete before anything can panic.
        let mut screen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        screen.ask(head);
    }
}

/// The connection, which hyper owns.
#[derive(Debug)]
pub(super) struct OriginWire {
    stream: TcpStream,
    sieve: Sieve,
    answers: Answers,
}

impl OriginWire {
    /// A connection whose answers have heads of at most so many bytes.
    pub(super) fn new(stream: TcpStream, header_bytes: usize) -> (Self, Answers) {
        let screen = Screen::responses(header_bytes);
        let answers = Answers(Arc::new(Mutex::new(screen)));
        let wire = Self {
            stream,
            sieve: Sieve::default(),
            answers: answers.clone(),
        };
        (wire, answers)
    }

    /// The socket, and what came from it, of which hyper has used everything but `read`.
    pub(super) fn take_apart(self, read: Bytes) -> (TcpStream, Bytes) {
        (self.stream, self.sieve.left(read))
    }
}

impl AsyncRead for OriginWire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            stream,
            sieve,
            answers: Answers(screen),
        } = self.get_mut();
        let read = sieve.poll_read(cx, stream, buffer, |bytes| {
            let mut screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
            screen.look(bytes)
        });
        Poll::Ready(
            ready!(read)?.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault)),
        )
    }
}

impl AsyncWrite for OriginWire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes);
        Poll::Ready(thrown_away(ready!(written), bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.stream).shutdown(Shutdown::Write))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices);
        let length = slices.iter().map(|slice| slice.len()).sum();
        Poll::Ready(thrown_away(ready!(written), length))
    }
}

/// An origin that refuses a long body answers, and breaks the connection (RFC 9112 section 9.6). hyper would give up
/// with the first byte that is not taken; the answer stands in the kernel all the same, and so does the end behind it.
fn thrown_away(written: io::Result<usize>, length: usize) -> io::Result<usize> {
    match written {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) =>
        {
            Ok(length)
        }
        written => written,
    }
}
