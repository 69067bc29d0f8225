//! Transparent QUIC: the SNI in the first packets says where to go; nothing else is decrypted, and datagrams are passed on
//! as they came (RFC 9000; RFC 9312 tells what stands on the way may rely on).
//!
//! This file is the listener: it tells flows apart by [`flows`] and hands each its datagrams. [`flow`] is the life of one
//! of them. Whoever cannot be served is told so by the one packet that a bystander can make, so that it goes over to TCP at
//! once; only strangers, and what is no QUIC, get no answer.
//!
//! What bounds what an address gets that a datagram only claims to come from (RFC 9000 section 8): it must be a client's;
//! what we say by ourselves is shorter than the datagram that it answers; and the one origin whose words are passed on has
//! got no byte more than its client sent, and keeps to three times that until the client's second flight. Nobody here
//! holds an origin to it that does not keep to it, or that knows the gate by a token.

mod flow;
mod flows;
mod wire;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use self::flow::{Flow, Input};
use self::flows::{Flows, Found, Full, Key, Path};
use self::wire::{Room, Train, Wire};
use super::super::sniff::quic::Initials;
use super::super::{Proxy, State};
use crate::net::{self, ClientAddr};
use crate::telemetry::DropLabels;

/// How many datagrams of a client may wait for the task of their flow: a first flight, and some more.
const QUEUE: usize = 64;

/// The pause after an error of the listener's socket.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener, and its flows.
#[derive(Debug)]
struct Listener {
    proxy: Arc<Proxy>,
    wire: Wire,
    flows: Mutex<Flows<Arc<Handle>>>,
}

/// What the listener and the task of a flow have in common.
#[derive(Debug)]
struct Handle {
    inputs: mpsc::Sender<Input>,
    /// The straight way to the origin, once it has said a word.
    origin: OnceLock<Origin>,
    /// Bytes that went the straight way.
    sent: AtomicU64,
    /// Datagrams of the client; wraps around, since only changes are looked at.
    heard: AtomicU64,
}

/// An origin that has answered.
#[derive(Debug)]
struct Origin {
    wire: Wire,
    path: Path,
}

