//! UDP ASSOCIATE (RFC 1928 section 7): datagrams of one client, to as many origins as it likes, over both families.
//!
//! An association has a socket towards its client, on the address that the client came to, and one for each family
//! towards the origins, so that an origin sees one port. Every target is judged by the guard; only addresses that were
//! sent to are heard; only the client's own address and port are served. It ends with its TCP connection, or when it was
//! silent for too long. Nothing is queued: a datagram goes on at once or is dropped and counted.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use socket2::SockRef;
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::super::State;
use super::super::respond::{Failure, Kind};
use super::super::session::{Datagrams, Session};
use super::peers::{Peers, Way};
use super::wire::{self, LONGEST_HEADER, Request, Wrong};
use super::{Address, now};
use crate::net::{ClientAddr, Family, Host, Seat, Target, bind_udp};
use crate::relay::Ended;
use crate::telemetry::{DropLabels, Metrics, Side};

/// Datagrams that are taken from one socket before the others have their turn.
const TURN: usize = 32;

/// The longest datagram.
const LONGEST: usize = 65_536;

thread_local! {
    /// What is being carried on this thread. An association that waits holds nothing.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; LONGEST_HEADER + LONGEST]);
}

/// An association that stands.
pub(super) struct Association {
    /// Dropped first: a session that is no longer counted holds no place.
    _seat: Seat,
    session: Session,
    metrics: Arc<Metrics>,
    state: Arc<State>,
    client: ClientAddr,
    /// The port that the client sends from: announced, or seen first.
    port: Option<u16>,
    home: UdpSocket,
    /// Towards the origins, opened when they are first needed.
    ipv4: Option<UdpSocket>,
    ipv6: Option<UdpSocket>,
    peers: Peers,
    lookups: JoinSet<(Target, Result<Vec<SocketAddr>, Failure>)>,
    carried: Datagrams,
}

/// What a wait ended by.
enum Event {
    Home(io::Result<()>),
    Away(Family, io::Result<()>),
    Found(Option<(Target, Result<Vec<SocketAddr>, Failure>)>),
    Over(Ended),
    Woke,
}

