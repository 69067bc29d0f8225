//! Looking at what a client says before it goes on, for protocols in which one connection may ask for several origins.
//!
//! Only copied bytes can be looked at: a direction that is watched is not spliced while it is.

use std::borrow::Cow;
use std::fmt;

use tokio::net::TcpStream;

/// Who knows the protocol.
pub trait Watch: Send + fmt::Debug {
    /// Looks at what the client says next. What is not good comes again, with more behind it.
    fn look(&mut self, said: &[u8]) -> Look;

    /// Whether it has to know what the origin answers now.
    fn listens(&self) -> bool;

    /// What the origin says while it is listened to. All of it goes on.
    fn hear(&mut self, said: &[u8]);
}

/// What may be done with the bytes of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// So many of them go on to the origin.
    pub good: usize,
    /// What is to be done with the others.
    pub then: Then,
}

/// What comes behind the good bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Something that is not whole: it waits for more.
    Wait,
    /// Something for another origin.
    Turn,
    /// Nothing that has to be looked at ever again: everything goes on.
    Free,
}

/// A session that is watched.
#[derive(Debug)]
pub struct Watched {
    watch: Box<dyn Watch>,
    /// What does not go on yet, or not at all.
    held: Vec<u8>,
    free: bool,
    turned: bool,
    /// The origin ended its stream before, and so the client's is ended too.
    too_late: bool,
}

/// What is left when a client has turned to another origin.
#[derive(Debug)]
pub struct Turned {
    /// Its connection, which is open both ways.
    pub client: TcpStream,
    /// What it has said already.
    pub said: Vec<u8>,
}

impl Watched {
    /// Watches a session of which nothing was said.
    pub fn new(watch: impl Watch + 'static) -> Self {
        Self {
            watch: Box::new(watch),
            held: Vec::new(),
            free: false,
            turned: false,
            too_late: false,
        }
    }

    /// What goes on of that which was held back and of that which the client has said now. To be asked no more once
    /// the client has turned.
    pub fn pass<'a>(&mut self, said: &'a [u8]) -> Cow<'a, [u8]> {
        if self.held.is_empty() {
            let (good, rest) = said.split_at(self.look(said));
            self.held.extend_from_slice(rest);
            return Cow::Borrowed(good);
        }
        self.held.extend_from_slice(said);
        let held = std::mem::take(&mut self.held);
        let (good, rest) = held.split_at(self.look(&held));
        self.held.extend_from_slice(rest);
        Cow::Owned(good.to_vec())
    }

    fn look(&mut self, said: &[u8]) -> usize {
        let Look { good, then } = self.watch.look(said);
        match then {
            Then::Wait => {}
            Then::Turn => self.turned = true,
            Then::Free => {
                self.free = true;
                return said.len();
            }
        }
        good.min(said.len())
    }

    /// The client says nothing more: what was held back goes on as it is.
    pub(super) fn end(&mut self) -> Vec<u8> {
        self.free = true;
        std::mem::take(&mut self.held)
    }

    /// Whether nothing has to be looked at any more.
    pub(super) fn is_free(&self) -> bool {
        self.free && self.held.is_empty()
    }

    /// Whether what is held back is for another origin.
    pub(super) fn has_turned(&self) -> bool {
        self.turned
    }

    pub(super) fn listens(&self) -> bool {
        !self.free && self.watch.listens()
    }

    pub(super) fn hear(&mut self, said: &[u8]) {
        self.watch.hear(said);
    }

    pub(super) fn origin_is_done(&mut self) {
        self.too_late = !self.turned;
    }

    /// What the client said to another origin, where it can still be answered.
    pub(super) fn into_said(self) -> Option<Vec<u8>> {
        (self.turned && !self.too_late).then_some(self.held)
    }
}
