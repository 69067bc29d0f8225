//! Carrying inside the kernel: socket, pipe, socket, by splice(2), without the bytes passing through our memory.

use std::io;

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;

use super::direction::{Ends, Fault};
use super::pipes::Lent;

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// What came into the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spliced {
    /// So many bytes; there may be more.
    Bytes(usize),
    /// The sender has said nothing more yet.
    Nothing,
    /// The sender has ended its stream.
    End,
    /// The kernel cannot splice this.
    Unsupported,
}

/// Fills an empty pipe once: that it is empty is the reason why "try again" can only mean the socket.
pub(super) fn fill(ends: &Ends<'_>, pipe: &mut Lent<'_>) -> Result<Spliced, Fault> {
    let Some((end, _, room)) = pipe.ends() else {
        return Ok(Spliced::Unsupported);
    };
    let filled = ends.from.try_io(Interest::READABLE, || {
        Ok(splice(ends.from, None, end, None, room, FLAGS)?)
    });
    match filled {
        Ok(0) => Ok(Spliced::End),
        Ok(length) => {
            pipe.held = length;
            Ok(Spliced::Bytes(length))
        }
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::INTR) => Ok(Spliced::Nothing),
            Some(Errno::INVAL | Errno::NOSYS) => Ok(Spliced::Unsupported),
            _ if error.kind() == io::ErrorKind::WouldBlock => Ok(Spliced::Nothing),
            _ => Err(ends.read_fault(error)),
        },
    }
}

/// Empties the pipe until the other side takes no more; whether it is empty.
pub(super) fn empty(ends: &Ends<'_>, pipe: &mut Lent<'_>) -> Result<bool, Fault> {
    while pipe.held > 0 {
        let Some((_, end, _)) = pipe.ends() else {
            break;
        };
        let held = pipe.held;
        let emptied = ends.to.try_io(Interest::WRITABLE, || {
            Ok(splice(end, None, ends.to, None, held, FLAGS)?)
        });
        match emptied {
            Ok(0) => return Err(ends.write_fault(io::ErrorKind::WriteZero.into())),
            Ok(length) => {
                pipe.held = pipe.held.saturating_sub(length);
                ends.count(length);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ends.write_fault(error)),
        }
    }
    Ok(true)
}
