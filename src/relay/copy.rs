//! Carrying through memory: for the first bytes of a direction, and where there is no pipe.
//!
//! The buffer belongs to the thread, not to the session: a session that waits holds none. What the other side does not
//! take at once is kept in a vector, and nothing more is read before it has been taken.

use std::cell::RefCell;
use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::direction::{Direction, Fault, Step};

/// Bytes per read, and so the most that one direction can have to keep.
const BUFFER: usize = 64 * 1024;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// One read, how long it was, and what of it was not written.
enum Copied {
    Nothing,
    End,
    All(usize),
    Rest(usize, Vec<u8>),
}

/// Reads once and writes all of it.
pub(super) async fn step(direction: &Direction<'_>) -> Result<Step, Fault> {
    match read_and_write(direction)? {
        Copied::Nothing => Ok(Step::Dry),
        Copied::End => Ok(Step::End),
        Copied::All(length) => Ok(Step::Moved(length)),
        Copied::Rest(length, rest) => {
            write_rest(direction, rest).await?;
            Ok(Step::Moved(length))
        }
    }
}

fn read_and_write(direction: &Direction<'_>) -> Result<Copied, Fault> {
    SHARED.with_borrow_mut(|buffer| {
        let length = match read(direction.from, buffer) {
            Ok(0) => return Ok(Copied::End),
            Ok(length) => length,
            Err(error) if again(&error) => return Ok(Copied::Nothing),
            Err(error) => return Err(direction.read_fault(error)),
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        let rest = write(direction, bytes)?;
        Ok(if rest.is_empty() {
            Copied::All(length)
        } else {
            Copied::Rest(length, rest.to_vec())
        })
    })
}

/// Reads once. A read that leaves room has emptied the socket: the runtime is told, which saves the call that would
/// only say "try again".
fn read(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let room = buffer.len();
    let mut got = None;
    let told = from.try_io(Interest::READABLE, || {
        let (length, _) = recv(from, &mut *buffer, RecvFlags::empty())?;
        got = Some(length);
        if (1..room).contains(&length) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(length)
    });
    got.map_or(told, Ok)
}

async fn write_rest(direction: &Direction<'_>, bytes: Vec<u8>) -> Result<(), Fault> {
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        direction.writable().await?;
        rest = write(direction, rest)?;
    }
    Ok(())
}

/// Writes until the other side takes no more; the bytes it did not take.
fn write<'a>(direction: &Direction<'_>, mut bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
    while !bytes.is_empty() {
        match TcpStream::try_write(direction.to, bytes) {
            Ok(0) => return Err(direction.write_fault(io::ErrorKind::WriteZero.into())),
            Ok(length) => {
                direction.count(length);
                bytes = bytes.get(length..).unwrap_or_default();
            }
            Err(error) if again(&error) => break,
            Err(error) => return Err(direction.write_fault(error)),
        }
    }
    Ok(bytes)
}

fn again(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
