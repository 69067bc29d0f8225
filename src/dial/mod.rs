//! Level 2: reaching an origin. Called by `proxy`, which never resolves and never connects by itself.
//!
//! This file is the shell: it asks for both families at once, lets [`guard`] judge every address, and does what the
//! race of [`happy_eyeballs`] says (RFC 8305).

mod error;
pub mod guard;
pub mod happy_eyeballs;
pub mod health;
pub mod history;
mod memory;
mod names;
mod order;
mod plan;
#[cfg(test)]
mod tests;
pub mod udp;
mod via;
mod ways;

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::{Egress, Families, Lan, Rule};
use crate::net::{ClientAddr, Family, Host, Target, prepare_stream};
use crate::resolve::ResolveError;
use crate::telemetry::Metrics;

pub use error::{DialError, DialErrorKind};
pub use guard::Refusal;
use guard::{Guard, Near, Surroundings};
use happy_eyeballs::{Input, Output, RESOLUTION_DELAY, Race};
use history::Over;
use memory::Lost;
pub use memory::Memory;
pub use names::{LocalName, LocalNames, Names};
pub use plan::Plan;
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

/// Who makes connections. The tests have their own.
trait Connect: Sync {
    type Stream: Send;

    fn connect(&self, address: SocketAddr)
    -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Our own address of the connection.
    fn local_ip(&self, stream: &Self::Stream) -> io::Result<IpAddr>;
}

/// The system's TCP.
struct Tcp<'a>(&'a Ways);

impl Connect for Tcp<'_> {
    type Stream = TcpStream;

    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> + Send {
        self.0.connect_tcp(address)
    }

    fn local_ip(&self, stream: &TcpStream) -> io::Result<IpAddr> {
        Ok(stream.local_addr()?.ip())
    }
}

/// How to reach, and where not to go.
#[derive(Debug)]
struct Rules {
    guard: Guard,
    surroundings: Surroundings,
    ways: Ways,
    prefer: Family,
    attempt_delay: Duration,
    connect_timeout: Duration,
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
}

/// What [`Rules::reach`] reached.
#[derive(Debug)]
struct Reached<S> {
    stream: S,
    address: SocketAddr,
    attempts: usize,
    elapsed: Duration,
}

/// Something that was under way has ended.
enum Event<S> {
    Resolved(Family, Result<Vec<IpAddr>, ResolveError>),
    Attempted(IpAddr, io::Result<S>),
}

/// What is under way: at most two lookups, and an attempt per address. Dropping it cancels all.
type UnderWay<'a, S> = Vec<Pin<Box<dyn Future<Output = Event<S>> + Send + 'a>>>;

/// What went wrong so far.
#[derive(Debug, Default)]
struct Losses {
    refused: Option<(IpAddr, Refusal)>,
    /// What a rule says that a family was left out by.
    left_out: Option<Families>,
    lookup: Option<ResolveError>,
    attempts: Vec<(IpAddr, io::Error)>,
}

