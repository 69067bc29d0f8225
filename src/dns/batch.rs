//! Many datagrams in one call of the kernel: `recvmmsg` and `sendmmsg`. Called by `udp`.
//!
//! The room for a batch belongs to the thread, so that idle sockets hold none. nix receives, rustix sends: each says how
//! many only where it is used so.

use std::array;
use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

/// Datagrams of one call.
const BATCH: usize = 64;
/// The longest query that is read, in bytes; of a longer one the rest is lost, so it is malformed.
const LONGEST_QUERY: usize = 4096;
/// How long a full socket may hold up the next batch.
const MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// Waits for datagrams, reads as many as have come and one call takes, and sends what `answer` appends for each; where it
/// appends nothing, nothing is sent. Says how many answers the socket had no room for.
///
/// # Errors
///
/// What the system says where it gave none.
pub(super) fn exchange(
    socket: &UdpSocket,
    answer: impl FnMut(&[u8], SocketAddr, &mut Vec<u8>),
) -> io::Result<usize> {
    thread_local! {
        static IPV4: RefCell<Option<Room<SockaddrIn>>> = const { RefCell::new(None) };
        static IPV6: RefCell<Option<Room<SockaddrIn6>>> = const { RefCell::new(None) };
    }
    // The kernel shortens the room for an address to that of the last one, so each family has its own.
    if socket.local_addr()?.is_ipv4() {
        let exchange = |room: &mut Option<Room<_>>| {
            let room = room.get_or_insert_with(Room::new);
            room.exchange(socket, |from| SocketAddrV4::from(from).into(), answer)
        };
        IPV4.with_borrow_mut(exchange)
    } else {
        let exchange = |room: &mut Option<Room<_>>| {
            let room = room.get_or_insert_with(Room::new);
            room.exchange(socket, |from| SocketAddrV6::from(from).into(), answer)
        };
        IPV6.with_borrow_mut(exchange)
    }
}

/// The room for one batch.
struct Room<S> {
    packets: Vec<[u8; LONGEST_QUERY]>,
    headers: MultiHeaders<S>,
    /// Answers one after another, where each ends, and to whom it goes.
    out: Vec<u8>,
    answers: Vec<(usize, SocketAddr)>,
}

impl<S: SockaddrLike + Copy> Room<S> {
    fn new() -> Self {
        Self {
            packets: vec![[0; LONGEST_QUERY]; BATCH],
            headers: MultiHeaders::preallocate(BATCH, None),
            out: Vec::new(),
            answers: Vec::with_capacity(BATCH),
        }
    }

    fn exchange(
        &mut self,
        socket: &UdpSocket,
        address: impl Fn(S) -> SocketAddr,
        mut answer: impl FnMut(&[u8], SocketAddr, &mut Vec<u8>),
    ) -> io::Result<usize> {
        let Self {
            packets,
            headers,
            out,
            answers,
        } = self;
        out.clear();
        answers.clear();
        let mut packets: Vec<_> = packets
            .iter_mut()
            .map(|packet| [IoSliceMut::new(packet)])
            .collect();
        let received = recvmmsg(
            socket.as_raw_fd(),
            headers,
            packets.iter_mut(),
            MsgFlags::MSG_WAITFORONE,
            None,
        )?;
        for datagram in received {
            let Some(client) = datagram.address.map(&address) else {
                continue;
            };
            let packet = datagram.iovs().next().unwrap_or_default();
            let begin = out.len();
            answer(packet, client, out);
            if out.len() > begin {
                answers.push((out.len(), client));
            }
        }
        Ok(send(socket, out, answers))
    }
}

/// Sends answers, one after another in `out` up to where each ends. One that cannot be sent at all holds up no other. Says
/// how many the socket had no room for, also after a moment.
pub(super) fn send(socket: &UdpSocket, out: &[u8], answers: &[(usize, SocketAddr)]) -> usize {
    if answers.is_empty() {
        return 0;
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
