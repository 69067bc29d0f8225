//! One direction of a session: from the first byte to the end of the stream, which is passed on.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;

use crate::net::broken;
use crate::telemetry::{Metrics, Side};

use super::pipes::Pipes;
use super::{copy, splice};

/// Bytes carried by copying before a pipe is worth its system calls.
const SPLICE_AFTER: u64 = 64 * 1024;

/// Bytes after which a direction is bulk and gets a bigger pipe.
const BULK_AFTER: u64 = 1024 * 1024;

/// Bytes at once below which a pipe is not worth its system calls: three for a message, where copying needs two.
const LITTLE: usize = 16 * 1024;

/// What is read from one side and written to the other.
#[derive(Debug)]
pub(super) struct Direction<'a> {
    pub(super) from: &'a TcpStream,
    pub(super) to: &'a TcpStream,
    reader: Side,
    writer: Side,
    carried: &'a AtomicU64,
}

/// The side that broke, and how.
pub(super) type Fault = (Side, io::Error);

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes were carried; there may be more.
    Moved(usize),
    /// The sender has said nothing more yet.
    Dry,
    /// The sender has ended its stream.
    End,
    /// The kernel cannot splice this.
    Unsupported,
}

impl<'a> Direction<'a> {
    /// The direction away from the client.
    pub(super) fn up(client: &'a TcpStream, origin: &'a TcpStream, carried: &'a AtomicU64) -> Self {
        Self {
            from: client,
            to: origin,
            reader: Side::Client,
            writer: Side::Origin,
            carried,
        }
    }

    /// The direction towards the client.
    pub(super) fn down(
        client: &'a TcpStream,
        origin: &'a TcpStream,
        carried: &'a AtomicU64,
    ) -> Self {
        Self {
            from: origin,
            to: client,
            reader: Side::Origin,
            writer: Side::Client,
            carried,
        }
    }

    /// Carries until the sender has ended its stream; passing the end on is the caller's.
    pub(super) async fn run(&self, pipes: &Pipes, metrics: &Metrics) -> Result<(), Fault> {
        let mut splices = true;
        let mut spliced = false;
        let mut chatty = false;
        loop {
            self.from
                .readable()
                .await
                .map_err(|error| self.read_fault(error))?;
            let carried = self.carried.load(Ordering::Relaxed);
            let mut pipe = None;
            if splices && !chatty && carried >= SPLICE_AFTER {
                pipe = pipes.lend(carried >= BULK_AFTER);
                if pipe.is_none() {
                    metrics.relay_without_pipe.inc();
                } else if !spliced {
                    spliced = true;
                    metrics.relay_spliced.inc();
                }
            }
            let mut at_once = 0_usize;
            loop {
                let step = match &mut pipe {
                    Some(pipe) => splice::step(self, pipe).await?,
                    None => copy::step(self).await?,
                };
                match step {
                    Step::Moved(length) => {
                        at_once = at_once.saturating_add(length);
                        if pipe.is_none() {
                            // The buffer is worth leaving after one read: the flow may have become worth a pipe.
                            break;
                        }
                    }
                    Step::Dry => break,
                    Step::End => return Ok(()),
                    Step::Unsupported => {
                        splices = false;
                        break;
                    }
                }
                // A flow that never runs dry must not keep its worker to itself.
                consume_budget().await;
            }
            drop(pipe);
            if at_once > 0 {
                chatty = at_once < LITTLE;
            }
            consume_budget().await;
        }
    }

    /// After this direction has ended, its sender may still break the session while the other direction waits for
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

    /// Waits until the receiver takes bytes.
    pub(super) async fn writable(&self) -> Result<(), Fault> {
        self.to
            .writable()
            .await
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
