//! Many datagrams in one call of the kernel: `recvmmsg` and `sendmmsg`. Used by the listeners of DNS and by the sockets that
//! upstreams are asked on.
//!
//! nix receives, rustix sends: each says how many only where it is used so.

use std::array;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg, sendto};

/// Datagrams of one call.
const BATCH: usize = 64;
/// Datagrams of a call where they come alone.
const FEW: usize = 4;
/// The longest datagram that is read, in bytes; of a longer one the rest is lost.
pub const LONGEST_DATAGRAM: usize = 4096;
/// How long a full socket may hold up the next batch.
const MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// Reads from one bound socket and answers.
#[derive(Debug)]
pub struct Batches {
    senders: Senders,
    /// Answers one after another, where each ends, and to whom it goes.
    out: Vec<u8>,
    answers: Vec<(usize, SocketAddr)>,
}

/// The kernel shortens the room for an address to that of the last one, so a room is for one family.
#[derive(Debug)]
enum Senders {
    V4(Room<SockaddrIn>),
    V6(Room<SockaddrIn6>),
}

impl Batches {
    /// For this socket and no other.
    ///
    /// # Errors
    ///
    /// What the system says where it does not know the socket's address.
    pub fn new(socket: &UdpSocket) -> io::Result<Self> {
        let senders = if socket.local_addr()?.is_ipv4() {
            Senders::V4(Room::new())
        } else {
            Senders::V6(Room::new())
        };
        Ok(Self {
            senders,
            out: Vec::new(),
            answers: Vec::with_capacity(BATCH),
        })
    }

    /// Waits for datagrams, reads as many as have come and one call takes, and sends what `answer` appends for each; where
    /// it appends nothing, nothing is sent. Says how many answers the socket had no room for.
    ///
    /// # Errors
    ///
    /// What the system says where it gave none.
    pub fn exchange(
        &mut self,
        socket: &UdpSocket,
        mut answer: impl FnMut(&[u8], SocketAddr, &mut Vec<u8>),
    ) -> io::Result<usize> {
        let Self {
            senders,
            out,
            answers,
        } = self;
        out.clear();
        answers.clear();
        let mut each = |packet: &[u8], client: SocketAddr| {
            let begin = out.len();
            answer(packet, client, out);
            if out.len() > begin {
                answers.push((out.len(), client));
            }
        };
        let wait = MsgFlags::MSG_WAITFORONE;
        match senders {
            Senders::V4(room) => room.receive(socket, wait, |packet, from| {
                if let Some(from) = from {
                    each(packet, SocketAddrV4::from(from).into());
                }
            }),
            Senders::V6(room) => room.receive(socket, wait, |packet, from| {
                if let Some(from) = from {
                    each(packet, SocketAddrV6::from(from).into());
                }
            }),
        }?;
        Ok(send(socket, out, answers))
    }
}

/// Reads as many datagrams as have come on a connected socket and one call takes, without waiting. Says whether there may be
/// more.
///
/// # Errors
///
/// What the system says where it gave none, `WouldBlock` included.
pub fn receive(socket: &impl AsRawFd, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
    thread_local! {
        static ROOM: RefCell<Option<Room<()>>> = const { RefCell::new(None) };
    }
    ROOM.with_borrow_mut(|room| {
        let room = room.get_or_insert_with(Room::new);
        let received = room.receive(socket, MsgFlags::MSG_DONTWAIT, |packet, _| each(packet));
        received.map(|(_, full)| full)
    })
}

/// The room for one batch.
struct Room<S> {
    packets: Vec<[u8; LONGEST_DATAGRAM]>,
    headers: MultiHeaders<S>,
    /// How many datagrams the next call takes: what is made ready for each costs more than the call itself where they come
    /// alone.
    width: usize,
}

impl<S: SockaddrLike + Copy> Room<S> {
    fn new() -> Self {
        Self {
            packets: vec![[0; LONGEST_DATAGRAM]; BATCH],
            headers: MultiHeaders::preallocate(BATCH, None),
            width: FEW,
        }
    }