impl Rules {
    fn new(
        egress: &Egress,
        lan: &Lan,
        listeners: Vec<SocketAddr>,
        memory: Arc<Memory>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            guard: Guard::new(egress, lan, listeners),
            surroundings: Surroundings::new(lan),
            ways: Ways::new(egress),
            prefer: egress.prefer,
            attempt_delay: egress.attempt_delay,
            connect_timeout: egress.connect_timeout,
            memory,
            metrics,
        }
    }

    /// The families of a session that this rule is the first to match.
    fn families(&self, rule: Option<&Rule>) -> Families {
        rule.and_then(|rule| rule.families)
            .unwrap_or_else(|| Families::both(self.prefer))
    }

    async fn reach<S: Send>(
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

    /// A race in which the family goes first that should at this moment.
    fn race(&self, families: Families) -> Race {
        let first = families.first();
        let first = match families {
            Families::Ipv6First | Families::Ipv4First => self.memory.leader(first),
            Families::Ipv6Only | Families::Ipv4Only => first,
        };
        Race::new(first, self.attempt_delay)
    }

    /// The address that a client has written out, where a session may go there.
    fn literal(
        &self,
        target: &Target,
        address: IpAddr,
        families: Families,
        losses: &mut Losses,
    ) -> Vec<IpAddr> {
        if families.allow(Family::of(address)) {
            return self.open_ones(target, vec![address], losses);
        }
        losses.left_out = Some(families);
        Vec::new()
    }

    /// Gives the addresses of a family to a race, by their precedence, and those that failed lately last.
    fn enter(&self, race: &mut Race, over: Over, family: Family, mut addresses: Vec<IpAddr>) {
        let time = now().into_std();
        order::by_precedence(&mut addresses);
        if self.memory.sort(over, &mut addresses, time) {
            race.doubt(family);
        }
        race.note(Input::Resolved(family, addresses), time);
    }

    /// Remembers what a race came to. An attempt that was still running says something where it had its time.
    fn learn(
        &self,
        over: Over,
        won: SocketAddr,
        losses: &Losses,
        running: &[IpAddr],
        attempts: &[(IpAddr, Instant)],
    ) {
        let time = now();
        let failed = losses.attempts.iter();
        let failed = failed.map(|(address, error)| (*address, Lost::Failed(error)));
        let silent = attempts.iter().filter(|(address, begun)| {
            *address != won.ip()
                && running.contains(address)
                && time.duration_since(*begun) >= self.attempt_delay
        });
        let silent = silent.map(|(address, _)| (*address, Lost::Silent));
        self.memory
            .learn(over, won, failed.chain(silent), time.into_std());
    }

    /// The addresses that sessions may go to.
    fn open_ones(
        &self,
        target: &Target,
        mut addresses: Vec<IpAddr>,
        losses: &mut Losses,
    ) -> Vec<IpAddr> {
        if addresses.is_empty() {
            return addresses;
        }
        let near = self.surroundings.near(now().into_std());
        let judge = |address| self.judge(SocketAddr::new(address, target.port), &near);
        addresses.retain(|address| match judge(*address) {
            Ok(()) => true,
            Err(why) => {
                tracing::debug!(%target, %address, %why, "address refused");
                losses.refused.get_or_insert((*address, why));
                false
            }
        });
        addresses
    }

    /// The guard's word on an address at this moment.
    fn admit(&self, address: SocketAddr) -> Result<(), Refusal> {
        self.judge(address, &self.surroundings.near(now().into_std()))
    }

    /// The addresses that clients may go to, in the order in which they would be tried; at least one.
    async fn candidates(
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

    fn judge(&self, address: SocketAddr, near: &Near) -> Result<(), Refusal> {
        self.guard.check(address.ip(), near)?;
        self.guard.check_listener(address, near)
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

    fn count_failure(&self, address: IpAddr) {
        self.metrics
            .connect_failures
            .get_or_create(&Family::of(address).into())
            .inc();
    }
}

impl Losses {
    /// The error of a race that was given up.
    fn into_error(self, target: &Target) -> DialError {
        let target = target.clone();
        if !self.attempts.is_empty() {
            return DialError::of_attempts(target, self.attempts);
        }
        if let Some((address, why)) = self.refused {
            return DialError::Refused {
                target,
                address,
                why,
            };
        }
        match (self.lookup, self.left_out) {
            (Some(source), _) => DialError::Resolve { target, source },
            (None, Some(families)) => DialError::LeftOut { target, families },
            (None, None) => DialError::NotFound { target },
        }
    }
}

/// The next thing that ends; none ever does where nothing is under way.
async fn next<S>(under_way: &mut UnderWay<'_, S>) -> Event<S> {
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

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this room that reads the clock; the race and the guard take `now`"
)]
fn now() -> Instant {
    Instant::now()
}
