//! UDP to an origin. A datagram has no handshake, so what wins a race is the first reply: the idea of RFC 8305 carried
//! over to a protocol that does not say when it is connected.
//!
//! For QUIC, and whoever else speaks to one origin: [`Dialer::flow`]. For SOCKS5's UDP ASSOCIATE, which speaks to many
//! origins from one port: [`Dialer::udp_socket`], [`Dialer::addresses`] and [`Dialer::permits`].

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::guard::Refusal;
use super::happy_eyeballs::{Input, Output, Race};
use super::history::Over;
use super::losses::Losses;
use super::rules::Rules;
use super::ways::{Ways, send_now};
use super::{Addresses, DialError, Dialer, now};
use crate::config::{Families, Rule};
use crate::net::{ClientAddr, Family, Host, Target};
use crate::resolve::ResolveError;
use crate::telemetry::DropLabels;

#[cfg(test)]
mod tests;

/// How many datagrams of the first flight are remembered for the next candidate.
pub const FLIGHT_DATAGRAMS: usize = 16;

/// How many bytes of it: the first flight of a QUIC client with a post-quantum key is two or three datagrams.
pub const FLIGHT_BYTES: usize = 16 * 1024;

impl Dialer {
    /// A flow of datagrams between a client and the target, by whichever address of the target replies first. `rule` is the
    /// first one that matches the session.
    ///
    /// Nothing happens in this call: names are resolved, sockets opened and datagrams sent again while
    /// [`Flow::recv`] is polled. It must be polled for as long as the flow is wanted, and it is cancel-safe: the loop of
    /// a session is a `select!` over the client's next datagram, handed to [`Flow::send`], and `recv`, whose datagrams go
    /// to the client. Send the client's first datagram right after this call: the time that the origin has, begins here.
    ///
    /// In order:
    ///
    /// 1. Both families are asked for, and every address is judged by the guard, as in [`Dialer::dial`].
    /// 2. The first candidate gets a connected socket, on which the guard judges once more, and all that the client has
    ///    sent so far: the first flight, of at most [`FLIGHT_DATAGRAMS`] and [`FLIGHT_BYTES`]. What is beyond those is
    ///    sent to the candidates that are open, and not remembered for the others.
    /// 3. After `egress.attempt-delay` without a reply, or at once where a candidate refuses (ICMP port unreachable, no
    ///    route), the next candidate gets the same flight. Candidates that are open still get what the client goes on
    ///    sending, and may still win.
    /// 4. The first datagram that comes back decides. The other sockets are closed, the flight is forgotten, and all that
    ///    follows goes to that address only: see [`Flow::settled`].
    ///
    /// The sockets never fragment (RFC 9000 section 14): a datagram longer than the path takes is dropped and counted, as
    /// a router would. Every source port is fresh, and only datagrams of the address that it is connected to come in.
    pub fn flow(&self, client: ClientAddr, target: &Target, rule: Option<&Rule>) -> Flow {
        Flow(Course::new(
            Arc::clone(&self.rules),
            self.rules.families(rule),
            &self.names,
            System(self.rules.ways.clone()),
            client,
            target,
        ))
    }

    /// An unconnected socket on a free port, from which every address of the family can be reached; for SOCKS5, of which
    /// a client expects that all its datagrams leave by one port. It fragments where a datagram is too long for the path.
    ///
    /// Nothing is guarded here. Every address that a datagram goes to must come from [`Dialer::addresses`], or be asked
    /// for with [`Dialer::permits`], and be asked for again from time to time: own addresses come and go.
    ///
    /// # Errors
    ///
    /// What the system says: no descriptor is left, the family is switched off (`EAFNOSUPPORT`), or `egress.ipv4` or
    /// `egress.ipv6` names a source or an interface that is not there.
    pub fn udp_socket(&self, family: Family) -> io::Result<UdpSocket> {
        UdpSocket::from_std(self.rules.ways.open_udp(family)?)
    }