    /// Says how many came, and whether there may be more.
    fn receive(
        &mut self,
        socket: &impl AsRawFd,
        flags: MsgFlags,
        mut each: impl FnMut(&[u8], Option<S>),
    ) -> io::Result<(usize, bool)> {
        let mut packets: Vec<_> = self
            .packets
            .iter_mut()
            .take(self.width)
            .map(|packet| [IoSliceMut::new(packet)])
            .collect();
        let received = recvmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            packets.iter_mut(),
            flags,
            None,
        )?;
        let mut count = 0;
        for datagram in received {
            count += 1;
            each(datagram.iovs().next().unwrap_or_default(), datagram.address);
        }
        let full = count == self.width;
        self.width = if full {
            BATCH
        } else {
            FEW.max(2 * count).min(BATCH)
        };
        Ok((count, full))
    }
}

impl<S> fmt::Debug for Room<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

/// Sends answers, one after another in `out` up to where each ends. One that cannot be sent at all holds up no other. Says
/// how many the socket had no room for, also after a moment.
pub fn send(socket: &UdpSocket, out: &[u8], answers: &[(usize, SocketAddr)]) -> usize {
    match answers {
        [] => return 0,
        [(_, client)] if sendto(socket, out, SendFlags::DONTWAIT, client).is_ok() => return 0,
        _ => {}
    }
    let mut begin = 0;
    let messages: Vec<([IoSlice<'_>; 1], SocketAddrAny)> = answers
        .iter()
        .map(|(end, client)| {
            let answer = out.get(begin..*end).unwrap_or_default();
            begin = *end;
            ([IoSlice::new(answer)], client.as_any())
        })
        .collect();
    let mut sent = 0;
    let mut waited = false;
    while let Some(rest) = messages.get(sent..).filter(|rest| !rest.is_empty()) {
        let mut controls: [_; BATCH] = array::from_fn(|_| SendAncillaryBuffer::default());
        let mut headers: Vec<MMsgHdr<'_>> = rest
            .iter()
            .zip(&mut controls)
            .map(|((answer, client), control)| MMsgHdr::new_with_addr(client, answer, control))
            .collect();
        match sendmmsg(socket, &mut headers, SendFlags::DONTWAIT) {
            Ok(count) if count > 0 => sent += count,
            Err(Errno::INTR) => {}
            Ok(_) | Err(Errno::AGAIN) if !waited => {
                waited = true;
                let mut room = [PollFd::new(socket, PollFlags::OUT)];
                // What it says does not matter: the next try does.
                let _ready: Result<usize, Errno> = poll(&mut room, Some(&MOMENT));
            }
            Ok(_) | Err(Errno::AGAIN) => return rest.len(),
            // It is the first one's fault: from port 0, for example, or to where there is no way.
            Err(error) => {
                tracing::debug!(%error, "could not send an answer");
                sent += 1;
            }
        }
    }
    0
}

/// Sends messages on a connected socket, as many as it takes at once, and says how many those were.
///
/// # Errors
///
/// What the system says where it took none.
pub fn send_connected(socket: &impl AsFd, messages: &[&[u8]]) -> io::Result<usize> {
    let slices: Vec<[IoSlice<'_>; 1]> = messages
        .iter()
        .map(|message| [IoSlice::new(message)])
        .collect();
    let mut sent = 0;
    while let Some(rest) = slices.get(sent..).filter(|rest| !rest.is_empty()) {
        let mut controls: [_; BATCH] = array::from_fn(|_| SendAncillaryBuffer::default());
        let mut headers: Vec<MMsgHdr<'_>> = rest
            .iter()
            .zip(&mut controls)
            .map(|(message, control)| MMsgHdr::new(message, control))
            .collect();
        match sendmmsg(socket, &mut headers, SendFlags::DONTWAIT) {
            Ok(count) if count > 0 => sent += count,
            Err(Errno::INTR) => {}
            Ok(_) => break,
            Err(error) if sent == 0 => return Err(error.into()),
            Err(_) => break,
        }
    }
    Ok(sent)
}
