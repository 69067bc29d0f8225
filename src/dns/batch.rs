//! Many datagrams in one call of the kernel: `recvmmsg` and `sendmmsg`. Called by `udp`.
//!
//! The room for a batch belongs to the thread, so that idle sockets hold none. nix receives, rustix sends: each says how
//! many only where it is used so.

use std::array;
use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use tokio::net::UdpSocket;

/// Datagrams of one call.
const BATCH: usize = 64;
/// The longest query that is read, in bytes; of a longer one the rest is lost, so it is malformed.
const LONGEST_QUERY: usize = 4096;

/// Answers that the socket had no room for.
#[derive(Debug, Default)]
pub(super) struct Unsent(Vec<(Vec<u8>, SocketAddr)>);

impl Unsent {
    /// Sends them when there is room.
    pub(super) async fn send(self, socket: &UdpSocket) {
        for (answer, client) in self.0 {
            if let Err(error) = socket.send_to(&answer, client).await {
                tracing::debug!(%client, %error, "could not send an answer");
            }
        }
    }
}

/// What was read.
#[derive(Debug)]
pub(super) struct Exchanged {
    /// Whether there may be more.
    pub(super) full: bool,
    /// What has to wait.
    pub(super) unsent: Unsent,
}

/// Reads the datagrams that have come, as many as one call takes, and sends what `answer` appends for each; where it
/// appends nothing, nothing is sent.
///
/// # Errors
///
/// What the system says where it gave none, `WouldBlock` included.
pub(super) fn exchange(
    socket: &UdpSocket,
    answer: impl FnMut(&[u8], SocketAddr, &mut Vec<u8>),
) -> io::Result<Exchanged> {
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
    ) -> io::Result<Exchanged> {
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
            MsgFlags::empty(),
            None,
        )?;
        let mut count = 0;
        for datagram in received {
            count += 1;
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
        let unsent = if answers.is_empty() {
            Unsent::default()
        } else {
            send(socket, out, answers)
        };
        Ok(Exchanged {
            full: count == BATCH,
            unsent,
        })
    }
}

/// Sends what can be sent without waiting. An answer that cannot be sent at all holds up no other.
fn send(socket: &UdpSocket, out: &[u8], answers: &[(usize, SocketAddr)]) -> Unsent {
    let mut begin = 0;
    let messages: Vec<([IoSlice<'_>; 1], SocketAddrAny)> = answers
        .iter()
        .map(|(end, client)| {
            let answer = out.get(begin..*end).unwrap_or_default();
            begin = *end;
            ([IoSlice::new(answer)], client.as_any())
        })
        .collect();
    let mut controls: [_; BATCH] = array::from_fn(|_| SendAncillaryBuffer::default());
    let mut headers: Vec<MMsgHdr<'_>> = messages
        .iter()
        .zip(&mut controls)
        .map(|((answer, client), control)| MMsgHdr::new_with_addr(client, answer, control))
        .collect();
    let mut sent = 0;
    while let Some(rest) = headers.get_mut(sent..).filter(|rest| !rest.is_empty()) {
        match sendmmsg(socket, rest, SendFlags::empty()) {
            Ok(0) | Err(Errno::AGAIN) => break,
            Ok(count) => sent += count,
            Err(Errno::INTR) => {}
            // It is the first one's fault: from port 0, for example, or to where there is no way.
            Err(error) => {
                tracing::debug!(%error, "could not send an answer");
                sent += 1;
            }
        }
    }
    drop(headers);
    let left = messages.iter().zip(answers).skip(sent);
    let left = left.map(|(([answer], _), (_, client))| (answer.to_vec(), *client));
    Unsent(left.collect())
}