    /// Whether clients may send to the address: the guard's rules, no listener of ours, and no way by which the kernel
    /// would lead it back to this machine. IPv4-mapped addresses are judged as the IPv4 addresses that they are.
    ///
    /// Costs a few microseconds (a socket is connected, and nothing sent); remember the outcome for seconds, not longer.
    ///
    /// # Errors
    ///
    /// [`Refusal`] says why not.
    pub fn permits(&self, address: SocketAddr) -> Result<(), Refusal> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        self.rules.admit(address)?;
        // Where there is no way to the address, nothing can be led back either.
        let Ok(probe) = self.rules.ways.connect_udp(address) else {
            return Ok(());
        };
        match probe.local_addr() {
            Ok(local) => self.rules.guard.check_ends(local.ip(), address.ip()),
            Err(_) => Ok(()),
        }
    }

    /// The addresses of the target that clients may send to, the one to be tried first at the front: families take turns
    /// in it (RFC 8305 section 4). The target's port is in each of them. At least one is there. `rule` is the first one that
    /// matches the session; an address of a family that it leaves out is refused, also one that is the target itself.
    ///
    /// For [`Dialer::udp_socket`]: the first address whose family there is a socket for, is the one. Where that one turns
    /// out to be dead (`ECONNREFUSED` is not reported on an unconnected socket, so: no reply), take the next.
    ///
    /// It waits for the first family that has an address, and then for the other one, though only 50 ms.
    ///
    /// # Errors
    ///
    /// [`DialError`]: all addresses are closed to clients, there is none, or none was found within
    /// `egress.connect-timeout`.
    pub async fn addresses(
        &self,
        client: ClientAddr,
        target: &Target,
        rule: Option<&Rule>,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let families = self.rules.families(rule);
        let found = self.rules.candidates(client, target, families, &self.names);
        found.await
    }
}

/// A flow of datagrams to a target. Made by [`Dialer::flow`], which tells all about it. Dropping it ends it.
pub struct Flow(Course<System>);

/// How an origin was reached over UDP: what the line of a session at its end says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The address that replied first.
    pub address: SocketAddr,
    /// Its family.
    pub family: Family,
    /// Candidates that were sent to, this one included.
    pub attempts: usize,
    /// From the wish to the first reply.
    pub elapsed: Duration,
}

impl Flow {
    /// Sends a datagram of the client. Never waits and never fails: what cannot be sent is dropped and counted
    /// (`sekisho_udp_dropped`), and where the origin is found to be gone, the next [`Flow::recv`] says so.
    pub fn send(&mut self, datagram: &[u8]) {
        self.0.send(datagram);
    }

    /// The next datagram of the origin, and its length. What does not fit into `buffer` is lost: 64 KiB always do, 1500
    /// bytes do for QUIC.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has lost no datagram.
    ///
    /// # Errors
    ///
    /// [`DialError`], and then the flow is over. Before the first reply, as for [`Dialer::dial`]: closed to clients, no
    /// address, not resolved, every candidate refused ([`DialError::Unreachable`], at once), or nobody replied within
    /// `egress.connect-timeout` ([`DialError::Timeout`]). After it, only [`DialError::Unreachable`] of the kind
    /// `ConnectionRefused` or `Unreachable`: the origin has closed its port. There is no idle timeout here.
    pub async fn recv(&mut self, buffer: &mut [u8]) -> Result<usize, DialError> {
        self.0.recv(buffer).await
    }

    /// How the origin was reached; `None` before its first reply.
    pub fn settled(&self) -> Option<Settled> {
        match &self.0.state {
            State::Settled(settled) => Some(settled.how),
            State::Racing(_) | State::Over => None,
        }
    }

    /// The connected socket, once the first reply is there, for those who send or receive many datagrams in one call. It
    /// may be used from several tasks, and beside [`Flow::send`] and [`Flow::recv`].
    pub fn socket(&self) -> Option<Arc<UdpSocket>> {
        match &self.0.state {
            State::Settled(settled) => Some(Arc::clone(&settled.socket)),
            State::Racing(_) | State::Over => None,
        }
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow")
            .field("target", &self.0.target)
            .field("settled", &self.settled())
            .finish_non_exhaustive()
    }
}

/// Who opens connected sockets. The tests have their own.
pub(super) trait Wire: Send + Sync {
    type Socket: Leg;

    fn open(&self, to: SocketAddr) -> io::Result<Self::Socket>;
}

