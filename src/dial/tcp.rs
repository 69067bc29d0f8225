//! The race of connections to an origin (RFC 8305): both families are asked for at once, and what
//! [`happy_eyeballs`](super::happy_eyeballs) says is done. For [`Dialer::dial`](super::Dialer::dial).

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use super::happy_eyeballs::{Input, Output};
use super::history::Over;
use super::losses::Losses;
use super::rules::Rules;
use super::ways::Ways;
use super::{Addresses, DialError, now};
use crate::config::Families;
use crate::net::{Family, Host, Target};
use crate::resolve::ResolveError;

/// Who makes connections. The tests have their own.
pub(super) trait Connect: Sync {
    type Stream: Send;

    fn connect(&self, address: SocketAddr)
    -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Our own address of the connection.
    fn local_ip(&self, stream: &Self::Stream) -> io::Result<IpAddr>;
}

/// The system's TCP.
pub(super) struct Tcp<'a>(pub(super) &'a Ways);

impl Connect for Tcp<'_> {
    type Stream = TcpStream;

    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> + Send {
        self.0.connect_tcp(address)
    }

    fn local_ip(&self, stream: &TcpStream) -> io::Result<IpAddr> {
        Ok(stream.local_addr()?.ip())
    }
}

/// What [`Rules::reach`] reached.
#[derive(Debug)]
pub(super) struct Reached<S> {
    pub(super) stream: S,
    pub(super) address: SocketAddr,
    pub(super) attempts: usize,
    pub(super) elapsed: Duration,
}

/// Something that was under way has ended.
pub(super) enum Event<S> {
    Resolved(Family, Result<Vec<IpAddr>, ResolveError>),
    Attempted(IpAddr, io::Result<S>),
}

/// What is under way: at most two lookups, and an attempt per address. Dropping it cancels all.
pub(super) type UnderWay<'a, S> = Vec<Pin<Box<dyn Future<Output = Event<S>> + Send + 'a>>>;

impl Rules {
    pub(super) async fn reach<S: Send>(
        &self,
        target: &Target,
        families: Families,
        resolver: &impl Addresses,
        connector: &impl Connect<Stream = S>,
    ) -> Result<Reached<S>, DialError> {
        let begun = now();
        let deadline = sleep(self.connect_timeout);
        tokio::pin!(deadline);
        let mut race = self.race(families);
        let mut losses = Losses::default();
        let mut under_way: UnderWay<'_, S> = Vec::new();
        let mut winner = None;
        let mut attempts: Vec<(IpAddr, Instant)> = Vec::new();

        match &target.host {
            Host::Name(name) => {
                for family in [Family::V6, Family::V4] {
                    if !families.allow(family) {
                        losses.left_out = Some(families);
                        self.enter(&mut race, Over::Tcp, family, Vec::new());
                        continue;
                    }
                    if let Some(addresses) = resolver.known(name, family) {
                        let open = self.open_ones(target, addresses, &mut losses);
                        self.enter(&mut race, Over::Tcp, family, open);
                        continue;
                    }
                    under_way.push(Box::pin(async move {
                        Event::Resolved(family, resolver.addresses(name, family).await)
                    }));
                }
            }
            Host::Addr(address) => {
                let family = Family::of(*address);
                let open = self.literal(target, *address, families, &mut losses);
                self.enter(&mut race, Over::Tcp, family, open);
                self.enter(&mut race, Over::Tcp, family.other(), Vec::new());
            }
        }

        loop {
            let wake = match race.poll(now().into_std()) {
                Output::Start(address) => {
                    attempts.push((address, now()));
                    let to = SocketAddr::new(address, target.port);
                    // It may have waited for its turn.
                    if let Err(why) = self.admit(to) {
                        losses.refused.get_or_insert((address, why));
                        race.note(Input::Failed(address), now().into_std());
                        continue;
                    }
                    under_way.push(Box::pin(async move {
                        Event::Attempted(address, connector.connect(to).await)
                    }));
                    continue;
                }
                Output::Done(address) => {
                    let elapsed = now().duration_since(begun);
                    if let Some(stream) = winner {
                        let address_won = SocketAddr::new(address, target.port);
                        self.learn(Over::Tcp, address_won, &losses, race.running(), &attempts);
                        self.metrics
                            .connect_seconds
                            .get_or_create(&Family::of(address).into())
                            .observe(elapsed.as_secs_f64());
                        return Ok(Reached {
                            stream,
                            address: address_won,
                            attempts: attempts.len(),
                            elapsed,
                        });
                    }
                    return Err(losses.into_error(target));
                }
                Output::GiveUp => return Err(losses.into_error(target)),
                Output::WaitUntil(time) => Some(time.into()),
                Output::Wait => None,
            };
            tokio::select! {
                biased;
                event = next(&mut under_way) => match event {
                    Event::Resolved(family, answer) => {
                        let addresses = answer.unwrap_or_else(|error| {
                            tracing::debug!(%target, %family, %error, "could not resolve");
                            losses.lookup = Some(error);
                            Vec::new()
                        });
                        let open = self.open_ones(target, addresses, &mut losses);
                        self.enter(&mut race, Over::Tcp, family, open);
                    }
                    Event::Attempted(address, outcome) => {
                        match self.keep(address, outcome, connector, &mut losses) {
                            Some(stream) => {
                                winner = Some(stream);
                                race.note(Input::Connected(address), now().into_std());
                            }
                            None => race.note(Input::Failed(address), now().into_std()),
                        }
                    }
                },
                () = &mut deadline => {
                    for address in race.running() {
                        self.count_failure(*address);
                    }
                    return Err(if attempts.is_empty() {
                        DialError::Resolve { target: target.clone(), source: ResolveError::Timeout }
                    } else {
                        DialError::Timeout { target: target.clone(), after: self.connect_timeout }
                    });
                }
                () = sleep_until(wake.unwrap_or(begun)), if wake.is_some() => {}
            }
        }
    }

    /// The connection of an attempt that succeeded and led away from this machine.
    fn keep<S>(
        &self,
        address: IpAddr,
        outcome: io::Result<S>,
        connector: &impl Connect<Stream = S>,
        losses: &mut Losses,
    ) -> Option<S> {
        let checked = outcome.and_then(|stream| {
            let local = connector.local_ip(&stream)?;
            Ok((stream, self.guard.check_ends(local, address)))
        });
        match checked {
            Ok((stream, Ok(()))) => return Some(stream),
            Ok((_, Err(why))) => {
                tracing::debug!(%address, %why, "connection refused after the fact");
                losses.refused.get_or_insert((address, why));
            }
            Err(error) => {
                tracing::debug!(%address, %error, "attempt failed");
                losses.attempts.push((address, error));
            }
        }
        self.count_failure(address);
        None
    }
}

/// The next thing that ends; none ever does where nothing is under way.
pub(super) async fn next<S>(under_way: &mut UnderWay<'_, S>) -> Event<S> {
    poll_fn(|context| {
        for (place, future) in under_way.iter_mut().enumerate() {
            if let Poll::Ready(event) = future.as_mut().poll(context) {
                // Dropped now: a future that has ended must not be polled again.
                drop(under_way.swap_remove(place));
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    })
    .await
}
