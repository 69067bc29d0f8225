//! The connection of a client as hyper sees it: screened, so that hyper reads no request with two meanings. In the place
//! of one it reads another that no client can send, and we answer that one in its turn. hyper says nothing on the
//! connection before there was a request, and what it does not understand is answered by us, in words.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::super::screen::{Fault, Screen};
use super::sieve::Sieve;

/// The first byte of a TLS connection (RFC 8446 section 5.1, a record of the type handshake).
const TLS_HANDSHAKE: u8 = 22;

/// The method that stands for a request that was refused. A client that sends it with a request that was not refused is
/// told about no method; one that has sent a bad request besides is told about that one twice.
pub(super) const REFUSED: &str = "REFUSED";

/// What hyper reads instead of a request that was refused.
const INSTEAD: &[u8] = b"REFUSED * HTTP/1.1\r\n\r\n";

/// How long a client that still sends may do so and say nothing, once it has been told to stop.
const SILENCE: Duration = Duration::from_secs(2);

/// How many times as long it may send.
const LAPS: usize = 15;

/// The connection, which hyper owns and others may look at.
#[derive(Debug)]
pub(super) struct Wire {
    watched: Arc<Watched>,
    sieve: Sieve,
    /// hyper has read its last.
    over: bool,
    lingering: Option<Lingering>,
}

/// Closing while the client still sends would throw away what it was told (RFC 9112 section 9.6).
#[derive(Debug)]
struct Lingering {
    lap: Pin<Box<Sleep>>,
    laps: usize,
    heard: bool,
}

/// A connection with what is known of its beginning.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    /// The first byte that the client sent.
    first: OnceLock<u8>,
    /// Whether there was a request.
    asked: AtomicBool,
    screen: Mutex<Screen>,
    /// Why nothing more is read.
    refused: OnceLock<Fault>,
    interim: Mutex<Between>,
}

/// What is said between the messages that hyper writes.
#[derive(Debug, Default)]
struct Between {
    /// hyper is in the middle of a message.
    busy: bool,
    /// What the socket has not taken yet.
    rest: BytesMut,
}

impl Watched {
    /// A connection whose requests have heads of at most so many bytes.
    pub(super) fn new(stream: TcpStream, header_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            stream,
            first: OnceLock::new(),
            asked: AtomicBool::new(false),
            screen: Mutex::new(Screen::requests(header_bytes)),
            refused: OnceLock::new(),
            interim: Mutex::default(),
        })
    }

    /// What is wrong with the request that [`REFUSED`] stands for.
    pub(super) fn refused(&self) -> Option<Fault> {
        self.refused.get().copied()
    }

    /// The protocol was not switched. Whether the connection can carry another request: nothing came that was meant
    /// for the other protocol, or not.
    pub(super) fn stays_http(&self) -> bool {
        self.screen().stay()
    }

    /// Whether the OPTIONS that is next to be answered names a server and no path on it.
    pub(super) fn asks_of_server(&self) -> bool {
        self.screen().asks_of_server()
    }

    /// Says an interim answer, which hyper has no way to say: to be called while a request is being answered and nothing
    /// was answered yet. A client that does not even read the answer before gets none.
    pub(super) fn say_between(&self, head: &[u8]) {
        let mut between = self.between();
        if between.busy || !between.rest.is_empty() {
            return;
        }
        // What goes wrong here goes wrong for hyper, too.
        let written = self.stream.try_write(head).unwrap_or(0);
        between
            .rest
            .extend_from_slice(head.get(written..).unwrap_or_default());
    }

    fn between(&self) -> MutexGuard<'_, Between> {
        // Every change is complete before anything can panic.
        self.interim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        // Every change is complete before anything can panic.
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
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
        let this = self.get_mut();
        let watched = &this.watched;
        if this.over {
            this.sieve.hand_on(buffer);
            return Poll::Ready(Ok(()));
        }
        let read = this.sieve.poll_read(cx, &watched.stream, buffer, |bytes| {
            if !watched.heard()
                && let Some(first) = bytes.first()
            {
                watched.first.get_or_init(|| *first);
            }
            watched.screen().look(bytes)
        });
        let Err(fault) = ready!(read)? else {
            return Poll::Ready(Ok(()));
        };
        watched.refused.get_or_init(|| fault);
        this.over = true;
        if watched.screen().is_in_body() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
        }
        this.sieve.say(INSTEAD);
        this.sieve.hand_on(buffer);
        Poll::Ready(Ok(()))
    }
}

impl Wire {
    pub(super) fn new(watched: Arc<Watched>) -> Self {
        Self {
            watched,
            sieve: Sieve::default(),
            over: false,
            lingering: None,
        }
    }

    /// The socket, where nobody looks at it, and what came from it, of which hyper has used everything but `read`.
    pub(super) fn take_apart(self, read: Bytes) -> Option<(TcpStream, Bytes)> {
        let watched = Arc::into_inner(self.watched)?;
        Some((watched.stream, self.sieve.left(read)))
    }

    fn write(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let mut between = self.watched.between();
        between.busy = true;
        loop {
            ready!(self.watched.stream.poll_write_ready(cx))?;
            if !between.rest.is_empty() {
                match self.watched.stream.try_write(&between.rest) {
                    Ok(written) => between.rest.advance(written),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
                continue;
            }
            match write(&self.watched.stream) {
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
        if !self.watched.asked() {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.write(cx, |stream| stream.try_write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when it has written everything that it had.
        self.watched.between().busy = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let watched = &this.watched;
        if !watched.asked() {
            return Poll::Ready(Ok(()));
        }
        if this.lingering.is_none() {
            SockRef::from(&watched.stream).shutdown(Shutdown::Write)?;
            if watched.screen().is_whole() {
                return Poll::Ready(Ok(()));
            }
        }
        let lingering = this.lingering.get_or_insert_with(Lingering::begin);
        ready!(lingering.poll(cx, &watched.stream));
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.watched.asked() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        self.write(cx, |stream| stream.try_write_vectored(slices))
    }
}

impl Lingering {
    fn begin() -> Self {
        Self {
            lap: Box::pin(tokio::time::sleep(SILENCE)),
            laps: 0,
            heard: false,
        }
    }

    /// Throws away what comes, until nothing does.
    fn poll(&mut self, cx: &mut Context<'_>, stream: &TcpStream) -> Poll<()> {
        loop {
            if self.lap.as_mut().poll(cx).is_ready() {
                self.laps += 1;
                if !std::mem::take(&mut self.heard) || self.laps >= LAPS {
                    return Poll::Ready(());
                }
                self.lap.set(tokio::time::sleep(SILENCE));
                continue;
            }
            if ready!(stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match stream.try_read(&mut [0; 4_096]) {
                Ok(1..) => self.heard = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}