/// A connected socket.
pub(super) trait Leg: Send + Sync {
    fn send(&self, datagram: &[u8]) -> io::Result<()>;

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>;

    fn local_ip(&self) -> io::Result<IpAddr>;
}

/// The system's UDP.
pub(super) struct System(Ways);

impl Wire for System {
    type Socket = UdpSocket;

    fn open(&self, to: SocketAddr) -> io::Result<UdpSocket> {
        UdpSocket::from_std(self.0.connect_udp(to)?)
    }
}

impl Leg for UdpSocket {
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        send_now(self, datagram).map(drop)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Self::poll_recv(self, context, buffer)
    }

    fn local_ip(&self) -> io::Result<IpAddr> {
        Ok(self.local_addr()?.ip())
    }
}

/// A flow, whoever opens its sockets.
pub(super) struct Course<W: Wire> {
    rules: Arc<Rules>,
    wire: W,
    target: Target,
    begun: Instant,
    state: State<W::Socket>,
}

enum State<S> {
    /// Nobody has replied yet. In a box: most flows have had their reply.
    Racing(Box<Racing<S>>),
    Settled(Winner<S>),
    /// Told the caller that it is over.
    Over,
}

struct Winner<S> {
    socket: Arc<S>,
    how: Settled,
    /// What sending found out, for the next `recv` to say.
    error: Option<io::Error>,
}

type Lookup = Pin<Box<dyn Future<Output = (Family, Result<Vec<IpAddr>, ResolveError>)> + Send>>;

struct Racing<S> {
    race: Race,
    lookups: Vec<Lookup>,
    legs: Vec<(IpAddr, S)>,
    flight: Flight,
    losses: Losses,
    attempts: Vec<(IpAddr, Instant)>,
    deadline: Pin<Box<Sleep>>,
}

/// Why a candidate did not get the flight.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// What the client has sent before anybody replied.
#[derive(Debug, Default)]
struct Flight {
    datagrams: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl Flight {
    /// Remembers a datagram; `false` where there is no room for it.
    fn keep(&mut self, datagram: &[u8]) -> bool {
        let bytes = self.bytes + datagram.len();
        if self.datagrams.len() == FLIGHT_DATAGRAMS || bytes > FLIGHT_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.datagrams.push_back(datagram.into());
        true
    }
}

/// What ended a wait.
enum Event {
    Resolved(Family, Result<Vec<IpAddr>, ResolveError>),
    /// The candidate at this place has said this much.
    Replied(usize, usize),
    Refused(usize, io::Error),
    Woke,
    TimedOut,
}

impl<W: Wire> Course<W> {
    pub(super) fn new<R>(
        rules: Arc<Rules>,
        families: Families,
        names: &R,
        wire: W,
        client: ClientAddr,
        target: &Target,
    ) -> Self
    where
        R: Addresses + Clone + Send + 'static,
    {
        tracing::trace!(%client, %target, "a flow begins");
        let mut racing = Racing {
            race: rules.race(families),
            lookups: Vec::new(),
            legs: Vec::new(),
            flight: Flight::default(),
            losses: Losses::default(),
            attempts: Vec::new(),
            deadline: Box::pin(sleep(rules.connect_timeout)),
        };
        match &target.host {
            Host::Name(name) => {
                for family in [Family::V6, Family::V4] {
                    if !families.allow(family) {
                        racing.losses.left_out = Some(families);
                        racing.resolved(&rules, target, family, Vec::new());
                        continue;
                    }
                    let (names, name) = (names.clone(), name.clone());
                    racing.lookups.push(Box::pin(async move {
                        (family, names.addresses(&name, family).await)
                    }));
                }
            }
            Host::Addr(address) => {
                let family = Family::of(*address);
                let open = rules.literal(target, *address, families, &mut racing.losses);
                rules.enter(&mut racing.race, Over::Udp, family, open);
                racing.resolved(&rules, target, family.other(), Vec::new());
            }
        }
        Self {
            rules,
            wire,
            target: target.clone(),
            begun: now(),
            state: State::Racing(Box::new(racing)),
        }
    }

