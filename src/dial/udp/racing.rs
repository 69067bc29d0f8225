//! A flow whose origin has not replied yet: which candidates have got the flight, and what each came to.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

use super::super::guard::Refusal;
use super::super::happy_eyeballs::{Input, Output, Race};
use super::super::history::Over;
use super::super::losses::Losses;
use super::super::now;
use super::super::rules::Rules;
use super::flight::Flight;
use super::leg::{Leg, Wire, poll_received, sent};
use crate::net::{Family, Target};
use crate::resolve::ResolveError;

pub(super) type Lookup =
    Pin<Box<dyn Future<Output = (Family, Result<Vec<IpAddr>, ResolveError>)> + Send>>;

pub(super) struct Racing<S> {
    pub(super) race: Race,
    pub(super) lookups: Vec<Lookup>,
    pub(super) legs: Vec<(IpAddr, S)>,
    pub(super) flight: Flight,
    pub(super) losses: Losses,
    pub(super) attempts: Vec<(IpAddr, Instant)>,
    pub(super) deadline: Pin<Box<Sleep>>,
}

/// Why a candidate did not get the flight.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// What ended a wait.
pub(super) enum Event {
    Resolved(Family, Result<Vec<IpAddr>, ResolveError>),
    /// The candidate at this place has said this much.
    Replied(usize, usize),
    Refused(usize, io::Error),
    Woke,
    TimedOut,
}

impl<S: Leg> Racing<S> {
    pub(super) fn resolved(
        &mut self,
        rules: &Rules,
        target: &Target,
        family: Family,
        addresses: Vec<IpAddr>,
    ) {
        let open = rules.open_ones(target, addresses, &mut self.losses);
        rules.enter(&mut self.race, Over::Udp, family, open);
    }

    /// Does what the race says until it says to wait; `Err` where it is given up. Before the client has sent anything
    /// there is nothing that a candidate could reply to.
    pub(super) fn step<W: Wire<Socket = S>>(
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

    pub(super) fn refused(&mut self, rules: &Rules, place: usize, error: io::Error) {
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
    pub(super) async fn next(&mut self, wake: Option<Instant>, buffer: &mut [u8]) -> Event {
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
