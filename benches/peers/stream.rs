//! Asks over TCP: connections that stay open, on each of which several questions are on their way.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Fallible;
use crate::data::Questions;
use crate::flight::{Flight, Outcome};
use crate::stop;
use crate::tally::{self, Clock};

/// Open connections.
pub(crate) const CONNECTIONS: usize = 20;
/// Questions on their way on each.
pub(crate) const PIPELINED: u16 = 6;
/// A question is lost after this, in ns.
const PATIENCE: u64 = 1_000_000_000;
/// How often it is looked for lost ones, in ns.
const LOOK: u64 = 50_000_000;

/// Asks `server` for so long, and waits for what is on its way at the end. A connection that the server closes is opened
/// again; what was on its way there is lost.
///
/// # Errors
///
/// What the system says, a server that is gone and an interruption included.
pub(crate) fn run(server: SocketAddr, questions: &Questions, seconds: f64) -> Fallible<Outcome> {
    let mut lanes = Vec::new();
    for _ in 0..CONNECTIONS {
        lanes.push(Lane::new(server)?);
    }
    let clock = Clock::start();
    let end = tally::ns(Duration::from_secs_f64(seconds));
    let mut outcome = Outcome::default();
    let (mut asked, mut last, mut look) = (0, 0, LOOK);
    loop {
        let now = clock.now();
        let ended = now >= end;
        for lane in lanes.iter_mut().filter(|_| !ended) {
            while lane.flight.open() < usize::from(PIPELINED)
                && let Some(id) = lane.flight.ask(now)
            {
                let question = questions.get(asked);
                asked += 1;
                let length = u16::try_from(question.len())?;
                lane.out.extend(length.to_be_bytes());
                lane.out.extend(id.to_be_bytes());
                lane.out.extend(&question[2..]);
            }
            if !lane.flush() {
                lane.again(server, &mut outcome)?;
            }
        }
        if now >= look {
            look = now + LOOK;
            for lane in &mut lanes {
                outcome.lost += lane.flight.expire(now.saturating_sub(PATIENCE));
            }
            stop::check()?;
        }
        if ended && lanes.iter().all(|lane| lane.flight.open() == 0) {
            break;
        }
        for ready in readable(&lanes)? {
            let lane = &mut lanes[ready];
            let before = outcome.latency.total();
            let open = lane.receive(&clock, &mut outcome);
            if outcome.latency.total() > before {
                last = clock.now();
            }
            if !open {
                lane.again(server, &mut outcome)?;
            }
        }
    }
    outcome.seconds = last as f64 / 1e9;
    Ok(outcome)
}

/// The numbers of those that have something to read, after a wait.
fn readable(lanes: &[Lane]) -> nix::Result<Vec<usize>> {
    let mut sockets: Vec<PollFd<'_>> = lanes
        .iter()
        .map(|lane| PollFd::new(lane.socket.as_fd(), PollFlags::POLLIN))
        .collect();
    match poll(&mut sockets, PollTimeout::from(20_u8)) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(error) => return Err(error),
    }
    let ready = sockets.iter().enumerate();
    let ready = ready.filter(|(_, socket)| socket.any().unwrap_or(false));
    Ok(ready.map(|(number, _)| number).collect())
}

/// One connection.
struct Lane {
    socket: TcpStream,
    flight: Flight,
    out: Vec<u8>,
    input: Vec<u8>,
    buffer: Box<[u8; 65536]>,
}

impl Lane {
    fn new(server: SocketAddr) -> Fallible<Self> {
        let socket = TcpStream::connect_timeout(&server, Duration::from_secs(2))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            flight: Flight::new(PIPELINED),
            out: Vec::new(),
            input: Vec::new(),
            buffer: Box::new([0; 65536]),
        })
    }

    /// Opens the connection again.
    fn again(&mut self, server: SocketAddr, outcome: &mut Outcome) -> Fallible<()> {
        outcome.lost += self.flight.open();
        *self = Self::new(server)?;
        Ok(())
    }

    /// Writes what there is room for; false where the connection is closed.
    fn flush(&mut self) -> bool {
        if self.out.is_empty() {
            return true;
        }
        match self.socket.write(&self.out) {
            Ok(written) => {
                self.out.drain(..written);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// Reads what has come; false where the connection is closed.
    fn receive(&mut self, clock: &Clock, outcome: &mut Outcome) -> bool {
        let length = match self.socket.read(&mut *self.buffer) {
            Ok(0) => return false,
            Ok(length) => length,
            Err(error) => {
                return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
            }
        };
        let now = clock.now();
        self.input.extend(&self.buffer[..length]);
        let mut rest = &*self.input;
        while let Some((head, after)) = rest.split_first_chunk::<2>()
            && let Some((message, after)) =
                after.split_at_checked(usize::from(u16::from_be_bytes(*head)))
        {
            rest = after;
            let id = message.first_chunk::<2>().map(|id| u16::from_be_bytes(*id));
            if let Some(ns) = id.and_then(|id| self.flight.close(id, now)) {
                outcome.take(message, ns);
            }
        }
        let left = rest.len();
        self.input.drain(..self.input.len() - left);
        true
    }
}