    pub(super) fn send(&mut self, datagram: &[u8]) {
        let rules = &self.rules;
        match &mut self.state {
            State::Settled(winner) => match sent(rules, winner.socket.send(datagram)) {
                Ok(()) => {}
                Err(error) => {
                    winner.error.get_or_insert(error);
                }
            },
            State::Racing(racing) => {
                let kept = racing.flight.keep(datagram);
                if !kept {
                    dropped(rules, "flight");
                }
                for place in (0..racing.legs.len()).rev() {
                    let Some((_, socket)) = racing.legs.get(place) else {
                        continue;
                    };
                    if let Err(error) = sent(rules, socket.send(datagram)) {
                        racing.refused(rules, place, error);
                    }
                }
            }
            State::Over => {}
        }
    }

    pub(super) async fn recv(&mut self, buffer: &mut [u8]) -> Result<usize, DialError> {
        let outcome = loop {
            match &mut self.state {
                State::Settled(winner) => {
                    let received = match winner.error.take() {
                        Some(error) => Err(error),
                        None => received(&*winner.socket, buffer).await,
                    };
                    break received.map_err(|error| {
                        let attempts = vec![(winner.how.address.ip(), error)];
                        DialError::of_attempts(self.target.clone(), attempts)
                    });
                }
                State::Racing(racing) => {
                    let rules = &self.rules;
                    let Ok(wake) = racing.step(rules, &self.wire, &self.target) else {
                        let losses = std::mem::take(&mut racing.losses);
                        break Err(losses.into_error(&self.target));
                    };
                    match racing.next(wake, buffer).await {
                        Event::Resolved(family, answer) => {
                            let addresses = answer.unwrap_or_else(|error| {
                                racing.losses.lookup = Some(error);
                                Vec::new()
                            });
                            racing.resolved(rules, &self.target, family, addresses);
                        }
                        Event::Replied(place, length) => {
                            self.settle(place);
                            break Ok(length);
                        }
                        Event::Refused(place, error) => racing.refused(rules, place, error),
                        Event::Woke => {}
                        Event::TimedOut => {
                            for (address, _) in &racing.legs {
                                rules.count_failure(*address);
                            }
                            let target = self.target.clone();
                            break Err(if racing.attempts.is_empty() {
                                let source = ResolveError::Timeout;
                                DialError::Resolve { target, source }
                            } else {
                                let after = rules.connect_timeout;
                                DialError::Timeout { target, after }
                            });
                        }
                    }
                }
                // Whoever asks again is told again.
                State::Over => {
                    let target = self.target.clone();
                    return Err(DialError::of_attempts(target, Vec::new()));
                }
            }
        };
        if outcome.is_err() {
            self.state = State::Over;
        }
        outcome
    }

    fn settle(&mut self, place: usize) {
        let State::Racing(racing) = &mut self.state else {
            return;
        };
        let attempts = racing.attempts.len();
        let (address, socket) = racing.legs.swap_remove(place);
        let won = SocketAddr::new(address, self.target.port);
        let (losses, running) = (&racing.losses, racing.race.running());
        let begun = &racing.attempts;
        self.rules.learn(Over::Udp, won, losses, running, begun);
        let elapsed = now().duration_since(self.begun);
        let family = Family::of(address);
        self.rules
            .metrics
            .connect_seconds
            .get_or_create(&family.into())
            .observe(elapsed.as_secs_f64());
        self.state = State::Settled(Winner {
            socket: Arc::new(socket),
            how: Settled {
                address: won,
                family,
                attempts,
                elapsed,
            },
            error: None,
        });
    }
}

impl<S: Leg> Racing<S> {
    fn resolved(&mut self, rules: &Rules, target: &Target, family: Family, addresses: Vec<IpAddr>) {
        let open = rules.open_ones(target, addresses, &mut self.losses);
        rules.enter(&mut self.race, Over::Udp, family, open);
    }

    /// Does what the race says until it says to wait; `Err` where it is given up. Before the client has sent anything
    /// there is nothing that a candidate could reply to.
    fn step<W: Wire<Socket = S>>(
        &mut self,
        rules: &Rules,
        wire: &W,
        target: &Target,
    ) -> Result<Option<Instant>, ()> {
        while !(self.flight.datagrams.is_empty() && self.race.is_waiting()) {
            match self.race.poll(now().into_std()) {
                Output::Start(address) => {
                    self.attempts.push((address, now()));
                    self.start(rules, wire, SocketAddr::new(address, target.port));
                }
                Output::WaitUntil(time) => return Ok(Some(time.into())),
                Output::Wait => return Ok(None),
                Output::Done(_) | Output::GiveUp => return Err(()),
            }
        }
        Ok(None)
    }

