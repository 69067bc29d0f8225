//! The pool of pipes that all sessions share. A session holds a pipe only while bytes are moving.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// Room in a pipe for a flow that has proven big. 256 of them are 64 MiB, which is what Linux lets one user have
/// (`pipe-user-pages-soft`); beyond it the kernel refuses, and the pipe stays as it is.
pub(super) const BULK_ROOM: usize = 256 * 1024;

/// Pipes kept for later; beyond it a pipe that comes back is closed, so that a busy hour does not hold descriptors
/// for ever.
const KEPT: usize = 64;

/// Pipes not in use, and how many there are in all.
#[derive(Debug)]
pub(super) struct Pipes {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    free: Vec<Pipe>,
    /// Free ones and lent ones.
    open: usize,
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    room: usize,
    /// Growing was tried: it is not tried twice.
    grown: bool,
}

/// A pipe lent to one direction of one session. It goes back when dropped empty, and is closed when it is not: its
/// bytes must never reach another session.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    pool: &'a Pipes,
    pipe: Option<Pipe>,
    /// Bytes in the pipe; the borrower keeps it right.
    pub(super) held: usize,
}

impl Pipes {
    /// A pool that has at most `most` pipes open.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            state: Mutex::default(),
        }
    }

    /// An empty pipe; with room for `bulk` where the kernel allows. `None` at the bound or without descriptors.
    pub(super) fn lend(&self, bulk: bool) -> Option<Lent<'_>> {
        let mut pipe = self.free_or_new()?;
        if bulk && !pipe.grown {
            pipe.grown = true;
            if let Ok(room) = fcntl_setpipe_size(&pipe.write, BULK_ROOM) {
                pipe.room = room;
            }
        }
        Some(Lent {
            pool: self,
            pipe: Some(pipe),
            held: 0,
        })
    }

    fn free_or_new(&self) -> Option<Pipe> {
        {
            let mut state = self.state();
            if let Some(pipe) = state.free.pop() {
                return Some(pipe);
            }
            if state.open >= self.most {
                return None;
            }
            state.open += 1;
        }
        match Pipe::open() {
            Ok(pipe) => Some(pipe),
            Err(error) => {
                self.state().open -= 1;
                // Counted by the caller; a line per read would add to the trouble.
                tracing::debug!(%error, "could not open a pipe; copying instead");
                None
            }
        }
    }

    fn take_back(&self, pipe: Pipe, held: usize) {
        let mut state = self.state();
        if held == 0 && state.free.len() < KEPT {
            state.free.push(pipe);
        } else {
            state.open -= 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pipes open, and how many of them are free.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        let state = self.state();
        (state.open, state.free.len())
    }
}

impl Pipe {
    fn open() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Less than the usual 64 KiB where this user has many pipes already.
        let room = fcntl_getpipe_size(&write)?;
        Ok(Self {
            read,
            write,
            room,
            grown: false,
        })
    }
}

impl Lent<'_> {
    /// The end to fill, the end to empty, and the bytes that fit.
    pub(super) fn ends(&self) -> Option<(BorrowedFd<'_>, BorrowedFd<'_>, usize)> {
        self.pipe
            .as_ref()
            .map(|pipe| (pipe.write.as_fd(), pipe.read.as_fd(), pipe.room))
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.pool.take_back(pipe, self.held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_does_not_grow_past_its_bound() {
        let pool = Pipes::new(2);
        let first = pool.lend(false).unwrap();
        let second = pool.lend(true).unwrap();
        assert!(pool.lend(false).is_none());
        drop(first);
        assert_eq!(pool.count(), (2, 1));
        let third = pool.lend(false).unwrap();
        assert_eq!(pool.count(), (2, 0));
        drop((second, third));
        assert_eq!(pool.count(), (2, 2));
    }

    #[test]
    fn a_pipe_with_bytes_in_it_is_closed() {
        let pool = Pipes::new(1);
        let mut lent = pool.lend(false).unwrap();
        lent.held = 1;
        drop(lent);
        assert_eq!(pool.count(), (0, 0));
        assert!(pool.lend(false).is_some());
    }

    #[test]
    fn pipes_kept_for_later_are_few() {
        let pool = Pipes::new(KEPT + 10);
        let lent: Vec<_> = (0..KEPT + 10).map(|_| pool.lend(false).unwrap()).collect();
        drop(lent);
        assert_eq!(pool.count(), (KEPT, KEPT));
    }
}
