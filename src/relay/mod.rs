//! Level 2: carrying bytes between a client and an origin. Called by `proxy` once a session has both its ends.
//!
//! The first bytes of each direction are copied through a buffer of the thread; a direction that goes on is spliced
//! through a pipe of a common pool. A session that waits holds neither.

mod copy;
mod direction;
mod pipes;
mod splice;
#[cfg(test)]
mod tests;
mod watch;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::net::{keep_alive, unacknowledged};
use crate::telemetry::{Metrics, Side};

pub use watch::{Look, Then, Turned, Watch, Watched};

use direction::Direction;
use pipes::{MOST_PIPES, Pipes};

/// How often the idle timeout looks, per timeout: a session is ended at most an eighth too late.
const IDLE_LOOKS: u32 = 8;

/// When a session has lasted: not later than this, it is asked of its origin whether it is there.
const FIRST_LOOK: Duration = Duration::from_secs(60);

/// How often a side is asked whether it has everything: at first, and at most.
const SETTLE_LOOKS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(250));

/// How long a side may take nothing of its last bytes before they are given up.
const SETTLE: Duration = Duration::from_secs(30);

/// Carries sessions; holds the pool of pipes that they share.
#[derive(Debug)]
pub struct Relay {
    pipes: Pipes,
    metrics: Arc<Metrics>,
}

/// What a session carried, and how it ended.
#[derive(Debug)]
pub struct Carried {
    /// Bytes from the client to the origin: those that the origin's socket took.
    pub sent: u64,
    /// Bytes from the origin to the client: those that the client's socket took.
    pub received: u64,
    /// How it ended.
    pub ended: Ended,
}

/// How a session ended.
#[derive(Debug)]
pub enum Ended {
    /// Both sides said that they were done.
    Closed,
    /// Neither side said anything for the idle timeout.
    Idle,
    /// A connection broke.
    Broken(Side, io::Error),
    /// We were told to stop.
    Cut,
}

