//! Carrying through memory: for the first bytes of a direction, and where there is no pipe.
//!
//! The buffer belongs to the thread, not to the session: a session that waits holds none. What the other side does not
//! take at once is kept by the direction, and nothing more is read before it has been taken.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::net::TcpStream;

use super::direction::{Ends, Fault};
use super::watch::Watched;
use crate::net::read_once;
use crate::telemetry::Side;

/// Bytes per read, and so the most that one direction can have to keep.
const BUFFER: usize = 64 * 1024;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// One read, how long it was, and what of it was not written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Copied {
    Nothing,
    End,
    All(usize),
    Rest(usize, Box<[u8]>),
}

/// Reads once, and writes of it what the other side takes at once. Who watches the client decides what goes on of its
/// words, and hears those of the origin.
pub(super) fn read_and_write(
    ends: &Ends<'_>,
    watched: Option<&mut Watched>,
) -> Result<Copied, Fault> {
    SHARED.with_borrow_mut(|buffer| {
        let length = match read(ends.from, buffer) {
            Ok(length) => length,
            Err(error) if again(&error) => return Ok(Copied::Nothing),
            Err(error) => return Err(ends.read_fault(error)),
        };
        let read = buffer.get(..length).unwrap_or_default();
        let bytes = match watched {
            Some(watched) if ends.reader == Side::Client && length == 0 => {
                Cow::Owned(watched.end())
            }
            Some(watched) if ends.reader == Side::Client => watched.pass(read),
            Some(watched) => {
                watched.hear(read);
                Cow::Borrowed(read)
            }
            None => Cow::Borrowed(read),
        };
        if bytes.is_empty() {
            return Ok(match length {
                0 => Copied::End,
                _ => Copied::Nothing,
            });
        }
        let rest = bytes.get(write(ends, &bytes)?..).unwrap_or_default();
        Ok(if rest.is_empty() {
            Copied::All(length)
        } else {
            Copied::Rest(length, rest.into())
        })
    })
}

fn read(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    read_once(from, buffer.len(), || {
        let (length, _) = recv(from, &mut *buffer, RecvFlags::empty())?;
        Ok(length)
    })
}

/// Writes until the other side takes no more; how many bytes it took.
pub(super) fn write(ends: &Ends<'_>, bytes: &[u8]) -> Result<usize, Fault> {
    let mut taken = 0;
    while let Some(rest) = bytes.get(taken..)
        && !rest.is_empty()
    {
        match TcpStream::try_write(ends.to, rest) {
            Ok(0) => return Err(ends.write_fault(io::ErrorKind::WriteZero.into())),
            Ok(length) => {
                ends.count(length);
                taken += length;
            }
            Err(error) if again(&error) => break,
            Err(error) => return Err(ends.write_fault(error)),
        }
    }
    Ok(taken)
}

fn again(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
