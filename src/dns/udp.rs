//! DNS over UDP (RFC 1035 section 4.2.1): each socket has a thread of its own, which waits in the kernel for a batch of
//! datagrams and for nothing else. What is at hand is answered at once (`fast`); every other question is answered in a
//! task on the runtime. Called by `server`.
//!
//! A thread that waits in `recvmmsg` needs two calls of the kernel for a question that comes alone; the runtime's own
//! sockets need three, and a wakeup through epoll.

use std::io;
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch;
use super::fast::Fast;
use super::handler::{Handler, Transport};
use super::in_flight::Place;
use super::truth::Truth;
use crate::net::ClientAddr;

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
        handler,
        socket: Arc::clone(&socket),
        open: open.clone(),
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

/// One thread.
struct Serving<T: Truth> {
    handler: Arc<Handler<T>>,
    socket: Arc<UdpSocket>,
    /// What is answered in tasks.
    open: TaskTracker,
    runtime: Handle,
    stop: CancellationToken,
}

impl<T: Truth> Serving<T> {
    fn run(self) {
        // For the clock, which tests can pause.
        let _runtime = self.runtime.enter();
        loop {
            let exchanged = self.answer_batch();
            if self.stop.is_cancelled() {
                break;
            }
            match exchanged {
                Ok(0) => {}
                Ok(unsent) => {
                    tracing::debug!(unsent, "no room for answers");
                    let lost = u64::try_from(unsent).unwrap_or(u64::MAX);
                    self.handler.metrics().dns_overload.inc_by(lost);
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
    fn answer_batch(&self) -> io::Result<usize> {
        let mut fast = None;
        batch::exchange(&self.socket, |packet, source, out| {
            let client = ClientAddr::new(source);
            // After the wait, not before it: time passes, and things change.
            let fast = fast.get_or_insert_with(|| Fast::new(&*self.handler, Transport::Udp));
            let at_once = fast
                .as_mut()
                .and_then(|fast| fast.answer(packet, client, out));
            // The place comes before the task: this thread may be far ahead of the runtime, and a client that floods it
            // must not fill that with what has no place.
            if at_once.is_none()
                && let Some(place) = self.handler.enter(client)
            {
                let answer = answer(
                    Arc::clone(&self.handler),
                    Arc::clone(&self.socket),
                    place,
                    packet.to_vec(),
                    source,
                );
                self.open.spawn_on(answer, &self.runtime);
            }
        })
    }
}

async fn answer<T: Truth>(
    handler: Arc<Handler<T>>,
    socket: Arc<UdpSocket>,
    place: Place,
    packet: Vec<u8>,
    source: SocketAddr,
) {
    let client = ClientAddr::new(source);
    if let Some(answer) = handler
        .answer_in(&place, packet, client, Transport::Udp)
        .await
    {
        let unsent = batch::send(&socket, &answer, &[(answer.len(), source)]);
        if unsent > 0 {
            tracing::debug!(%client, "no room for an answer");
            handler.metrics().dns_overload.inc();
        }
    }
}
