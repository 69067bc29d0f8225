//! Carrying inside the kernel: socket, pipe, socket, by splice(2), without the bytes passing through our memory.

use std::io;

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;

use super::direction::{Direction, Fault, Step};
use super::pipes::Lent;

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// Fills the pipe once and empties it: an empty pipe is the reason why "try again" can only mean the socket.
pub(super) async fn step(direction: &Direction<'_>, pipe: &mut Lent<'_>) -> Result<Step, Fault> {
    let filled = match fill(direction, pipe) {
        Ok(0) => return Ok(Step::End),
        Ok(length) => length,
        Err(error) => {
            return match Errno::from_io_error(&error) {
                Some(Errno::AGAIN | Errno::INTR) => Ok(Step::Dry),
                Some(Errno::INVAL | Errno::NOSYS) => Ok(Step::Unsupported),
                _ if error.kind() == io::ErrorKind::WouldBlock => Ok(Step::Dry),
                _ => Err(direction.read_fault(error)),
            };
        }
    };
    pipe.held = filled;
    while pipe.held > 0 {
        match empty(direction, pipe) {
            Ok(0) => return Err(direction.write_fault(io::ErrorKind::WriteZero.into())),
            Ok(length) => {
                pipe.held = pipe.held.saturating_sub(length);
                direction.count(length);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => direction.writable().await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(direction.write_fault(error)),
        }
    }
    Ok(Step::Moved(filled))
}

fn fill(direction: &Direction<'_>, pipe: &Lent<'_>) -> io::Result<usize> {
    let Some((end, _, room)) = pipe.ends() else {
        return Err(Errno::INVAL.into());
    };
    direction.from.try_io(Interest::READABLE, || {
        Ok(splice(direction.from, None, end, None, room, FLAGS)?)
    })
}

fn empty(direction: &Direction<'_>, pipe: &Lent<'_>) -> io::Result<usize> {
    let Some((_, end, _)) = pipe.ends() else {
        return Ok(0);
    };
    direction.to.try_io(Interest::WRITABLE, || {
        Ok(splice(end, None, direction.to, None, pipe.held, FLAGS)?)
    })
}
