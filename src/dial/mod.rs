//! Level 2: reaching an origin. Called by `proxy`, which never resolves and never connects by itself.
//!
//! This file is the door. The shells behind it ask for both families at once, let [`guard`] judge every address, and do
//! what the race of [`happy_eyeballs`] says (RFC 8305): `tcp` for connections, [`udp`] for datagrams.

mod candidates;
mod error;
pub mod guard;
pub mod happy_eyeballs;
pub mod health;
pub mod history;
mod losses;
mod memory;
mod names;
mod order;
mod plan;
mod rules;
mod tcp;
#[cfg(test)]
mod tests;
pub mod udp;
mod via;
mod ways;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::config::{Egress, Lan, Rule};
use crate::net::{Family, Target, prepare_stream};
use crate::resolve::ResolveError;
use crate::telemetry::Metrics;

pub use error::{DialError, DialErrorKind};
pub use guard::Refusal;
pub use memory::Memory;
pub use names::{LocalName, LocalNames, Names};
pub use plan::Plan;
use rules::Rules;
use tcp::{Reached, Tcp};
pub use udp::{Flow, Settled};
use via::Proxies;
pub use via::ViaError;
use ways::Ways;

/// Reaches origins over both families. Made anew at each reload; what is worth keeping is in its [`Memory`].
#[derive(Debug)]
pub struct Dialer {
    names: Names,
    rules: Arc<Rules>,
    proxies: Proxies,
}

/// What of `egress.ipv4` and `egress.ipv6` cannot be had at this moment, in a sentence each: an address or an interface
/// that is not there, a mark that this process may not set. Sessions that need it fail, and say so.
pub fn unusable(egress: &Egress) -> Vec<String> {
    Ways::new(egress).problems()
}

/// A connection to an origin.
#[derive(Debug)]
pub struct Dialed {
    /// The connection, prepared (no delay).
    pub stream: TcpStream,
    /// The address reached.
    pub address: SocketAddr,
    /// Its family.
    pub family: Family,
    /// Connection attempts begun, this one included.
    pub attempts: usize,
    /// From the wish to the connection.
    pub elapsed: Duration,
}

impl Dialer {
    /// A dialer that asks `names`, and goes nowhere near the LAN nor to a listener of ours (`listeners`, as bound).
    pub fn new(
        egress: &Egress,
        lan: &Lan,
        listeners: Vec<SocketAddr>,
        names: Names,
        memory: Arc<Memory>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let rules = |listeners| {
            let (memory, metrics) = (Arc::clone(&memory), Arc::clone(&metrics));
            Rules::new(egress, lan, listeners, memory, metrics)
        };
        Self {
            names,
            proxies: Proxies::new(egress, rules(listeners.clone())),
            rules: Arc::new(rules(listeners)),
        }
    }

    /// Keeps an eye on the health of both families, until it is dropped. `app` runs one, that of the latest dialer.
    pub fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        memory::watch(Arc::clone(&self.rules))
    }

    /// A connection to the target, by the family that answers first, `egress.prefer` with a head start (RFC 8305), or by
    /// an upstream proxy. `rule` is the first one that matches the session.
    ///
    /// Dropping the future ends the lookups and the attempts.
    ///
    /// # Errors
    ///
    /// [`DialError`]: the target is closed to clients, has no address, or none of its addresses was reached in time.
    pub async fn dial(&self, target: &Target, rule: Option<&Rule>) -> Result<Dialed, DialError> {
        if let Some((proxy, told)) = self.proxy_for(target, rule) {
            return Box::pin(self.dial_via(proxy, &told, rule)).await;
        }
        let tcp = Tcp(&self.rules.ways);
        let families = self.rules.families(rule);
        let reached = self.rules.reach(target, families, &self.names, &tcp);
        let reached = reached.await?;
        Ok(prepared(target, reached))
    }
}

fn prepared(target: &Target, reached: Reached<TcpStream>) -> Dialed {
    // The connection may end at any time; whoever uses it will find out.
    if let Err(error) = prepare_stream(&reached.stream) {
        tracing::debug!(%target, %error, "could not prepare a connection");
    }
    Dialed {
        stream: reached.stream,
        family: Family::of(reached.address.ip()),
        address: reached.address,
        attempts: reached.attempts,
        elapsed: reached.elapsed,
    }
}

/// Who knows the addresses of names. The tests have their own.
trait Addresses: Sync {
    /// The addresses of one family, where nobody has to be asked for them.
    fn known(&self, _name: &Name, _family: Family) -> Option<Vec<IpAddr>> {
        None
    }

    /// The addresses of one family; see [`Resolver::addresses`](crate::resolve::Resolver::addresses).
    fn addresses(
        &self,
        name: &Name,
        family: Family,
    ) -> impl Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send;
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this room that reads the clock; the race and the guard take `now`"
)]
fn now() -> Instant {
    Instant::now()
}
