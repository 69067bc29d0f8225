//! PURE. The first flight of a client: what it has sent before anybody replied, and every candidate is to get.

use std::collections::VecDeque;

/// How many datagrams of the first flight are remembered for the next candidate.
pub const FLIGHT_DATAGRAMS: usize = 16;

/// How many bytes of it: the first flight of a QUIC client with a post-quantum key is two or three datagrams.
pub const FLIGHT_BYTES: usize = 16 * 1024;

/// What the client has sent before anybody replied.
#[derive(Debug, Default)]
pub(super) struct Flight {
    pub(super) datagrams: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl Flight {
    /// Remembers a datagram; `false` where there is no room for it.
    pub(super) fn keep(&mut self, datagram: &[u8]) -> bool {
        let bytes = self.bytes + datagram.len();
        if self.datagrams.len() == FLIGHT_DATAGRAMS || bytes > FLIGHT_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.datagrams.push_back(datagram.into());
        true
    }
}
