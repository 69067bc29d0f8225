//! A client that has many questions open on one socket, and knows which of them are answered.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use hickory_proto::op::Message;

use super::PATIENCE;

/// Questions open at most: of four clients they fit the gate's socket, so that nothing has to be lost.
const WINDOW: usize = 32;
/// AA in the third octet, which means nothing in a query and keeps it from being answered from the store.
const AA: u8 = 0x04;

/// A socket, and for each open question what the asker wants to remember.
#[derive(Debug)]
pub(crate) struct Load<T> {
    socket: UdpSocket,
    next_id: u16,
    open: HashMap<u16, T>,
    buffer: Vec<u8>,
}

impl<T> Load<T> {
    /// A socket of 127.0.0.1.
    pub(crate) fn new(gate: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.connect(gate).expect("an address");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            socket,
            next_id: 0,
            open: HashMap::new(),
            buffer: vec![0; 4096],
        }
    }

    /// How many questions are open.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether one more may be.
    pub(crate) fn has_room(&self) -> bool {
        self.open.len() < WINDOW
    }

    /// Asks; the ID is another each time.
    pub(crate) fn ask(&mut self, packet: &[u8], note: T) {
        let mut packet = packet.to_vec();
        self.next_id = self.next_id.wrapping_add(1);
        *packet.first_chunk_mut().expect("a header") = self.next_id.to_be_bytes();
        self.open.insert(self.next_id, note);
        self.socket.send(&packet).expect("sent");
    }

    /// The next answer, and what was remembered of its question; `None` where no more come: the open ones are lost.
    pub(crate) fn answer(&mut self) -> Option<(T, Message)> {
        loop {
            let length = self.socket.recv(&mut self.buffer).ok()?;
            let packet = self.buffer.get(..length).expect("what was read");
            let answer = Message::from_vec(packet).expect("an answer that parses");
            // What answers nothing that is open is not counted as an answer.
            if let Some(note) = self.open.remove(&answer.metadata.id) {
                return Some((note, answer));
            }
        }
    }
}

/// The same question, which goes the long way.
pub(crate) fn the_long_way(mut packet: Vec<u8>) -> Vec<u8> {
    *packet.get_mut(2).expect("a header") |= AA;
    packet
}