/// Serves until [`Proxy::stop`] was called and no session is left: a client goes on sending to this socket.
pub(in crate::proxy) async fn serve(proxy: Arc<Proxy>, socket: UdpSocket) {
    let wire = match Wire::new(Arc::new(socket)) {
        Ok(wire) => wire,
        Err(error) => {
            tracing::error!(%error, "QUIC cannot be received");
            return;
        }
    };
    let listener = Arc::new(Listener {
        proxy,
        wire,
        flows: Mutex::default(),
    });
    let mut room = Room::of_listener();
    loop {
        tokio::select! {
            biased;
            () = listener.proxy.drained() => return,
            ready = listener.wire.readable() => {
                let received = ready.and_then(|()| {
                    listener
                        .wire
                        .receive(&mut room, |path, train| listener.take(path, train))
                });
                if let Err(error) = received {
                    // Such as a lack of memory. What a datagram of ours met on its way is not told here.
                    tracing::debug!(%error, "could not receive QUIC");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Listener {
    /// Hands datagrams to the flows that they belong to, neighbours of the same flow together.
    fn take(self: &Arc<Self>, path: Path, train: Train<'_>) {
        let mut run: Option<(Key, usize, usize)> = None;
        let mut place = 0;
        for datagram in train.datagrams() {
            let end = place + datagram.len();
            let found = self.flows().find(path, datagram);
            match (&found, &mut run) {
                (Found::Flow(key), Some((of, _, until))) if key == of => *until = end,
                _ => {
                    self.pass(run.take(), train);
                    match found {
                        Found::Flow(key) => run = Some((key, place, end)),
                        Found::New => self.begin(path, datagram),
                        Found::Negotiate(answer) => self.negotiate(path, &answer),
                        Found::Stray => self.lose("stray"),
                    }
                }
            }
            place = end;
        }
        self.pass(run, train);
    }

    /// Hands a run of datagrams to its flow.
    fn pass(&self, run: Option<(Key, usize, usize)>, train: Train<'_>) {
        let Some((key, start, end)) = run else { return };
        let handle = self.flows().value(key).cloned();
        let (Some(handle), Some(bytes)) = (handle, train.bytes.get(start..end)) else {
            return;
        };
        handle.heard.fetch_add(1, Ordering::Relaxed);
        let train = Train { bytes, ..train };
        let Some(origin) = handle.origin.get() else {
            for datagram in train.datagrams() {
                if handle
                    .inputs
                    .try_send(Input::Datagram(datagram.into()))
                    .is_err()
                {
                    self.lose("queue");
                }
            }
            return;
        };
        match origin.wire.send(origin.path, train) {
            Ok(()) => {
                let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                handle.sent.fetch_add(bytes, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Whoever comes first tells it.
                handle.inputs.try_send(Input::Refused(error)).ok();
            }
            Err(_) => self.lose("busy"),
        }
    }

    /// Takes up a flow, or says that it will not.
    fn begin(self: &Arc<Self>, path: Path, datagram: &[u8]) {
        let client = ClientAddr::new(path.client);
        let state = self.proxy.live.load_full();
        if !self.is_client(&state, client.ip()) {
            return;
        }
        let entered = if self.proxy.stop.is_cancelled() {
            Err("draining")
        } else {
            self.enter(path, client, state, datagram)
        };
        let Err(refused) = entered else { return };
        tracing::debug!(%client, reason = refused, "QUIC refused");
        self.proxy.count_refusal(refused);
        let mut initials = Initials::default();
        initials.read(datagram);
        if let Some(refusal) = initials.refusal() {
            self.answer(path, &refusal);
        }
    }

    fn enter(
        self: &Arc<Self>,
        path: Path,
        client: ClientAddr,
        state: Arc<State>,
        datagram: &[u8],
    ) -> Result<(), &'static str> {
        if !state.in_rate(&self.proxy, client) {
            return Err("rate");
        }
        let seat = self.proxy.admission.enter_if_room(client.ip());
        let seat = seat.map_err(|full| match full {
            net::Full::Total => "total",
            net::Full::Client => "per-client",
        })?;
        let settings = &state.settings.proxy;
        let limits = (settings.quic_flows, settings.quic_flows_per_client);
        let (inputs, queue) = mpsc::channel(QUEUE);
        inputs.try_send(Input::Datagram(datagram.into())).ok();
        let handle = Arc::new(Handle {
            inputs,
            origin: OnceLock::new(),
            sent: AtomicU64::new(0),
            heard: AtomicU64::new(1),
        });
        let entered = self
            .flows()
            .insert(path, datagram, limits, |_| Arc::clone(&handle));
        let key = entered.map_err(|full| match full {
            Full::All => "flows",
            Full::Client => "flows-per-client",
        })?;
        let flow = Flow::new(Arc::clone(self), key, client, state, handle, queue);
        self.proxy.sessions.spawn(async move {
            let _seat = seat;
            flow.live().await;
        });
        Ok(())
    }

    fn negotiate(&self, path: Path, answer: &[u8]) {
        let state = self.proxy.live.load_full();
        if self.is_client(&state, ClientAddr::new(path.client).ip()) {
            self.lose("version");
            self.answer(path, answer);
        }
    }

    /// Whether the address is a client's. A stranger is counted, and told nothing.
    fn is_client(&self, state: &State, address: IpAddr) -> bool {
        let known = state.settings.networks.contains(address);
        if !known {
            self.proxy.count_refusal("stranger");
        }
        known
    }

    /// Sends one datagram of our own.
    fn answer(&self, path: Path, datagram: &[u8]) {
        let train = Train {
            bytes: datagram,
            stride: datagram.len().max(1),
            ecn: None,
        };
        self.send(path, train);
    }

    /// Sends datagrams to a client; says whether the kernel took them.
    fn send(&self, path: Path, train: Train<'_>) -> bool {
        let sent = self.wire.send(path, train);
        if let Err(error) = &sent {
            tracing::trace!(client = %path.client, %error, "datagrams lost");
            self.lose("busy");
        }
        sent.is_ok()
    }

    fn lose(&self, reason: &'static str) {
        let dropped = &self.proxy.metrics.udp_dropped;
        dropped.get_or_create(&DropLabels { reason }).inc();
    }

    fn flows(&self) -> MutexGuard<'_, Flows<Arc<Handle>>> {
        // Every change is complete before anything can panic.
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
