//! One flow, from its first datagram to its silence: read the name, reach the origin, pass everything on.
//!
//! A bystander does not see a connection end (RFC 9000 section 10: the close is encrypted), so a flow ends when both
//! sides have been silent for `proxy.quic-idle-timeout`, or the origin's port is closed.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::super::State;
use super::super::super::respond::{Failure, Kind};
use super::super::super::session::{Reached, Session};
use super::super::super::sniff::quic::{Initials, Sniffed};
use super::flows::Key;
use super::wire::{Room, Train, Wire, to};
use super::{Handle, Listener, Origin};
use crate::dial::{self, Settled};
use crate::net::{ClientAddr, Target};
use crate::relay::{Carried, Ended};
use crate::telemetry::{Inbound, Side};

/// How many datagrams of a client are kept until they have said where to go.
const MOST_DATAGRAMS: usize = 16;

/// How many bytes of them.
const MOST_BYTES: usize = 16 * 1024;

/// Room for the first reply, in bytes: nobody knows then of a path that takes more than an Ethernet frame.
const FIRST_REPLY: usize = 4 * 1024;

/// How many times, in its idle timeout, it is looked whether a flow is idle.
const LOOKS: u32 = 8;

/// How long a flow may be silent while we are about to stop.
const LAST_SILENCE: Duration = Duration::from_secs(1);

/// How often the socket of an origin is asked before others get their turn.
const TURNS: usize = 16;

thread_local! {
    /// One buffer for all flows: none of them holds it while it waits.
    static ROOM: RefCell<Room> = RefCell::new(Room::of_flow());
}

/// What the listener has for a flow.
#[derive(Debug)]
pub(super) enum Input {
    /// A datagram of the client.
    Datagram(Box<[u8]>),
    /// The origin's port is closed.
    Refused(io::Error),
}

/// A flow in its own task.
pub(super) struct Flow {
    listener: Arc<Listener>,
    key: Key,
    client: ClientAddr,
    state: Arc<State>,
    handle: Arc<Handle>,
    queue: mpsc::Receiver<Input>,
    initials: Initials,
    carried: (u64, u64),
}

/// When a flow has been silent for too long.
struct Silence {
    period: Duration,
    left: u32,
    heard: u64,
    draining: bool,
}

impl Flow {
    pub(super) fn new(
        listener: Arc<Listener>,
        key: Key,
        client: ClientAddr,
        state: Arc<State>,
        handle: Arc<Handle>,
        queue: mpsc::Receiver<Input>,
    ) -> Self {
        Self {
            listener,
            key,
            client,
            state,
            handle,
            queue,
            initials: Initials::default(),
            carried: (0, 0),
        }
    }

    /// Lives, and then is forgotten.
    pub(super) async fn live(mut self) {
        let proxy = Arc::clone(&self.listener.proxy);
        let reading = Box::pin(self.name());
        let Some(read) = proxy.cut.run_until_cancelled(reading).await else {
            return;
        };
        let Some((datagrams, name)) = read else {
            self.listener.lose("not-quic");
            return;
        };
        let session = Session::begin(Arc::clone(&proxy.metrics), self.client, Inbound::Quic);
        match name {
            Ok(target) => {
                if let Err(failure) = self.carry(&session, &target, datagrams).await {
                    session.failed(Some(&target), &failure);
                    self.refuse();
                }
            }
            Err(failure) => {
                session.failed(None, &failure);
                self.refuse();
            }
        }
    }