impl Association {
    /// Opens the socket towards the client; the address of it is what the client is told.
    pub(super) fn open(
        session: Session,
        metrics: &Arc<Metrics>,
        state: &Arc<State>,
        (client, seat): (ClientAddr, Seat),
        stream: &TcpStream,
        request: &Request,
    ) -> Result<(Self, SocketAddr), (Session, Failure)> {
        let opened = stream
            .local_addr()
            .and_then(|here| UdpSocket::from_std(bind_udp(SocketAddr::new(here.ip(), 0))?))
            .and_then(|home| Ok((home.local_addr()?, home)));
        let (bound, home) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let text = format!("no socket is left for an association: {error}");
                return Err((session, Failure::new(Kind::Busy, Side::Sekisho, text)));
            }
        };
        let association = Self {
            session,
            metrics: Arc::clone(metrics),
            state: Arc::clone(state),
            client,
            port: announced(request, client.ip()),
            home,
            ipv4: None,
            ipv6: None,
            peers: Peers::default(),
            lookups: JoinSet::new(),
            carried: Datagrams::default(),
            _seat: seat,
        };
        Ok((association, bound))
    }

    /// Carries datagrams until the connection of the client ends, nothing was carried for `idle`, or `stop`; then logs
    /// and counts.
    pub(super) async fn run(mut self, stream: TcpStream, idle: Duration, stop: &CancellationToken) {
        self.metrics.associations.inc();
        let ended = self.carry(&stream, idle, stop).await;
        self.metrics.associations.dec();
        self.carried.origins = self.peers.count();
        self.session.associated(&self.carried, &ended);
    }

    async fn carry(
        &mut self,
        stream: &TcpStream,
        idle: Duration,
        stop: &CancellationToken,
    ) -> Ended {
        let mut last = now();
        let mut carried = self.carried.total();
        loop {
            if self.carried.total() != carried {
                (carried, last) = (self.carried.total(), now());
            }
            let silent = last + idle;
            if now() >= silent {
                return Ended::Idle;
            }
            let wake = self
                .peers
                .next_at()
                .map_or(silent, |time| silent.min(time.into()));
            let event = tokio::select! {
                () = stop.cancelled() => return Ended::Cut,
                ready = self.home.readable() => Event::Home(ready),
                ready = readable(self.ipv4.as_ref()) => Event::Away(Family::V4, ready),
                ready = readable(self.ipv6.as_ref()) => Event::Away(Family::V6, ready),
                found = self.lookups.join_next(), if !self.lookups.is_empty() => {
                    Event::Found(found.and_then(Result::ok))
                }
                ended = ended(stream) => Event::Over(ended),
                () = sleep_until(wake) => Event::Woke,
            };
            match event {
                Event::Home(Ok(())) => self.take_from_client(),
                Event::Away(family, Ok(())) => self.take_from_origins(family),
                Event::Home(Err(error)) | Event::Away(_, Err(error)) => {
                    return Ended::Broken(Side::Sekisho, error);
                }
                Event::Found(Some((target, Ok(addresses)))) => {
                    self.peers.resolved(&target, &addresses, now().into_std());
                }
                Event::Found(Some((target, Err(failure)))) => {
                    tracing::debug!(client = %self.client, %target, %failure, "no datagram is sent");
                    self.drop_one("unresolved");
                    self.peers.forget(&target);
                }
                Event::Found(None) | Event::Woke => {}
                Event::Over(ended) => return ended,
            }
            self.try_next();
        }
    }

    /// Takes what the client has sent.
    fn take_from_client(&mut self) {
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..TURN {
                match self.home.try_recv_from(buffer) {
                    Ok((length, from)) => {
                        let bytes = buffer.get(..length).unwrap_or_default();
                        if let Err(reason) = self.take(bytes, from) {
                            self.drop_one(reason);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // What an earlier datagram came to.
                    Err(_) => {}
                }
            }
        });
    }

    /// Sends a datagram of the client on; why not, where it is dropped.
    fn take(&mut self, bytes: &[u8], from: SocketAddr) -> Result<(), &'static str> {
        let from = ClientAddr::new(from);
        let port = from.port();
        if from.ip() != self.client.ip() || self.port.is_some_and(|known| known != port) {
            return Err("stranger");
        }
        let datagram = wire::datagram(bytes).map_err(|wrong| match wrong {
            Wrong::Fragment => "fragment",
            _ => "malformed",
        })?;
        let target = datagram.target().map_err(|_| "malformed")?;
        self.port = Some(port);
        if !self.state.is_direct(self.client, &target) {
            return Err("via");
        }
        let address = match &target.host {
            Host::Addr(ip) if !self.state.allows(self.client, *ip) => return Err("refused"),
            Host::Addr(ip) => SocketAddr::new(*ip, target.port),
            Host::Name(_) => return self.take_for_name(target, datagram.payload),
        };
        self.send(datagram.payload, address)
    }

    fn take_for_name(&mut self, target: Target, payload: &[u8]) -> Result<(), &'static str> {
        match self.peers.send(&target, payload, now().into_std()) {
            Way::Wait => Ok(()),
            Way::Full => Err("flight"),
            Way::To(addresses) => {
                let sent = addresses.iter().map(|to| self.send(payload, *to));
                // One is enough: they are all the same origin.
                sent.reduce(Result::or).unwrap_or(Ok(()))
            }
            Way::Ask => {
                let (state, client) = (Arc::clone(&self.state), self.client);
                self.lookups.spawn(async move {
                    let addresses = state.addresses(client, &target).await;
                    (target, addresses)
                });
                Ok(())
            }
        }
    }

    /// Sends what waits to the next addresses of names whose time has come.
    fn try_next(&mut self) {
        while let Some((to, datagrams)) = self.peers.due(now().into_std()) {
            for datagram in datagrams {
                if let Err(reason) = self.send(&datagram, to) {
                    self.drop_one(reason);
                    self.peers.lost(to, now().into_std());
                }
            }
        }
    }

    fn send(&mut self, payload: &[u8], to: SocketAddr) -> Result<(), &'static str> {
        let time = now().into_std();
        let open = match self.peers.verdict(to, time) {
            Some(open) => open,
            None => {
                let judged = self.state.dial.permits(to);
                if let Err(failure) = &judged {
                    tracing::debug!(client = %self.client, %to, %failure, "no datagram is sent");
                }
                self.peers.judged(to, judged.is_ok(), time);
                judged.is_ok()
            }
        };
        if !open {
            return Err("refused");
        }
        let family = Family::of(to.ip());
        let socket = match family {
            Family::V4 => &mut self.ipv4,
            Family::V6 => &mut self.ipv6,
        };
        let socket = match socket {
            Some(socket) => socket,
            empty => {
                let opened = self.state.dial.udp_socket(family).map_err(|error| {
                    tracing::debug!(client = %self.client, %family, %error, "no socket");
                    "unreachable"
                })?;
                empty.insert(opened)
            }
        };
        // A new socket is ready long before the runtime has seen it.
        match SockRef::from(&*socket).send_to(payload, &to.into()) {
            Ok(length) => {
                self.peers.sent(to);
                self.carried.add_sent(family, length);
                Ok(())
            }
            Err(error) => Err(reason(&error)),
        }
    }

    /// Passes on what the origins have sent.
    fn take_from_origins(&mut self, family: Family) {
        let client = self
            .port
            .map(|port| SocketAddr::new(self.client.ip(), port));
        let mut taken = 0;
        BUFFER.with_borrow_mut(|buffer| {
            while taken < TURN {
                taken += 1;
                let socket = match family {
                    Family::V4 => self.ipv4.as_ref(),
                    Family::V6 => self.ipv6.as_ref(),
                };
                let Some((socket, client)) = socket.zip(client) else {
                    return;
                };
                let Some(room) = buffer.get_mut(LONGEST_HEADER..) else {
                    return;
                };
                let (length, from) = match socket.try_recv_from(room) {
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    Err(_) => continue,
                };
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                if !self.peers.hears(from) {
                    self.drop_one("unasked");
                    continue;
                }
                self.peers.replied(from);
                let header = wire::header(from);
                let start = LONGEST_HEADER.saturating_sub(header.len());
                if let Some(place) = buffer.get_mut(start..LONGEST_HEADER) {
                    place.copy_from_slice(&header);
                }
                let whole = buffer
                    .get(start..LONGEST_HEADER + length)
                    .unwrap_or_default();
                match SockRef::from(&self.home).send_to(whole, &client.into()) {
                    Ok(_) => self.carried.add_received(family, length),
                    Err(error) => self.drop_one(reason(&error)),
                }
            }
        });
    }

    fn drop_one(&self, reason: &'static str) {
        self.metrics
            .udp_dropped
            .get_or_create(&DropLabels { reason })
            .inc();
    }
}

/// The port that the client says it will send from (RFC 1928 section 4), where it is the client's address or none.
fn announced(request: &Request, client: IpAddr) -> Option<u16> {
    let own = match &request.address {
        Address::Ip(ip) => ip.is_unspecified() || ip.to_canonical() == client,
        Address::Name(_) => false,
    };
    (own && request.port != 0).then_some(request.port)
}

fn reason(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => "busy",
        Some(Errno::EMSGSIZE) => "too-long",
        _ => "unreachable",
    }
}

async fn readable(socket: Option<&UdpSocket>) -> io::Result<()> {
    match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    }
}

/// Waits for the end of the connection; what is said on it has no meaning.
async fn ended(stream: &TcpStream) -> Ended {
    loop {
        let read = match stream.readable().await {
            Ok(()) => stream.try_read(&mut [0; 64]),
            Err(error) => Err(error),
        };
        match read {
            Ok(0) => return Ended::Closed,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Ended::Broken(Side::Client, error);
            }
            Ok(_) | Err(_) => {}
        }
    }
}
