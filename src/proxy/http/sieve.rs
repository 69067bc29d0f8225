//! What hyper reads of a connection: only what the screen has passed. The head of a message is held back until it is
//! whole, so that hyper never sees a part of one that is refused. Called by `wire` and `origin`.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::super::screen::{Fault, Seen};
use crate::net::read_once;

/// Room for more of a head that did not come at once, in bytes.
const ROOM: usize = 4_096;

/// The bytes between a socket and hyper.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    /// First what hyper has not taken yet, then a head that is not whole.
    held: BytesMut,
    /// How many of them hyper may take.
    good: usize,
    fault: Option<Fault>,
}

impl Sieve {
    /// Reads what `look` finds good; the fault once everything before it was read.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        stream: &TcpStream,
        buffer: &mut ReadBuf<'_>,
        look: impl Fn(&[u8]) -> Seen,
    ) -> Poll<io::Result<Result<(), Fault>>> {
        loop {
            if self.good > 0 {
                self.hand_on(buffer);
                return Poll::Ready(Ok(Ok(())));
            }
            if let Some(fault) = self.fault {
                return Poll::Ready(Ok(Err(fault)));
            }
            ready!(stream.poll_read_ready(cx))?;
            let read = if self.held.is_empty() {
                self.read_through(stream, buffer, &look)
            } else {
                self.read_more(stream, &look)
            };
            match read {
                Ok(true) => return Poll::Ready(Ok(Ok(()))),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Lets hyper read this, and nothing more of the connection.
    pub(super) fn say(&mut self, words: &[u8]) {
        self.held = BytesMut::from(words);
        self.good = words.len();
    }

    /// What was good and not taken, after what hyper has taken and not used.
    pub(super) fn left(mut self, read: Bytes) -> Bytes {
        self.held.truncate(self.good);
        if self.held.is_empty() {
            return read;
        }
        let mut all = BytesMut::from(read);
        all.extend_from_slice(&self.held);
        all.freeze()
    }

    /// What is good, as far as there is room.
    pub(super) fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let taken = self.good.min(buffer.remaining());
        buffer.put_slice(self.held.get(..taken).unwrap_or_default());
        self.held.advance(taken);
        self.good -= taken;
        if self.held.is_empty() {
            // The connection may rest for long, and needs no room for that.
            self.held = BytesMut::new();
        }
    }

    /// Reads where hyper wants it: most heads come whole. Whether there is something for hyper, be it the end.
    fn read_through(
        &mut self,
        stream: &TcpStream,
        buffer: &mut ReadBuf<'_>,
        look: impl Fn(&[u8]) -> Seen,
    ) -> io::Result<bool> {
        let before = buffer.filled().len();
        if read(stream, buffer)? == 0 {
            return Ok(true);
        }
        let new = buffer.filled().get(before..).unwrap_or_default();
        let seen = look(new);
        self.fault = seen.fault;
        if seen.fault.is_none() {
            let rest = new.get(seen.good..).unwrap_or_default();
            self.held.extend_from_slice(rest);
        }
        buffer.set_filled(before + seen.good);
        Ok(seen.good > 0)
    }

    /// Reads more of a head that was not whole. Whether this was the end.
    fn read_more(&mut self, stream: &TcpStream, look: impl Fn(&[u8]) -> Seen) -> io::Result<bool> {
        self.held.reserve(ROOM);
        if read(stream, &mut self.held)? == 0 {
            return Ok(true);
        }
        let seen = look(&self.held);
        self.good = seen.good;
        self.fault = seen.fault;
        if seen.fault.is_some() {
            self.held.truncate(seen.good);
        }
        Ok(false)
    }
}

fn read(stream: &TcpStream, into: &mut impl BufMut) -> io::Result<usize> {
    let room = into.chunk_mut().len();
    read_once(stream, room, || stream.try_read_buf(into))
}

/// The fault that an error of hyper comes from.
pub(super) fn fault(error: &(dyn std::error::Error + 'static)) -> Option<Fault> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let found = match inner {
            Some(inner) => inner.downcast_ref::<Fault>(),
            None => error.downcast_ref::<Fault>(),
        };
        if let Some(fault) = found {
            return Some(*fault);
        }
        next = match inner {
            Some(inner) => inner.source(),
            None => error.source(),
        };
    }
    None
}
