//! The pool of pipes that all sessions share. A session holds a pipe only while bytes are moving.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// Room in a pipe for a flow that has proven big.
pub(super) const BULK_ROOM: usize = 256 * 1024;

/// Room in a pipe for a flow that has proven huge: a quarter of the system calls, and of the times it waits for its turn.
pub(super) const HUGE_ROOM: usize = 1024 * 1024;

/// Pipes with that room at once. With them, [`MOST_PIPES`] are 64 MiB, which is what Linux lets one user have
/// (`pipe-user-pages-soft`); beyond it the kernel refuses to make a pipe bigger, and makes new ones small.
const MOST_HUGE: usize = 16;

/// Pipes open at once. A direction that finds none left copies on.
pub(super) const MOST_PIPES: usize = 208;

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
    /// Those of them that were made huge.
    huge: usize,
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    room: usize,
    /// The room that was asked for: what the kernel did not give is not asked for twice.
    asked: usize,
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

    /// An empty pipe; with `room` where the kernel allows. `None` at the bound or without descriptors.
    pub(super) fn lend(&self, room: usize) -> Option<Lent<'_>> {
        let mut pipe = self.free_or_new(room)?;
        let room = if room > BULK_ROOM && pipe.asked <= BULK_ROOM && !self.may_be_huge() {
            BULK_ROOM
        } else {
            room
        };
        if room > pipe.asked {
            pipe.asked = room;
            if let Ok(room) = fcntl_setpipe_size(&pipe.write, room) {
                pipe.room = room;
            }
        }
        Some(Lent {
            pool: self,
            pipe: Some(pipe),
            held: 0,
        })
    }

    fn may_be_huge(&self) -> bool {
        let mut state = self.state();
        let may = state.huge < MOST_HUGE;
        state.huge += usize::from(may);
        may
    }

    fn free_or_new(&self, room: usize) -> Option<Pipe> {
        {
            let mut state = self.state();
            // The big ones are left to those that need them.
            let distance = |pipe: &Pipe| pipe.asked.abs_diff(room);
            let mut free = state.free.iter().enumerate().rev();
            let nearest = free
                .find(|(_, pipe)| distance(pipe) == 0)
                .or_else(|| {
                    let free = state.free.iter().enumerate();
                    free.min_by_key(|(_, pipe)| distance(pipe))
                })
                .map(|(place, _)| place);
            if let Some(place) = nearest {
                return Some(state.free.swap_remove(place));
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
            state.huge -= usize::from(pipe.asked > BULK_ROOM);
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
            asked: 0,
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
        let first = pool.lend(0).unwrap();
        let second = pool.lend(BULK_ROOM).unwrap();
        assert!(pool.lend(0).is_none());
        drop(first);
        assert_eq!(pool.count(), (2, 1));
        let third = pool.lend(0).unwrap();
        assert_eq!(pool.count(), (2, 0));
        drop((second, third));
        assert_eq!(pool.count(), (2, 2));
    }

    #[test]
    fn a_pipe_with_bytes_in_it_is_closed() {
        let pool = Pipes::new(1);
        let mut lent = pool.lend(0).unwrap();
        lent.held = 1;
        drop(lent);
        assert_eq!(pool.count(), (0, 0));
        assert!(pool.lend(0).is_some());
    }

    #[test]
    fn few_pipes_are_huge_and_those_who_need_it_get_them() {
        let pool = Pipes::new(MOST_PIPES);
        let huge: Vec<_> = (0..MOST_HUGE + 1)
            .map(|_| pool.lend(HUGE_ROOM).unwrap())
            .collect();
        let asked = |lent: &Lent<'_>| lent.pipe.as_ref().unwrap().asked;
        assert!(
            huge[..MOST_HUGE]
                .iter()
                .all(|lent| asked(lent) == HUGE_ROOM)
        );
        assert_eq!(asked(&huge[MOST_HUGE]), BULK_ROOM);
        drop(huge);
        assert_eq!(asked(&pool.lend(BULK_ROOM).unwrap()), BULK_ROOM);
        assert_eq!(asked(&pool.lend(HUGE_ROOM).unwrap()), HUGE_ROOM);
        let mut dirty = pool.lend(HUGE_ROOM).unwrap();
        dirty.held = 1;
        drop(dirty);
        assert_eq!(pool.state().huge, MOST_HUGE - 1);
    }

    #[test]
    fn pipes_kept_for_later_are_few() {
        let pool = Pipes::new(KEPT + 10);
        let lent: Vec<_> = (0..KEPT + 10).map(|_| pool.lend(0).unwrap()).collect();
        drop(lent);
        assert_eq!(pool.count(), (KEPT, KEPT));
    }
}
