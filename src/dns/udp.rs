//! DNS over UDP (RFC 1035 section 4.2.1): each socket has a thread of its own, which waits in the kernel for a batch of
//! datagrams. What is at hand is answered at once (`fast`), and most of what is not is asked upstream by the same thread
//! (`unattended`); every other question is answered in a task on the runtime. Called by `server`.
//!
//! A thread that waits in `recvmmsg` needs two calls of the kernel for a question that comes alone; the runtime's own
//! sockets need three, and a wakeup through epoll. While upstream owes it answers, the thread waits for both. Another thread
//! for those would take the processor from this one at each, where they share one.

use std::io;
use std::net::{Shutdown, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fast::{Fast, Last};
use super::handler::{Handler, Transport};
use super::truth::Truth;
use super::unattended::LongWay;
use crate::net::{self, Batches, ClientAddr, ReturnPath, Wait};
use crate::resolve::{Begun, Lines};

/// How long to wait after the socket failed: the kernel is out of memory, for example.
const PAUSE: Duration = Duration::from_millis(10);
/// How long to wait for upstream before looking whether anything else has happened.
const LOOK: Duration = Duration::from_secs(1);
/// Likewise at the end, when it is others who stop waiting.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// Answers what comes in until `stop`, then what is still open.
///
/// # Errors
///
/// What the system says when it gives no thread.
pub(super) async fn serve<T: Truth>(
    handler: Arc<Handler<T>>,
    socket: UdpSocket,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    socket.set_nonblocking(false)?;
    let socket = Arc::new(socket);
    let open = TaskTracker::new();
    let (end, mut ended) = oneshot::channel::<()>();
    let serving = Serving {
        listener: Arc::new(Listener {
            handler,
            socket: Arc::clone(&socket),
            open: open.clone(),
        }),
        runtime: Handle::current(),
        stop: stop.clone(),
    };
    thread::Builder::new()
        .name("dns-udp".to_owned())
        .spawn(move || {
            let _end = end;
            serving.run();
        })?;
    // Who drops this future ends the thread, too.
    let unblock = Unblock {
        socket,
        stop: stop.clone(),
    };
    tokio::select! {
        () = stop.cancelled() => {
            drop(unblock);
            let _ended: Result<(), oneshot::error::RecvError> = (&mut ended).await;
        }
        _ = &mut ended => {}
    }
    open.close();
    open.wait().await;
    Ok(())
}

/// Ends the thread when it is dropped.
struct Unblock {
    socket: Arc<UdpSocket>,
    stop: CancellationToken,
}

impl Drop for Unblock {
    fn drop(&mut self) {
        self.stop.cancel();
        // An error of a socket that is not connected, which wakes who waits all the same.
        SockRef::from(&*self.socket).shutdown(Shutdown::Read).ok();
    }
}

/// What answers need that come later.
pub(super) struct Listener<T: Truth> {
    pub(super) handler: Arc<Handler<T>>,
    pub(super) socket: Arc<UdpSocket>,
    /// What is not answered yet.
    pub(super) open: TaskTracker,
}

/// One thread.
struct Serving<T: Truth> {
    listener: Arc<Listener<T>>,
    runtime: Handle,
    stop: CancellationToken,
}

impl<T: Truth> Serving<T> {
    fn run(self) {
        // For the clock, which tests can pause.
        let _runtime = self.runtime.enter();
        let mut batches = match Batches::new(&self.listener.socket) {
            Ok(batches) => batches,
            Err(error) => {
                tracing::error!(%error, "a DNS socket has no address");
                return;
            }
        };
        let mut last = Last::default();
        let mut lines = Lines::default();
        while !self.stop.is_cancelled() {
            match self.turn(&mut batches, &mut last, &mut lines) {
                Ok(0) => {}
                Ok(unsent) => {
                    tracing::debug!(unsent, "no room for answers");
                    let lost = u64::try_from(unsent).unwrap_or(u64::MAX);
                    self.listener.handler.metrics().dns_overload.inc_by(lost);
                }
                Err(error) if is_no_failure(&error) || self.stop.is_cancelled() => {}
                Err(error) => {
                    tracing::warn!(%error, "could not read a datagram; pausing");
                    thread::sleep(PAUSE);
                }
            }
        }
        // Who has gone the long way is open, and may be told by what is late.
        while lines.are_in_time() || !lines.is_idle() && !self.listener.open.is_empty() {
            match lines.attend(None, LAST_LOOK) {
                Err(error) if !is_no_failure(&error) => break,
                _ => {}
            }
        }
    }

    /// Waits for clients, and for upstream where that owes answers, and does what there is to do. Says how many answers
    /// could not be sent.
    fn turn(&self, batches: &mut Batches, last: &mut Last, lines: &mut Lines) -> io::Result<usize> {
        let wait = match lines.is_idle() {
            true => Wait::ForOne,
            false if lines.attend(Some(&self.listener.socket), LOOK)? => Wait::No,
            false => return Ok(0),
        };
        let mut begun = Begun::default();
        self.read(batches, wait, last, &mut begun)?;
        let unsent = batches.send(&self.listener.socket);
        begun.send(lines);
        Ok(unsent)
    }

    /// Reads what comes, makes the answers that are at hand, and begins with the rest. All is counted before it is told.
    fn read(
        &self,
        batches: &mut Batches,
        wait: Wait,
        last: &mut Last,
        begun: &mut Begun,
    ) -> io::Result<()> {
        let mut fast: Option<Option<Fast<'_, T>>> = None;
        let listener = &self.listener;
        let received = batches.receive(&listener.socket, wait, |packet, way_back, out| {
            let client = ClientAddr::new(way_back.to);
            // After the wait, not before it: time passes, and things change.
            let fast =
                fast.get_or_insert_with(|| Fast::new(&*listener.handler, Transport::Udp, *last));
            let at_once = fast
                .as_mut()
                .and_then(|fast| fast.answer(packet, client, out));
            // The place comes before the task: this thread may be far ahead of the runtime, and a client that floods it
            // must not fill that with what has no place.
            if at_once.is_some() {
                return;
            }
            let Some(place) = listener.handler.enter(client) else {
                return;
            };
            let asked = match fast {
                Some(fast) => fast.begin(listener, packet, way_back, place, begun),
                None => Err(LongWay {
                    place,
                    granted: false,
                }),
            };
            if let Err(way) = asked {
                let answer = answer(Arc::clone(listener), way, packet.to_vec(), way_back);
                listener.open.spawn_on(answer, &self.runtime);
            }
        });
        if let Some(Some(fast)) = &fast {
            *last = fast.last();
        }
        received
    }
}

/// Whether it says only that there is nothing, or that a signal came.
fn is_no_failure(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), Interrupted | WouldBlock)
}

/// Answers a query the long way.
pub(super) async fn answer<T: Truth>(
    listener: Arc<Listener<T>>,
    LongWay { place, granted }: LongWay,
    packet: Vec<u8>,
    way_back: ReturnPath,
) {
    let client = ClientAddr::new(way_back.to);
    if let Some(answer) = listener
        .handler
        .answer_in(&place, packet, client, Transport::Udp, granted)
        .await
    {
        let unsent = net::send(&listener.socket, &answer, &[(answer.len(), way_back)]);
        if unsent > 0 {
            tracing::debug!(%client, "no room for an answer");
            listener.handler.metrics().dns_overload.inc();
        }
    }
}