    fn start<W: Wire<Socket = S>>(&mut self, rules: &Rules, wire: &W, to: SocketAddr) {
        match self.open(rules, wire, to) {
            Ok(socket) => self.legs.push((to.ip(), socket)),
            Err(Lost::Refused(why)) => {
                tracing::debug!(address = %to, %why, "flow refused at its socket");
                self.losses.refused.get_or_insert_with(|| (to.ip(), why));
                rules.count_failure(to.ip());
                self.race.note(Input::Failed(to.ip()), now().into_std());
            }
            Err(Lost::Failed(error)) => self.failed(rules, to.ip(), error),
        }
    }

    /// A socket that leads away from this machine, and has got the flight.
    fn open<W: Wire<Socket = S>>(
        &self,
        rules: &Rules,
        wire: &W,
        to: SocketAddr,
    ) -> Result<S, Lost> {
        rules.admit(to)?;
        let socket = wire.open(to)?;
        rules.guard.check_ends(socket.local_ip()?, to.ip())?;
        for datagram in &self.flight.datagrams {
            sent(rules, socket.send(datagram))?;
        }
        Ok(socket)
    }

    fn refused(&mut self, rules: &Rules, place: usize, error: io::Error) {
        let (address, _) = self.legs.swap_remove(place);
        self.failed(rules, address, error);
    }

    fn failed(&mut self, rules: &Rules, address: IpAddr, error: io::Error) {
        tracing::debug!(%address, %error, "candidate of a flow failed");
        rules.count_failure(address);
        self.losses.attempts.push((address, error));
        self.race.note(Input::Failed(address), now().into_std());
    }

    /// Waits for what comes first.
    async fn next(&mut self, wake: Option<Instant>, buffer: &mut [u8]) -> Event {
        let mut timer = wake.map(|time| Box::pin(sleep_until(time)));
        poll_fn(|context| {
            for (place, lookup) in self.lookups.iter_mut().enumerate() {
                if let Poll::Ready((family, answer)) = lookup.as_mut().poll(context) {
                    // Dropped now: a future that has ended must not be polled again.
                    drop(self.lookups.swap_remove(place));
                    return Poll::Ready(Event::Resolved(family, answer));
                }
            }
            for (place, (_, socket)) in self.legs.iter().enumerate() {
                match poll_received(socket, context, buffer) {
                    Poll::Ready(Ok(length)) => return Poll::Ready(Event::Replied(place, length)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Event::Refused(place, error)),
                    Poll::Pending => {}
                }
            }
            if self.deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::TimedOut);
            }
            match &mut timer {
                Some(timer) => timer.as_mut().poll(context).map(|()| Event::Woke),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// The next datagram, or the error that ends the flow.
async fn received(socket: &impl Leg, buffer: &mut [u8]) -> io::Result<usize> {
    poll_fn(|context| poll_received(socket, context, buffer)).await
}

fn poll_received(
    socket: &impl Leg,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        let mut read = ReadBuf::new(buffer);
        return match socket.poll_recv(context, &mut read) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(read.filled().len())),
            // Not the end: such an error is about one datagram that was sent.
            Poll::Ready(Err(error)) if is_about_a_datagram(&error) => continue,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
    }
}

/// What sending came to: a datagram that is dropped is no failure.
fn sent(rules: &Rules, outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if is_about_a_datagram(&error) => {
            let too_long = error.raw_os_error() == Some(Errno::EMSGSIZE as i32);
            dropped(rules, if too_long { "too-long" } else { "busy" });
            Ok(())
        }
        outcome => outcome,
    }
}

fn dropped(rules: &Rules, reason: &'static str) {
    rules
        .metrics
        .udp_dropped
        .get_or_create(&DropLabels { reason })
        .inc();
}

/// Too long for the path, or no room in the kernel: the next one may do better.
fn is_about_a_datagram(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMSGSIZE | Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR)
    )
}
