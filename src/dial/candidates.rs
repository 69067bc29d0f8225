//! The addresses of a target for those who send datagrams by themselves: the race of
//! [`happy_eyeballs`](super::happy_eyeballs) puts them in order, and nobody runs in it. For
//! [`Dialer::addresses`](super::Dialer::addresses).

use std::net::SocketAddr;

use tokio::time::sleep;

use super::happy_eyeballs::{Input, Output, RESOLUTION_DELAY};
use super::history::Over;
use super::losses::Losses;
use super::rules::Rules;
use super::tcp::{Event, UnderWay, next};
use super::{Addresses, DialError, now};
use crate::config::Families;
use crate::net::{ClientAddr, Family, Host, Target};
use crate::resolve::ResolveError;

impl Rules {
    /// The addresses that clients may go to, in the order in which they would be tried; at least one.
    pub(super) async fn candidates(
        &self,
        client: ClientAddr,
        target: &Target,
        families: Families,
        resolver: &impl Addresses,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let mut losses = Losses::default();
        let mut race = self.race(families);
        let mut lookups: UnderWay<'_, ()> = Vec::new();
        let deadline = sleep(self.connect_timeout);
        tokio::pin!(deadline);
        match &target.host {
            Host::Name(name) => {
                for family in [Family::V6, Family::V4] {
                    if !families.allow(family) {
                        losses.left_out = Some(families);
                        continue;
                    }
                    lookups.push(Box::pin(async move {
                        Event::Resolved(family, resolver.addresses(name, family).await)
                    }));
                }
            }
            Host::Addr(address) => {
                let open = self.literal(target, *address, families, &mut losses);
                race.note(
                    Input::Resolved(Family::of(*address), open),
                    now().into_std(),
                );
            }
        }
        while !lookups.is_empty() {
            tokio::select! {
                biased;
                event = next(&mut lookups) => {
                    let Event::Resolved(family, answer) = event else { continue };
                    let addresses = answer.unwrap_or_else(|error| {
                        losses.lookup = Some(error);
                        Vec::new()
                    });
                    let open = self.open_ones(target, addresses, &mut losses);
                    self.enter(&mut race, Over::Udp, family, open);
                    if race.is_waiting() {
                        deadline.as_mut().reset(now() + RESOLUTION_DELAY);
                    }
                }
                () = &mut deadline => {
                    if !race.is_waiting() {
                        losses.lookup = Some(ResolveError::Timeout);
                    }
                    break;
                }
            }
        }
        for family in [Family::V4, Family::V6] {
            race.note(Input::Resolved(family, Vec::new()), now().into_std());
        }
        let mut addresses = Vec::new();
        while let Output::Start(address) = race.poll(now().into_std()) {
            addresses.push(SocketAddr::new(address, target.port));
            race.note(Input::Failed(address), now().into_std());
        }
        tracing::trace!(%client, %target, ?addresses, "candidates");
        if addresses.is_empty() {
            return Err(losses.into_error(target));
        }
        Ok(addresses)
    }
}
