//! One direction of a session: from the first byte to the end of the stream, which is passed on.
//!
//! Polled, and not a future: what a future of many steps keeps for all of them would be the memory of a tunnel that
//! waits. Each socket is read by one direction and written by the other, both of one task.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;

use crate::net::broken;
use crate::telemetry::{Metrics, Side};

use super::copy::{self, Copied};
use super::pipes::{BULK_ROOM, HUGE_ROOM, Lent, Pipes};
use super::splice::{self, Spliced};
use super::watch::Watched;

/// Bytes carried by copying before a pipe is worth its system calls.
const SPLICE_AFTER: u64 = 64 * 1024;

/// Bytes after which a direction is bulk and gets a bigger pipe.
const BULK_AFTER: u64 = 1024 * 1024;

/// Bytes after which it is huge, and gets one of the few pipes that are bigger still.
const HUGE_AFTER: u64 = 16 * 1024 * 1024;

/// Bytes at once below which a pipe is not worth its system calls: three for a message, where copying needs two.
const LITTLE: usize = 16 * 1024;

/// What is read from one side and written to the other.
#[derive(Debug)]
pub(super) struct Direction<'a> {
    pub(super) ends: Ends<'a>,
    on_the_way: OnTheWay<'a>,
    /// The kernel can splice this.
    splices: bool,
    /// It has had a pipe.
    spliced: bool,
    /// What came last was little.
    chatty: bool,
    /// Bytes since there was last nothing to read.
    at_once: usize,
}

/// The two sockets of a direction, and what was carried.
#[derive(Clone, Debug)]
pub(super) struct Ends<'a> {
    pub(super) from: &'a TcpStream,
    pub(super) to: &'a TcpStream,
    pub(super) reader: Side,
    writer: Side,
    carried: &'a AtomicU64,
}

/// What was read and is not yet written. Nothing more is read before it is.
#[derive(Debug)]
enum OnTheWay<'a> {
    Nothing,
    /// Bytes that the receiver did not take at once, and how many of them it has taken since.
    Copied(Box<[u8]>, usize),
    /// A pipe, which may be empty while bytes keep coming.
    Spliced(Lent<'a>),
}

/// The side that broke, and how.
pub(super) type Fault = (Side, io::Error);

impl<'a> Direction<'a> {
    /// The direction away from the client.
    pub(super) fn up(client: &'a TcpStream, origin: &'a TcpStream, carried: &'a AtomicU64) -> Self {
        Self::new((client, Side::Client), (origin, Side::Origin), carried)
    }

    /// The direction towards the client.
    pub(super) fn down(
        client: &'a TcpStream,
        origin: &'a TcpStream,
        carried: &'a AtomicU64,
    ) -> Self {
        Self::new((origin, Side::Origin), (client, Side::Client), carried)
    }

