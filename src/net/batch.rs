//! Many datagrams in one call of the kernel: `recvmmsg` and `sendmmsg`. Used by the listeners of DNS and by the sockets that
//! upstreams are asked on.
//!
//! nix receives many, rustix sends them: each says how many only where it is used so. From a certain address nix sends,
//! which knows how.

use std::array;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6,
    SockaddrLike, SockaddrStorage, recvmmsg, sendmsg, setsockopt,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{
    MMsgHdr, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrAny, recvfrom, sendmmsg, sendto,
};

/// Datagrams of one call.
const BATCH: usize = 64;
/// Datagrams of a call where they come alone.
const FEW: usize = 4;
/// How many that come alone are read by the simpler call, which costs less, before it is looked whether they still do.
const ALONE: u8 = 7;
/// The longest datagram that is read, in bytes; of a longer one the rest is lost.
pub const LONGEST_DATAGRAM: usize = 4096;
/// How long a full socket may hold up the next batch.
const MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// The way an answer goes.
#[derive(Clone, Copy, Debug)]
pub struct ReturnPath {
    /// To whom: where the question came from.
    pub to: SocketAddr,
    /// From which of this machine's addresses: the one that was asked, since clients take an answer from no other (RFC 2181
    /// section 4.1). `None` where the socket has but one, or the kernel has to choose.
    pub from: Option<IpAddr>,
}

/// Reads from one bound socket and answers.
#[derive(Debug)]
pub struct Batches {
    senders: Senders,
    /// For one that comes alone.
    packet: Vec<u8>,
    /// How many more are read alone.
    alone: u8,
    /// Whether it has all addresses of the machine: which one was asked, the simpler call does not say.
    wildcard: bool,
    /// Answers one after another, where each ends, and which way it goes.
    out: Vec<u8>,
    answers: Vec<(usize, ReturnPath)>,
}

/// The kernel shortens the room for an address to that of the last one, so a room is for one family.
#[derive(Debug)]
enum Senders {
    V4(Room<SockaddrIn>),
    V6(Room<SockaddrIn6>),
}

/// Whether to wait where nothing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until something comes.
    ForOne,
    /// Not at all.
    No,
}

impl Batches {
    /// For this socket and no other.
    ///
    /// # Errors
    ///
    /// What the system says where it does not know the socket's address, or would not tell which one was asked.
    pub fn new(socket: &UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?.ip();
        let senders = match address {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
                setsockopt(socket, Ipv4PacketInfo, &true)?;
                Senders::V4(Room::new(Some(cmsg_space!(in_pktinfo))))
            }
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                setsockopt(socket, Ipv6RecvPacketInfo, &true)?;
                Senders::V6(Room::new(Some(cmsg_space!(in6_pktinfo))))
            }
            IpAddr::V4(_) => Senders::V4(Room::new(None)),
            IpAddr::V6(_) => Senders::V6(Room::new(None)),
        };
        Ok(Self {
            senders,
            packet: vec![0; LONGEST_DATAGRAM],
            alone: 0,
            wildcard: address.is_unspecified(),
            out: Vec::new(),
            answers: Vec::with_capacity(BATCH),
        })
    }

    /// Reads as many datagrams as have come and one call takes, and keeps what `answer` appends for each until
    /// [`Self::send`]; where it appends nothing, nothing is sent.
    ///
    /// # Errors
    ///
    /// What the system says where it gave none, `WouldBlock` included.
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        wait: Wait,
        mut answer: impl FnMut(&[u8], ReturnPath, &mut Vec<u8>),
    ) -> io::Result<()> {
        let Self {
            senders,
            packet: one,
            alone,
            wildcard,
            out,
            answers,
        } = self;
        let mut each = |packet: &[u8], sender: Option<SocketAddr>, from: Option<IpAddr>| {
            let Some(to) = sender.filter(|_| !packet.is_empty()) else {
                return;
            };
            let begin = out.len();
            let way = ReturnPath { to, from };
            answer(packet, way, out);
            if out.len() > begin {
                answers.push((out.len(), way));
            }
        };
        if wait == Wait::ForOne && *alone > 0 {
            *alone -= 1;
            let (length, _, sender) = recvfrom(socket, &mut one[..], RecvFlags::empty())?;
            let sender = sender.and_then(|sender| SocketAddr::try_from(sender).ok());
            each(one.get(..length).unwrap_or_default(), sender, None);
            return Ok(());
        }
        let flags = match wait {
            Wait::ForOne => MsgFlags::MSG_WAITFORONE,
            Wait::No => MsgFlags::MSG_DONTWAIT,
        };
        let (count, _) = match senders {
            Senders::V4(room) => room.receive(socket, flags, |packet, sender, asked| {
                let sender = sender.map(|sender| SocketAddrV4::from(sender).into());
                each(packet, sender, asked);
            }),
            Senders::V6(room) => room.receive(socket, flags, |packet, sender, asked| {
                let sender = sender.map(|sender| SocketAddrV6::from(sender).into());
                each(packet, sender, asked);
            }),
        }?;
        if count == 1 && !*wildcard {
            *alone = ALONE;
        }
        Ok(())
    }

    /// Sends what was kept. Says how many answers the socket had no room for.
    pub fn send(&mut self, socket: &UdpSocket) -> usize {
        let unsent = send(socket, &self.out, &self.answers);
        self.out.clear();
        self.answers.clear();
        unsent
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
        let room = room.get_or_insert_with(|| Room::new(None));
        let received = room.receive(socket, MsgFlags::MSG_DONTWAIT, |packet, _, _| each(packet));
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
    /// `asked` has room for what says which address was asked; each datagram has to come with just that, since the kernel
    /// shortens this room, too.
    fn new(asked: Option<Vec<u8>>) -> Self {
        Self {
            packets: vec![[0; LONGEST_DATAGRAM]; BATCH],
            headers: MultiHeaders::preallocate(BATCH, asked),
            width: FEW,
        }
    }

    /// Says how many came, and whether there may be more.
    fn receive(
        &mut self,
        socket: &impl AsRawFd,
        flags: MsgFlags,
        mut each: impl FnMut(&[u8], Option<S>, Option<IpAddr>),
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
            let packet = datagram.iovs().next().unwrap_or_default();
            each(packet, datagram.address, asked(&datagram));
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

/// The address of this machine that a datagram was sent to, where the kernel was to tell; for a broadcast, the one that
/// answers for it.
fn asked<S>(datagram: &RecvMsg<'_, '_, S>) -> Option<IpAddr> {
    let mut messages = datagram.cmsgs().ok()?;
    let address = messages.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::V4(u32::from_be(info.ipi_spec_dst.s_addr).into()))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(IpAddr::V6(info.ipi6_addr.s6_addr.into()))
        }
        _ => None,
    })?;
    (!address.is_unspecified() && !address.is_multicast()).then_some(address)
}