impl Relay {
    /// A relay with an empty pool.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self::with_pipes(metrics, MOST_PIPES)
    }

    /// A relay that opens at most `most_pipes`; with 0 it always copies.
    pub fn with_pipes(metrics: Arc<Metrics>, most_pipes: usize) -> Self {
        Self {
            pipes: Pipes::new(most_pipes),
            metrics,
        }
    }

    /// Carries bytes both ways until both sides are done, one breaks, neither speaks for `idle`, or `stop`.
    ///
    /// A side that is done is told to the other, which may go on (half-close, RFC 9293 section 3.6). After every
    /// ending but [`Ended::Closed`] both connections are reset, so that nobody takes a truncated stream for a whole one.
    /// Where one side broke, the other is first given everything that the broken one had said: a server that resets
    /// right after its answer is usual, and the reset would throw away what is still on its way.
    pub async fn run(
        &self,
        client: TcpStream,
        origin: TcpStream,
        idle: Duration,
        stop: &CancellationToken,
    ) -> Carried {
        self.between(&client, &origin, idle, stop, &mut None).await
    }

    /// As [`Relay::run`], and looks at what the client says. Where it turns to another origin, this one is told that
    /// nothing more comes, and once it has said everything too, the client is given back.
    pub async fn follow(
        &self,
        client: TcpStream,
        origin: TcpStream,
        idle: Duration,
        stop: &CancellationToken,
        watched: Watched,
    ) -> (Carried, Option<Turned>) {
        let mut watched = Some(watched);
        let carried = self
            .between(&client, &origin, idle, stop, &mut watched)
            .await;
        let said = match carried.ended {
            Ended::Closed => watched.and_then(Watched::into_said),
            _ => None,
        };
        (carried, said.map(|said| Turned { client, said }))
    }

    async fn between(
        &self,
        client: &TcpStream,
        origin: &TcpStream,
        idle: Duration,
        stop: &CancellationToken,
        watched: &mut Option<Watched>,
    ) -> Carried {
        let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
        let up = Direction::up(client, origin, &sent);
        let down = Direction::down(client, origin, &received);
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Ended::Cut,
            ended = self.both(up, down, watched) => ended,
            () = silence(
                idle,
                || sent.load(Ordering::Relaxed).wrapping_add(received.load(Ordering::Relaxed)),
                // Only fails on a connection that is gone already.
                || drop(keep_alive(origin)),
            ) => Ended::Idle,
        };
        if !matches!(ended, Ended::Closed) {
            for stream in [client, origin] {
                // Only fails on a socket that is gone already.
                SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok();
            }
        }
        Carried {
            sent: sent.into_inner(),
            received: received.into_inner(),
            ended,
        }
    }

    async fn both<'a>(
        &'a self,
        mut up: Direction<'a>,
        mut down: Direction<'a>,
        watched: &mut Option<Watched>,
    ) -> Ended {
        let (mut up_done, mut down_done) = (false, false);
        let mut down_first = false;
        let (side, error) = loop {
            if up_done && down_done {
                return Ended::Closed;
            }
            let ended = match (up_done, down_done) {
                (true, _) => Some(&up.ends),
                (_, true) => Some(&down.ends),
                _ => None,
            }
            .cloned();
            let carrying = poll_fn(|cx| {
                // They share the turn of their task: whoever is first may leave nothing of it.
                down_first = !down_first;
                for is_down in [down_first, !down_first] {
                    let (direction, done, other_done) = if is_down {
                        (&mut down, &mut down_done, up_done)
                    } else {
                        (&mut up, &mut up_done, down_done)
                    };
                    if !*done
                        && let Poll::Ready(outcome) =
                            direction.poll(cx, &self.pipes, &self.metrics, watched)
                    {
                        *done = true;
                        if is_down && let Some(watched) = watched.as_mut() {
                            watched.origin_is_done();
                        }
                        return Poll::Ready(match outcome {
                            // Where both are done, closing the sockets says the last end.
                            Ok(()) if other_done => Ok(()),
                            Ok(()) => direction.ends.pass_end_on(),
                            Err(fault) => Err(fault),
                        });
                    }
                }
                Poll::Pending
            });
            let outcome = match ended {
                None => carrying.await,
                Some(ended) => tokio::select! {
                    outcome = carrying => outcome,
                    fault = ended.sender_broken() => Err(fault),
                },
            };
            if let Err(fault) = outcome {
                break fault;
            }
        };
        let (last_words, done) = match side {
            Side::Client => (&mut up, up_done),
            _ => (&mut down, down_done),
        };
        // The kernel gives out what came before a reset, and then tells of the reset or, where a write heard of it
        // first, of an end; that end is not passed on.
        if !done {
            poll_fn(|cx| last_words.poll(cx, &self.pipes, &self.metrics, watched))
                .await
                .ok();
        }
        settled(last_words.ends.to).await;
        Ended::Broken(side, error)
    }
}

/// Waits until the peer has acknowledged everything, or takes no more of it. The kernel has no event for that.
async fn settled(stream: &TcpStream) {
    let (mut look, longest) = SETTLE_LOOKS;
    let mut left = unacknowledged(stream);
    let mut quiet = Duration::ZERO;
    while left > 0 && quiet < SETTLE {
        tokio::time::sleep(look).await;
        let now = unacknowledged(stream);
        quiet = if now == left {
            quiet.saturating_add(look)
        } else {
            Duration::ZERO
        };
        left = now;
        look = (look * 2).min(longest);
    }
}

/// Ends when `carried` has not changed for `idle`. It looks now and then: a timer set anew at each read would cost
/// more than the read. A session that is there at the first look has `lasted`.
pub async fn silence(idle: Duration, carried: impl Fn() -> u64, lasted: impl FnOnce()) {
    let look = (idle / IDLE_LOOKS).max(Duration::from_millis(1));
    let first = look.min(FIRST_LOOK);
    let mut seen = carried();
    tokio::time::sleep(first).await;
    lasted();
    let mut slept = first;
    let mut quiet = Duration::ZERO;
    loop {
        let now = carried();
        quiet = if now == seen {
            quiet.saturating_add(slept)
        } else {
            Duration::ZERO
        };
        if quiet >= idle {
            return;
        }
        seen = now;
        tokio::time::sleep(look).await;
        slept = look;
    }
}