    /// Reads datagrams until they say where to go; gives them back with that. `None` where the first is no QUIC.
    async fn name(&mut self) -> Option<(Vec<Box<[u8]>>, Result<Target, Failure>)> {
        let limit = self.state.settings.proxy.sniff_timeout;
        let deadline = sleep(limit);
        tokio::pin!(deadline);
        let mut datagrams: Vec<Box<[u8]>> = Vec::new();
        let mut bytes = 0;
        loop {
            let input = tokio::select! {
                input = self.queue.recv() => input?,
                () = &mut deadline => {
                    let why = "the client did not say in time where to go";
                    return Some((datagrams, Err(Failure::of_client(Kind::HeadTimeout, why))));
                }
            };
            let Input::Datagram(datagram) = input else {
                continue;
            };
            let sniffed = self.initials.read(&datagram);
            bytes += datagram.len();
            datagrams.push(datagram);
            let (kind, why) = match sniffed {
                Sniffed::Found(host) => {
                    let port = self.state.settings.proxy.quic_origin_port;
                    return Some((datagrams, Ok(Target::new(host, port))));
                }
                Sniffed::NotQuic => return None,
                Sniffed::NoName => (Kind::NoName, "the ClientHello names no server"),
                Sniffed::Malformed(why) => (Kind::BadRequest, why),
                Sniffed::NeedMore if datagrams.len() < MOST_DATAGRAMS && bytes < MOST_BYTES => {
                    continue;
                }
                Sniffed::NeedMore => (
                    Kind::HeadTooLarge,
                    "the first 16 datagrams or 16 KiB do not say where to go",
                ),
            };
            return Some((datagrams, Err(Failure::of_client(kind, why))));
        }
    }

    /// Reaches the origin, and passes everything on until the end.
    async fn carry(
        &mut self,
        session: &Session,
        target: &Target,
        datagrams: Vec<Box<[u8]>>,
    ) -> Result<(), Failure> {
        let Some(settled) = self.reach(target, datagrams).await? else {
            return Ok(());
        };
        let reached = Reached::of_flow(&settled);
        let ended = self.pass_on().await;
        let (sent, received) = self.carried;
        let carried = Carried {
            sent: sent + self.handle.sent.load(Ordering::Relaxed),
            received,
            ended,
        };
        session.ended(target, &reached, &carried);
        Ok(())
    }

    /// Until the first reply: what the client sends goes to every address that is tried. `None`: cut before that.
    async fn reach(
        &mut self,
        target: &Target,
        datagrams: Vec<Box<[u8]>>,
    ) -> Result<Option<Settled>, Failure> {
        let mut buffer = vec![0; FIRST_REPLY];
        let Some(mut flow) = self.state.flow(self.client, target) else {
            let why = "what leaves by an upstream proxy is carried over TCP only";
            return Err(Failure::new(
                Kind::Dial(dial::DialErrorKind::Unroutable),
                Side::Client,
                why,
            ));
        };
        for datagram in datagrams {
            self.carried.0 += length(&datagram);
            flow.send(&datagram);
        }
        let proxy = Arc::clone(&self.listener.proxy);
        loop {
            tokio::select! {
                () = proxy.cut.cancelled() => return Ok(None),
                reply = flow.recv(&mut buffer) => {
                    let count = reply.map_err(Failure::from)?;
                    let reply = buffer.get(..count).unwrap_or_default();
                    self.tell_client(Train { bytes: reply, stride: count.max(1), ecn: None });
                    return self.settle(&flow, target).map(Some);
                }
                input = self.queue.recv() => {
                    if let Some(Input::Datagram(datagram)) = input {
                        self.carried.0 += length(&datagram);
                        flow.send(&datagram);
                    }
                }
            }
        }
    }

    /// Opens the straight way between the listener and the origin.
    fn settle(&self, flow: &dial::Flow, target: &Target) -> Result<Settled, Failure> {
        let ours = |why: String| {
            Failure::new(
                Kind::Dial(dial::DialErrorKind::Descriptors),
                Side::Sekisho,
                why,
            )
        };
        let (Some(settled), Some(socket)) = (flow.settled(), flow.socket()) else {
            return Err(ours(format!("{target} answered to nobody")));
        };
        let wire = Wire::new(socket).map_err(|error| ours(error.to_string()))?;
        let path = to(settled.address);
        // Nobody else sets it.
        self.handle.origin.set(Origin { wire, path }).ok();
        Ok(settled)
    }

