//! The course of a flow: a race until the first reply, and one socket from then on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::super::error::DialError;
use super::super::history::Over;
use super::super::losses::Losses;
use super::super::rules::Rules;
use super::super::{Addresses, now};
use super::Settled;
use super::flight::Flight;
use super::leg::{Leg as _, Wire, dropped, received, sent};
use super::racing::{Event, Racing};
use crate::config::Families;
use crate::net::{ClientAddr, Family, Host, Target};
use crate::resolve::ResolveError;

/// A flow, whoever opens its sockets.
pub(in crate::dial) struct Course<W: Wire> {
    rules: Arc<Rules>,
    wire: W,
    pub(super) target: Target,
    begun: Instant,
    pub(super) state: State<W::Socket>,
}

pub(super) enum State<S> {
    /// Nobody has replied yet. In a box: most flows have had their reply.
    Racing(Box<Racing<S>>),
    Settled(Winner<S>),
    /// Told the caller that it is over.
    Over,
}

pub(super) struct Winner<S> {
    pub(super) socket: Arc<S>,
    pub(super) how: Settled,
    /// What sending found out, for the next `recv` to say.
    error: Option<io::Error>,
}

impl<W: Wire> Course<W> {
    pub(in crate::dial) fn new<R>(
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

    pub(in crate::dial) fn send(&mut self, datagram: &[u8]) {
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

    pub(in crate::dial) async fn recv(&mut self, buffer: &mut [u8]) -> Result<usize, DialError> {
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