/// Sends answers, one after another in `out` up to where each ends. One that cannot be sent at all holds up no other. Says
/// how many the socket had no room for, also after a moment.
pub fn send(socket: &UdpSocket, out: &[u8], answers: &[(usize, ReturnPath)]) -> usize {
    match answers {
        [] => return 0,
        [(_, way)]
            if way.from.is_none() && sendto(socket, out, SendFlags::DONTWAIT, &way.to).is_ok() =>
        {
            return 0;
        }
        _ => {}
    }
    let mut begin = 0;
    let letters: Vec<Letter<'_>> = answers
        .iter()
        .map(|(end, way)| {
            let answer = out.get(begin..*end).unwrap_or_default();
            begin = *end;
            Letter {
                answer: [IoSlice::new(answer)],
                to: way.to.as_any(),
                way: *way,
            }
        })
        .collect();
    let mut sent = 0;
    let mut waited = false;
    while let Some(rest) = letters.get(sent..).filter(|rest| !rest.is_empty()) {
        match send_first(socket, rest) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if waited {
                    return rest.len();
                }
                waited = true;
                let mut room = [PollFd::new(socket, PollFlags::OUT)];
                // What it says does not matter: the next try does.
                let _ready: Result<usize, Errno> = poll(&mut room, Some(&MOMENT));
            }
            // It is the first one's fault: from port 0, for example, or to where there is no way.
            Err(error) => {
                tracing::debug!(%error, "could not send an answer");
                sent += 1;
            }
        }
    }
    0
}

/// An answer that is about to be sent.
struct Letter<'a> {
    answer: [IoSlice<'a>; 1],
    to: SocketAddrAny,
    way: ReturnPath,
}

/// Sends the first answers, as many as go in one call, and says how many those were, one at least. Of those that have to
/// come from a certain address, one goes in a call.
fn send_first(socket: &UdpSocket, letters: &[Letter<'_>]) -> io::Result<usize> {
    if let [letter, ..] = letters
        && let Some(from) = letter.way.from
    {
        send_from(socket, from, letter.way.to, &letter.answer)?;
        return Ok(1);
    }
    let mut controls: [_; BATCH] = array::from_fn(|_| SendAncillaryBuffer::default());
    let mut headers: Vec<MMsgHdr<'_>> = letters
        .iter()
        .take_while(|letter| letter.way.from.is_none())
        .zip(&mut controls)
        .map(|(letter, control)| MMsgHdr::new_with_addr(&letter.to, &letter.answer, control))
        .collect();
    match sendmmsg(socket, &mut headers, SendFlags::DONTWAIT)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        count => Ok(count),
    }
}