    /// Passes datagrams on until the flow is silent, broken or cut.
    async fn pass_on(&mut self) -> Ended {
        let handle = Arc::clone(&self.handle);
        let proxy = Arc::clone(&self.listener.proxy);
        let Some(origin) = handle.origin.get() else {
            return Ended::Closed;
        };
        let mut silence = Silence::new(self.state.settings.proxy.quic_idle_timeout);
        let look = sleep(silence.period);
        tokio::pin!(look);
        loop {
            tokio::select! {
                () = proxy.cut.cancelled() => return Ended::Cut,
                () = proxy.stop.cancelled(), if !silence.draining => {
                    silence.hurry();
                    look.as_mut().reset(now() + silence.period);
                }
                () = &mut look => {
                    if silence.goes_on(handle.heard.load(Ordering::Relaxed), self.carried.1) {
                        return Ended::Idle;
                    }
                    look.as_mut().reset(now() + silence.period);
                }
                input = self.queue.recv() => match input {
                    Some(Input::Datagram(datagram)) => {
                        // Came before the straight way was open.
                        let train = Train { bytes: &datagram, stride: datagram.len().max(1), ecn: None };
                        if origin.wire.send(origin.path, train).is_ok() {
                            self.carried.0 += length(&datagram);
                        }
                    }
                    Some(Input::Refused(error)) => return Ended::Broken(Side::Origin, error),
                    None => return Ended::Closed,
                },
                ready = origin.wire.readable() => {
                    if let Err(error) = ready.and_then(|()| self.hear_origin(&origin.wire)) {
                        return Ended::Broken(Side::Origin, error);
                    }
                }
            }
        }
    }

    /// Passes on what the origin has sent.
    fn hear_origin(&mut self, wire: &Wire) -> io::Result<()> {
        ROOM.with_borrow_mut(|room| {
            for _ in 0..TURNS {
                match wire.receive(room, |_, train| self.tell_client(train)) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        return Err(error);
                    }
                    // A route that is gone may come back; the silence decides.
                    Err(error) => tracing::debug!(%error, "could not receive from an origin"),
                }
            }
            Ok(())
        })
    }

    fn tell_client(&mut self, train: Train<'_>) {
        let mut flows = self.listener.flows();
        for datagram in train.datagrams() {
            // Only long headers say anything of IDs.
            if datagram.first().is_some_and(|first| first & 0x80 != 0) {
                flows.learn(self.key, datagram);
            }
        }
        let path = flows.path(self.key);
        drop(flows);
        if path.is_some_and(|path| self.listener.send(path, train)) {
            self.carried.1 += length(train.bytes);
        }
    }

    /// Tells the client that nothing will come of it, so that it need not wait.
    fn refuse(&self) {
        let path = self.listener.flows().path(self.key);
        if let (Some(path), Some(refusal)) = (path, self.initials.refusal()) {
            self.listener.answer(path, &refusal);
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.listener.flows().remove(self.key);
    }
}

impl Silence {
    fn new(timeout: Duration) -> Self {
        Self {
            period: timeout / LOOKS,
            left: LOOKS,
            heard: 0,
            draining: false,
        }
    }

    /// We are about to stop, and nobody sees whether a flow that says nothing is only waiting: it need not hold us up.
    fn hurry(&mut self) {
        self.draining = true;
        self.period = self.period.min(LAST_SILENCE / LOOKS);
        self.left = LOOKS;
    }

    /// Told of what came from either side so far, after each period: whether the silence is too long now.
    fn goes_on(&mut self, from_client: u64, from_origin: u64) -> bool {
        let heard = from_client.wrapping_add(from_origin);
        if heard != self.heard {
            self.heard = heard;
            self.left = LOOKS;
            return false;
        }
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "only when to look again depends on it"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_idle_after_its_timeout_without_a_word_from_either_side() {
        let mut silence = Silence::new(Duration::from_secs(80));
        assert_eq!(silence.period, Duration::from_secs(10));
        assert!(!silence.goes_on(1, 0));
        for _ in 0..7 {
            assert!(!silence.goes_on(1, 0));
        }
        assert!(!silence.goes_on(1, 5), "a word of the origin");
        for _ in 0..7 {
            assert!(!silence.goes_on(1, 5));
        }
        assert!(silence.goes_on(1, 5));
    }

    #[test]
    fn a_flow_that_is_silent_does_not_hold_up_a_stop() {
        let mut silence = Silence::new(Duration::from_secs(80));
        silence.hurry();
        assert_eq!(silence.period * LOOKS, LAST_SILENCE);
        assert!(!silence.goes_on(1, 0));
        assert!((0..8).any(|_| silence.goes_on(1, 0)));
        let mut short = Silence::new(Duration::from_millis(80));
        short.hurry();
        assert_eq!(short.period, Duration::from_millis(10));
    }
}