    fn new(
        (from, reader): (&'a TcpStream, Side),
        (to, writer): (&'a TcpStream, Side),
        carried: &'a AtomicU64,
    ) -> Self {
        Self {
            ends: Ends {
                from,
                to,
                reader,
                writer,
                carried,
            },
            on_the_way: OnTheWay::Nothing,
            splices: true,
            spliced: false,
            chatty: false,
            at_once: 0,
        }
    }

    /// Carries until the sender has ended its stream, or has turned to another origin; passing the end on is the
    /// caller's. Not to be polled after that.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        pipes: &'a Pipes,
        metrics: &Metrics,
        watched: &mut Option<Watched>,
    ) -> Poll<Result<(), Fault>> {
        let polled = self.poll_on(cx, pipes, metrics, watched);
        if polled.is_ready() {
            self.on_the_way = OnTheWay::Nothing;
        }
        polled
    }

    fn poll_on(
        &mut self,
        cx: &mut Context<'_>,
        pipes: &'a Pipes,
        metrics: &Metrics,
        watched: &mut Option<Watched>,
    ) -> Poll<Result<(), Fault>> {
        loop {
            ready!(self.poll_write(cx))?;
            if watched.as_ref().is_some_and(Watched::is_free) {
                *watched = None;
            }
            let mut watched = watched.as_mut().filter(|watched| self.is_seen_by(watched));
            if let Some(watched) = &mut watched {
                if self.is_up() && watched.has_turned() {
                    return Poll::Ready(Ok(()));
                }
                self.ran_dry();
            }
            match self.ends.from.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.ends.read_fault(error))),
                Poll::Pending => {
                    // A flow that only lets others have their turn keeps its pipe.
                    if has_budget_remaining() {
                        self.ran_dry();
                    }
                    return Poll::Pending;
                }
            }
            let ended = match &mut self.on_the_way {
                OnTheWay::Spliced(pipe) => match splice::fill(&self.ends, pipe)? {
                    Spliced::Bytes(length) => {
                        self.at_once = self.at_once.saturating_add(length);
                        false
                    }
                    Spliced::Nothing => false,
                    Spliced::End => true,
                    Spliced::Unsupported => {
                        self.splices = false;
                        self.ran_dry();
                        false
                    }
                },
                OnTheWay::Nothing | OnTheWay::Copied(..) => {
                    let pipe = match watched {
                        Some(_) => None,
                        None => self.pipe(pipes, metrics),
                    };
                    match pipe {
                        Some(pipe) => {
                            self.on_the_way = OnTheWay::Spliced(pipe);
                            false
                        }
                        None => self.copy(watched)?,
                    }
                }
            };
            if ended {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Writes what is on the way.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            match &mut self.on_the_way {
                OnTheWay::Nothing => return Poll::Ready(Ok(())),
                OnTheWay::Copied(bytes, taken) => {
                    *taken += copy::write(&self.ends, bytes.get(*taken..).unwrap_or_default())?;
                    if *taken >= bytes.len() {
                        self.on_the_way = OnTheWay::Nothing;
                        return Poll::Ready(Ok(()));
                    }
                }
                OnTheWay::Spliced(pipe) => {
                    if splice::empty(&self.ends, pipe)? {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            ready!(self.ends.to.poll_write_ready(cx))
                .map_err(|error| self.ends.write_fault(error))?;
        }
    }

    /// Reads once into memory and writes what the receiver takes; whether the sender has ended its stream.
    fn copy(&mut self, watched: Option<&mut Watched>) -> Result<bool, Fault> {
        let length = match copy::read_and_write(&self.ends, watched)? {
            Copied::Nothing => return Ok(false),
            Copied::End => return Ok(true),
            Copied::All(length) => length,
            Copied::Rest(length, rest) => {
                self.on_the_way = OnTheWay::Copied(rest, 0);
                length
            }
        };
        self.chatty = length < LITTLE;
        Ok(false)
    }

    fn is_up(&self) -> bool {
        self.ends.reader == Side::Client
    }

    /// Whether what is carried this way has to be looked at now.
    fn is_seen_by(&self, watched: &Watched) -> bool {
        self.is_up() || watched.listens()
    }

    /// A pipe, where this flow is worth one and one is left.
    fn pipe(&mut self, pipes: &'a Pipes, metrics: &Metrics) -> Option<Lent<'a>> {
        let carried = self.ends.carried.load(Ordering::Relaxed);
        if !self.splices || self.chatty || carried < SPLICE_AFTER {
            return None;
        }
        let pipe = pipes.lend(match carried {
            HUGE_AFTER.. => HUGE_ROOM,
            BULK_AFTER.. => BULK_ROOM,
            _ => 0,
        });
        if pipe.is_none() {
            metrics.relay_without_pipe.inc();
        } else if !self.spliced {
            self.spliced = true;
            metrics.relay_spliced.inc();
        }
        pipe
    }

    /// There is nothing to read: a pipe goes back.
    fn ran_dry(&mut self) {
        if let OnTheWay::Spliced(_) = self.on_the_way {
            self.on_the_way = OnTheWay::Nothing;
            if self.at_once > 0 {
                self.chatty = self.at_once < LITTLE;
                self.at_once = 0;
            }
        }
    }
}

impl Ends<'_> {
    /// After a direction has ended, its sender may still break the session while the other direction waits for
    /// something else: this ends when it does.
    pub(super) async fn sender_broken(&self) -> Fault {
        let error = broken(self.from).await;
        self.read_fault(error)
    }

    /// Tells the receiver that the stream has ended.
    pub(super) fn pass_end_on(&self) -> Result<(), Fault> {
        SockRef::from(self.to)
            .shutdown(Shutdown::Write)
            .map_err(|error| self.write_fault(error))
    }

    /// Bytes were handed to the receiver's socket.
    pub(super) fn count(&self, length: usize) {
        self.carried
            .fetch_add(u64::try_from(length).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn read_fault(&self, error: io::Error) -> Fault {
        (self.reader, error)
    }

    pub(super) fn write_fault(&self, error: io::Error) -> Fault {
        (self.writer, error)
    }
}
