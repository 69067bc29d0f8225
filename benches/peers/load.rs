//! Asks over UDP, from several sockets, with batches of datagrams in one call of the kernel: with so many questions on
//! their way, or so many a second whatever comes back.

use std::array;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use crate::Fallible;
use crate::data::Questions;
use crate::flight::{Flight, Outcome};
use crate::stop;
use crate::tally::Clock;

/// Sockets, which a server sees as clients.
const LANES: usize = 8;
/// Datagrams of one call.
const BATCH: usize = 32;
/// The longest question.
const LONGEST: usize = 300;
/// A question is lost after this, in ns.
const PATIENCE: u64 = 1_000_000_000;
/// How often it is looked for lost ones, in ns.
const LOOK: u64 = 50_000_000;

/// How fast is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// So many questions are on their way at once.
    InFlight(usize),
    /// So many a second.
    Rate(f64),
}

/// When it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// Every question was asked once.
    Once,
    /// So many seconds have passed; questions are repeated.
    Seconds(f64),
}

/// Asks `server`, and waits for what is on its way at the end.
///
/// # Errors
///
/// What the system says, a server that is gone and an interruption included.
pub(crate) fn run(
    server: SocketAddr,
    questions: &Questions,
    pace: Pace,
    until: Until,
) -> Fallible<Outcome> {
    let mut lanes = Vec::new();
    for _ in 0..LANES {
        lanes.push(Lane::new(server, pace)?);
    }
    let mut room = Room::new();
    let mut outcome = Outcome::default();
    let clock = Clock::start();
    let (most, end) = match until {
        Until::Once => (questions.len(), u64::MAX),
        Until::Seconds(seconds) => (
            usize::MAX,
            crate::tally::ns(Duration::from_secs_f64(seconds)),
        ),
    };
    let (mut asked, mut turn, mut last, mut look) = (0, 0, 0, LOOK);
    loop {
        let now = clock.now();
        let ended = now >= end || asked >= most;
        let (mut moved, mut open) = (0, 0);
        for (number, lane) in lanes.iter_mut().enumerate() {
            let wanted = match pace {
                _ if ended => 0,
                Pace::InFlight(all) => (all / LANES).max(1).saturating_sub(lane.flight.open()),
                Pace::Rate(rate) => {
                    usize::from(number == turn && now as f64 * rate / 1e9 > asked as f64)
                }
            };
            let wanted = wanted.min(most - asked);
            if wanted > 0 {
                let sent = lane.send(&mut room, questions, asked, wanted, now)?;
                asked += sent;
                moved += sent;
                if matches!(pace, Pace::Rate(_)) {
                    turn = (turn + 1) % LANES;
                }
            }
            if lane.flight.open() > 0 {
                let received = lane.receive(&mut room, &clock, &mut outcome)?;
                if received > 0 {
                    moved += received;
                    last = clock.now();
                }
                open += lane.flight.open();
            }
        }
        if now >= look {
            look = now + LOOK;
            for lane in &mut lanes {
                outcome.lost += lane.flight.expire(now.saturating_sub(PATIENCE));
            }
            stop::check()?;
        }
        if ended && open == 0 {
            break;
        }
        if moved == 0 && matches!(pace, Pace::InFlight(_)) {
            wait(&lanes)?;
        }
    }
    outcome.seconds = last as f64 / 1e9;
    Ok(outcome)
}

/// Until there is something to read, or it is time to look for lost ones.
fn wait(lanes: &[Lane]) -> nix::Result<()> {
    let mut sockets: Vec<PollFd<'_>> = lanes
        .iter()
        .map(|lane| PollFd::new(lane.socket.as_fd(), PollFlags::POLLIN))
        .collect();
    match poll(&mut sockets, PollTimeout::from(20_u8)) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The buffers of a batch.
struct Room {
    out: [[u8; LONGEST]; BATCH],
    lengths: [usize; BATCH],
    packets: Vec<[u8; 1500]>,
    headers: MultiHeaders<SockaddrIn>,
}

impl Room {
    fn new() -> Self {
        Self {
            out: [[0; LONGEST]; BATCH],
            lengths: [0; BATCH],
            packets: vec![[0; 1500]; BATCH],
            headers: MultiHeaders::preallocate(BATCH, None),
        }
    }
}

/// One socket.
struct Lane {
    socket: UdpSocket,
    flight: Flight,
}

impl Lane {
    fn new(server: SocketAddr, pace: Pace) -> Fallible<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::RcvBuf, &(1 << 21))?;
        let most = match pace {
            Pace::InFlight(all) => all / LANES,
            // What a server that is silent for a second and more leaves open.
            Pace::Rate(rate) => (0..15)
                .map(|bit| 1 << bit)
                .find(|most| *most as f64 * LANES as f64 > 1.5 * rate)
                .unwrap_or(1 << 14),
        };
        Ok(Self {
            socket,
            flight: Flight::new(u16::try_from(most)?),
        })
    }

    /// Asks `wanted` questions, or as many as one call and the socket take, and says how many.
    fn send(
        &mut self,
        room: &mut Room,
        questions: &Questions,
        first: usize,
        wanted: usize,
        now: u64,
    ) -> Fallible<usize> {
        let mut ids = [0; BATCH];
        let mut count = 0;
        while count < wanted.min(BATCH) {
            let Some(id) = self.flight.ask(now) else {
                break;
            };
            let question = questions.get(first + count);
            let packet = &mut room.out[count][..question.len()];
            packet.copy_from_slice(question);
            packet[..2].copy_from_slice(&id.to_be_bytes());
            room.lengths[count] = question.len();
            ids[count] = id;
            count += 1;
        }
        let slices: [[IoSlice<'_>; 1]; BATCH] =
            array::from_fn(|place| [IoSlice::new(&room.out[place][..room.lengths[place]])]);
        let mut controls: [_; BATCH] = array::from_fn(|_| SendAncillaryBuffer::default());
        let mut headers: Vec<MMsgHdr<'_>> = slices[..count]
            .iter()
            .zip(&mut controls)
            .map(|(slice, control)| MMsgHdr::new(slice, control))
            .collect();
        let sent = match sendmmsg(&self.socket, &mut headers, SendFlags::empty()) {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => 0,
            Err(error) => return Err(error.into()),
        };
        for id in &ids[sent..count] {
            self.flight.close(*id, now);
        }
        Ok(sent)
    }

    /// Reads what has come, as much as one call takes, and says how much.
    fn receive(
        &mut self,
        room: &mut Room,
        clock: &Clock,
        outcome: &mut Outcome,
    ) -> Fallible<usize> {
        let mut slices: Vec<_> = room
            .packets
            .iter_mut()
            .map(|packet| [IoSliceMut::new(packet)])
            .collect();
        let received = recvmmsg(
            self.socket.as_raw_fd(),
            &mut room.headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        );
        let received = match received {
            Ok(received) => received,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let now = clock.now();
        let mut count = 0;
        for datagram in received {
            count += 1;
            let message = datagram.iovs().next().unwrap_or_default();
            let Some(id) = message.first_chunk::<2>() else {
                continue;
            };
            if let Some(ns) = self.flight.close(u16::from_be_bytes(*id), now) {
                outcome.take(message, ns);
            }
        }
        Ok(count)
    }
}