/// Sends one answer from this address of the machine.
fn send_from(
    socket: &UdpSocket,
    from: IpAddr,
    to: SocketAddr,
    answer: &[IoSlice<'_>],
) -> io::Result<()> {
    let (v4, v6);
    let control = match from {
        IpAddr::V4(from) => {
            let unspecified = in_addr { s_addr: 0 };
            v4 = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr {
                    s_addr: u32::from(from).to_be(),
                },
                ipi_addr: unspecified,
            };
            ControlMessage::Ipv4PacketInfo(&v4)
        }
        IpAddr::V6(from) => {
            v6 = in6_pktinfo {
                ipi6_addr: in6_addr {
                    s6_addr: from.octets(),
                },
                ipi6_ifindex: 0,
            };
            ControlMessage::Ipv6PacketInfo(&v6)
        }
    };
    let to = SockaddrStorage::from(to);
    let flags = MsgFlags::MSG_DONTWAIT;
    sendmsg(socket.as_raw_fd(), answer, &[control], flags, Some(&to))?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// Asks at each of these addresses of a socket that has them all, and is answered from there or not at all.
    fn answered_from(wildcard: IpAddr, asked: &[IpAddr]) {
        let server = UdpSocket::bind((wildcard, 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        let mut batches = Batches::new(&server).unwrap();
        // Twice: the kernel writes into what the second batch is read with.
        for _ in 0..2 {
            let clients: Vec<UdpSocket> = asked
                .iter()
                .map(|address| {
                    let client = UdpSocket::bind((wildcard, 0)).unwrap();
                    client.connect((*address, port)).unwrap();
                    client.set_read_timeout(Some(PATIENCE)).unwrap();
                    client.send(address.to_string().as_bytes()).unwrap();
                    client
                })
                .collect();
            let mut read = 0;
            while read < asked.len() {
                let received = batches.receive(&server, Wait::ForOne, |packet, way, out| {
                    read += 1;
                    assert_eq!(way.from.unwrap().to_string().as_bytes(), packet);
                    out.extend_from_slice(packet);
                });
                received.unwrap();
                assert_eq!(batches.send(&server), 0);
            }
            for (client, address) in clients.iter().zip(asked) {
                let mut packet = [0; 64];
                let length = client.recv(&mut packet).unwrap();
                assert_eq!(&packet[..length], address.to_string().as_bytes());
            }
        }
    }

    #[test]
    fn an_answer_comes_from_the_address_that_was_asked() {
        let loopback: Vec<IpAddr> = (1..=70)
            .map(|host| Ipv4Addr::new(127, 0, 0, host).into())
            .collect();
        answered_from(Ipv4Addr::UNSPECIFIED.into(), &loopback);
        answered_from(Ipv4Addr::UNSPECIFIED.into(), &loopback[1..2]);
    }

    #[test]
    fn so_it_does_over_ipv6() {
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            eprintln!("skipped: no IPv6 here");
            return;
        }
        answered_from(
            Ipv6Addr::UNSPECIFIED.into(),
            &[Ipv6Addr::LOCALHOST.into(); 3],
        );
    }

    #[test]
    fn datagrams_are_read_alone_and_together_and_none_is_lost() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut batches = Batches::new(&server).unwrap();
        let mut calls = [0; 4];
        let groups: [u8; 4] = [20, 200, 1, 100];
        for (group, call) in groups.into_iter().zip(&mut calls) {
            let together = group >= 100;
            let mut read = 0;
            for number in 0..group {
                client.send(&[number]).unwrap();
                while read <= number && (!together || number + 1 == group) {
                    let received = batches.receive(&server, Wait::ForOne, |packet, _, out| {
                        assert_eq!(packet, [read]);
                        read += 1;
                        out.extend_from_slice(packet);
                    });
                    received.unwrap();
                    *call += 1;
                    assert_eq!(batches.send(&server), 0);
                }
            }
            for number in 0..group {
                let mut packet = [0; 8];
                assert_eq!(client.recv(&mut packet).unwrap(), 1);
                assert_eq!(packet[0], number);
            }
        }
        let [alone, many, one, some] = calls;
        assert_eq!((alone, one), (20, 1));
        // What is read alone before it is looked for more, and some batches.
        assert!(many < 16 && some < 16, "{calls:?}");
    }

    #[test]
    fn a_socket_with_one_address_is_told_of_none() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        client.send(b"question").unwrap();
        let mut batches = Batches::new(&server).unwrap();
        let received = batches.receive(&server, Wait::ForOne, |packet, way, out| {
            assert_eq!((packet, way.from), (&b"question"[..], None));
            assert_eq!(way.to, client.local_addr().unwrap());
            out.extend_from_slice(b"answer");
        });
        received.unwrap();
        assert_eq!(batches.send(&server), 0);
        let mut packet = [0; 64];
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = client.recv(&mut packet).unwrap();
        assert_eq!(&packet[..length], b"answer");
    }
}
