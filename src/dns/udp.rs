//! DNS over UDP (RFC 1035 section 4.2.1): each socket has a thread of its own, which waits in the kernel for a batch of
//! datagrams and for nothing else. What is at hand is answered at once (`fast`); every other question is answered in a
//! task on the runtime. Called by `server`.
//!
//! A thread that waits in `recvmmsg` needs two calls of the kernel for a question that comes alone; the runtime's own
//! sockets need three, and a wakeup through epoll.

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
use crate::net::{self, Batches, ClientAddr, ReturnPath};

/// How long to wait after the socket failed: the kernel is out of memory, for example.
const PAUSE: Duration = Duration::from_millis(10);

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
        loop {
            let exchanged = self.answer_batch(&mut batches, &mut last);
            if self.stop.is_cancelled() {
                break;
            }
            match exchanged {
                Ok(0) => {}
                Ok(unsent) => {
                    tracing::debug!(unsent, "no room for answers");
                    let lost = u64::try_from(unsent).unwrap_or(u64::MAX);
                    self.listener.handler.metrics().dns_overload.inc_by(lost);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "could not read a datagram; pausing");
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Waits for what comes, answers what is at hand, and begins with the rest. Says how many answers could not be sent.
    fn answer_batch(&self, batches: &mut Batches, last: &mut Last) -> io::Result<usize> {
        let mut fast: Option<Option<Fast<'_, T>>> = None;
        let listener = &self.listener;
        let exchanged = batches.exchange(&listener.socket, |packet, way_back, out| {
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
            let begun = match fast {
                Some(fast) => fast.begin(listener, packet, way_back, place),
                None => Err(LongWay {
                    place,
                    granted: false,
                }),
            };
            if let Err(way) = begun {
                let answer = answer(Arc::clone(listener), way, packet.to_vec(), way_back);
                listener.open.spawn_on(answer, &self.runtime);
            }
        });
        if let Some(Some(fast)) = &fast {
            *last = fast.last();
        }
        exchanged
    }
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
