//! Level 3: sessions, from the accepted connection to the last byte.
//!
//! A connection is admitted, says where it wants to go (a CONNECT line or an absolute URI in `http`, a request in
//! `socks5`, an SNI or a Host in `transparent`), is dialed and then carried. Started and stopped by `app`.

mod auth;
mod farewell;
mod http;
mod respond;
pub mod screen;
mod seam;
mod session;
pub mod sniff;
pub mod socks5;
mod stand_ins;
#[cfg(test)]
mod testing;
mod transparent;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::auth::Door;
pub use self::auth::{HashError, UserProblem, Users};
use self::farewell::turn_away;
use self::http::Pool;
use self::respond::{Failure, Kind};
use self::seam::{Carry, Dial};
use self::stand_ins::{StandIn, StandIns};
use crate::config;
use crate::dial::{Dialed, Dialer, Flow};
use crate::net::{
    Acl, Admission, Announced, Buckets, ClientAddr, Family, Host, LONGEST_PROXY_HEADER, Prefixed,
    Seat, Target, accept_loop, proxy_header, take_beginning,
};
use crate::relay::Relay;
use crate::steer::Steering;
use crate::telemetry::{FloodLabels, Metrics, RefusalLabels, Side, chain};

/// What serves the hosts that are ours on a listener shared with transparent HTTP.
pub trait Site: Send + Sync {
    /// Whether requests for this host are for the site, and not for an origin.
    fn owns(&self, host: &Host) -> bool;

    /// Serves the connection to its end; the bytes already read come first.
    fn serve(
        &self,
        stream: Prefixed<TcpStream>,
        client: ClientAddr,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// What may change while the proxy runs.
#[derive(Debug)]
pub struct Live {
    /// The way to the origins.
    pub dialer: Arc<Dialer>,
    /// Who may come in, how many, and how long they may take.
    pub settings: Settings,
}

/// Who may come in, how many, and how long they may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The networks of the clients; anyone else is closed unread.
    pub networks: Acl,
    /// What is said of single names and clients.
    pub rules: Arc<Steering>,
    /// The rest, as configured; the listeners in it are bound elsewhere.
    pub proxy: config::Proxy,
    /// Who may use the forward proxy and SOCKS; `None`: every client.
    pub users: Option<Arc<Users>>,
}

/// What a session takes once, at its beginning.
#[derive(Debug)]
struct State {
    settings: Settings,
    dial: Arc<dyn Dial>,
    /// Made anew with the dialer, so that no pooled connection outlives the rules under which it was made.
    pool: Arc<Pool>,
    /// Of the rules, by number, that say how sessions leave: no connection is shared by sessions that leave differently.
    ruled: Vec<(usize, Arc<Pool>)>,
}

impl State {
    fn new(settings: Settings, dial: Arc<dyn Dial>) -> Arc<Self> {
        let pool = |rule| Pool::new(Arc::clone(&dial), rule, settings.proxy.header_bytes);
        let own_way = settings.rules.rules().zip(1..);
        let own_way = own_way.filter(|(rule, _)| rule.has_own_way());
        let ruled = own_way.map(|(rule, number)| (number, pool(Some(Arc::new(rule.clone())))));
        let (pool, ruled) = (pool(None), ruled.collect());
        Arc::new(Self {
            settings,
            dial,
            pool,
            ruled,
        })
    }

    /// A connection to the target, as the rules have it for this client.
    /// Where they say so, the origin is told whose session it is; `here` is where the client has connected to.
    async fn dial(
        &self,
        client: ClientAddr,
        here: impl FnOnce() -> Option<SocketAddr>,
        target: &Target,
    ) -> Result<Dialed, Failure> {
        let rule = self.settings.rules.session_rule(client.ip(), &target.host);
        let rule = rule.map(|(_, rule)| rule);
        let mut dialed = self.dial.dial(target, rule).await?;
        if let Some(version) = rule.and_then(|rule| rule.send_proxy) {
            let ends = Announced {
                source: client.socket(),
                destination: here().unwrap_or(dialed.address),
            };
            let told = dialed.stream.write_all(&ends.header(version)).await;
            told.map_err(|error| {
                let text = format!("{target} ended the connection: {error}");
                Failure::new(Kind::ResponseBroken, Side::Origin, text)
            })?;
        }
        Ok(dialed)
    }

    /// A flow of datagrams to the target, as the rules have it for this client; `None` where they send it by a proxy.
    fn flow(&self, client: ClientAddr, target: &Target) -> Option<Flow> {
        let rule = self.settings.rules.session_rule(client.ip(), &target.host);
        self.dial.flow(client, target, rule.map(|(_, rule)| rule))
    }

    /// Whether the client may begin one more session now.
    fn in_rate(&self, proxy: &Proxy, client: ClientAddr) -> bool {
        let config::Proxy {
            rate_limit: rate,
            rate_burst: burst,
            ..
        } = self.settings.proxy;
        rate == 0 || proxy.rates().take(client.ip(), rate, burst, now())
    }

    /// Whether datagrams of this client may go to the target: none go by an upstream proxy, and none around one.
    fn is_direct(&self, client: ClientAddr, target: &Target) -> bool {
        let rule = self.settings.rules.session_rule(client.ip(), &target.host);
        self.dial.is_direct(target, rule.map(|(_, rule)| rule))
    }

    /// The addresses of the target for datagrams of this client, as the rules have it.
    async fn addresses(
        &self,
        client: ClientAddr,
        target: &Target,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let rule = self.settings.rules.session_rule(client.ip(), &target.host);
        let rule = rule.map(|(_, rule)| rule);
        self.dial.addresses(client, target, rule).await
    }

    /// Whether datagrams of this client may go to an address that it has written out, as far as the rules go.
    fn allows(&self, client: ClientAddr, address: IpAddr) -> bool {
        let host = Host::Addr(address);
        let rule = self.settings.rules.session_rule(client.ip(), &host);
        let families = rule.and_then(|(_, rule)| rule.families);
        families.is_none_or(|families| families.allow(Family::of(address)))
    }

    /// The pool of connections to the target for this client.
    fn pool(&self, client: ClientAddr, target: &Target) -> &Arc<Pool> {
        let rule = self.settings.rules.session_rule(client.ip(), &target.host);
        rule.and_then(|(number, _)| self.ruled.iter().find(|(ruled, _)| *ruled == number))
            .map_or(&self.pool, |(_, pool)| pool)
    }
}

/// How many clients that are not let in are told why at the same time; the others are reset.
const TOLD: usize = 16;

/// What is said to a client of a listener that is not let in.
type Words = fn(&Failure) -> Vec<u8>;

/// The proxy with all its listeners.
#[derive(Debug)]
pub struct Proxy {
    live: ArcSwap<State>,
    carry: Arc<dyn Carry>,
    metrics: Arc<Metrics>,
    admission: Arc<Admission>,
    /// UDP associations of SOCKS5.
    associations: Arc<Admission>,
    door: Door,
    rates: Mutex<Buckets>,
    /// For those who are told why they are not let in.
    told: Arc<Semaphore>,
    stand_ins: StandIns,
    /// No more connections.
    stop: CancellationToken,
    /// No more bytes.
    cut: CancellationToken,
    sessions: TaskTracker,
}

/// A connection that was let in.
struct Admitted {
    stream: TcpStream,
    client: ClientAddr,
    seat: Seat,
    state: Arc<State>,
}

impl Proxy {
    /// A proxy without listeners.
    pub fn new(live: Live, relay: Arc<Relay>, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::assemble(live.settings, live.dialer, relay, metrics)
    }

    fn assemble(
        settings: Settings,
        dial: Arc<dyn Dial>,
        carry: Arc<dyn Carry>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            admission: Admission::new(
                settings.proxy.max_sessions,
                settings.proxy.max_sessions_per_client,
            ),
            rates: Mutex::default(),
            told: Arc::new(Semaphore::new(TOLD)),
            stand_ins: StandIns::default(),
            associations: Admission::new(
                settings.proxy.max_associations,
                settings.proxy.max_associations_per_client,
            ),
            live: ArcSwap::new(State::new(settings, dial)),
            carry,
            door: Door::new(Arc::clone(&metrics)),
            metrics,
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            sessions: TaskTracker::new(),
        })
    }

    /// Takes another dialer and other settings from now on; sessions that are open finish with the old ones.
    pub fn replace(&self, live: Live) {
        self.put(live.settings, live.dialer);
    }

    fn put(&self, settings: Settings, dial: Arc<dyn Dial>) {
        self.admission.limit(
            settings.proxy.max_sessions,
            settings.proxy.max_sessions_per_client,
        );
        self.associations.limit(
            settings.proxy.max_associations,
            settings.proxy.max_associations_per_client,
        );
        self.live.store(State::new(settings, dial));
    }

    /// Serves clients that know that we are a proxy (CONNECT, absolute-form), until [`Proxy::stop`].
    pub async fn serve_forward(self: Arc<Self>, listener: TcpListener) {
        self.serve(listener, Some(Failure::raw), |proxy, admitted| {
            Box::pin(http::serve(proxy, admitted))
        })
        .await;
    }

    /// Serves clients that speak SOCKS5, or SOCKS4, until [`Proxy::stop`].
    pub async fn serve_socks(self: Arc<Self>, listener: TcpListener) {
        self.serve(listener, None, |proxy, admitted| {
            Box::pin(socks5::serve(proxy, admitted))
        })
        .await;
    }

    /// Serves clients that take us for the TLS server that they name in their SNI, until [`Proxy::stop`].
    pub async fn serve_tls(self: Arc<Self>, listener: TcpListener) {
        let _place = self.stand_ins.enter(&listener, StandIn::Tls);
        let serving = Arc::clone(&self).serve(listener, None, |proxy, admitted| {
            Box::pin(transparent::tls::serve(proxy, admitted, BytesMut::new()))
        });
        serving.await;
    }

    /// Serves clients that take us for the HTTP server that they name in Host, until [`Proxy::stop`]; hosts that
    /// `site` owns, and requests of HTTP/1.0 that name none, are for the site.
    pub async fn serve_plain(self: Arc<Self>, listener: TcpListener, site: Option<Arc<dyn Site>>) {
        let _place = self
            .stand_ins
            .enter(&listener, StandIn::Plain(site.clone()));
        let words: Words = Failure::raw;
        let serving = Arc::clone(&self).serve(listener, Some(words), move |proxy, admitted| {
            let said = BytesMut::new();
            Box::pin(transparent::http::serve(
                proxy,
                admitted,
                said,
                site.clone(),
            ))
        });
        serving.await;
    }

    /// Serves clients that take us for the QUIC server that they name in their SNI, until [`Proxy::stop`] was called and
    /// no session is left.
    pub async fn serve_quic(self: Arc<Self>, socket: UdpSocket) {
        transparent::quic::serve(self, socket).await;
    }

    /// Accepts no more connections, and lets those that are idle go.
    pub fn stop(&self) {
        self.stop.cancel();
        self.sessions.close();
    }

    /// Waits until no session is left; only after [`Proxy::stop`].
    pub async fn drained(&self) {
        self.sessions.wait().await;
    }

    /// Ends every session now, and says how many there were.
    pub fn cut(&self) -> usize {
        let count = self.sessions.len();
        self.cut.cancel();
        count
    }

    async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        words: Option<Words>,
        session: impl Fn(Arc<Self>, Admitted) -> seam::Task<'static, ()> + Send + Sync + 'static,
    ) {
        let session = Arc::new(session);
        let (admission, metrics) = (Arc::clone(&self.admission), Arc::clone(&self.metrics));
        let failures = Arc::clone(&self.metrics);
        accept_loop(
            listener,
            self.stop.clone(),
            move || {
                if !admission.has_room() {
                    metrics.sessions_held.inc();
                }
                let admission = Arc::clone(&admission);
                async move { admission.room().await }
            },
            move |error| failures.accept_failed(error),
            move |stream, client, ()| {
                let proxy = Arc::clone(&self);
                if self.announces(client) {
                    let session = Arc::clone(&session);
                    self.sessions.spawn(async move {
                        if let Some((stream, client)) = proxy.announced(stream, client).await
                            && let Some(admitted) = proxy.admit(stream, client, words)
                        {
                            session(proxy, admitted).await;
                        }
                    });
                } else if let Some(admitted) = self.admit(stream, client, words) {
                    self.sessions.spawn(session(proxy, admitted));
                }
            },
        )
        .await;
    }

    /// Whether the peer is a proxy in front of us.
    fn announces(&self, peer: ClientAddr) -> bool {
        let state = self.live.load();
        state.settings.proxy.proxy_protocol_from.contains(peer.ip())
    }

    /// The client that a proxy in front of us announces, or the proxy itself where it speaks for itself. Until then the
    /// connection is one of the proxy.
    async fn announced(
        &self,
        mut stream: TcpStream,
        peer: ClientAddr,
    ) -> Option<(TcpStream, ClientAddr)> {
        let _seat = self.admission.enter_for_others(peer.ip());
        let timeout = self.live.load().settings.proxy.sniff_timeout;
        let header = take_beginning(&mut stream, LONGEST_PROXY_HEADER, proxy_header);
        let header = tokio::time::timeout(timeout, Box::pin(header));
        let why = match self.stop.run_until_cancelled(header).await? {
            Ok(Ok(None)) => return Some((stream, peer)),
            Ok(Ok(Some(announced))) => return Some((stream, ClientAddr::new(announced.source))),
            Ok(Err(error)) => chain(&error),
            Err(_) => "it did not come in time".to_owned(),
        };
        tracing::debug!(%peer, why, "no PROXY header");
        self.refuse(&stream, peer, "proxy-protocol");
        None
    }

    fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        client: ClientAddr,
        words: Option<Words>,
    ) -> Option<Admitted> {
        let state = self.live.load_full();
        if !state.settings.networks.contains(client.ip()) {
            self.refuse(&stream, client, "stranger");
            return None;
        }
        if !state.in_rate(self, client) {
            self.turn_away(stream, client, "rate", words);
            return None;
        }
        let Some(seat) = self.admission.enter(client.ip()) else {
            self.turn_away(stream, client, "per-client", words);
            return None;
        };
        Some(Admitted {
            stream,
            client,
            seat,
            state,
        })
    }

    /// Refuses a client of ours, in words where the listener has some and few others are being told.
    fn turn_away(
        self: &Arc<Self>,
        stream: TcpStream,
        client: ClientAddr,
        reason: &'static str,
        words: Option<Words>,
    ) {
        let told = words.zip(Arc::clone(&self.told).try_acquire_owned().ok());
        let Some((words, permit)) = told else {
            self.refuse(&stream, client, reason);
            return;
        };
        tracing::debug!(%client, reason, "connection refused");
        self.count_refusal(reason);
        let (kind, text) = match reason {
            "rate" => (Kind::Rate, "this client makes new connections too fast"),
            _ => (
                Kind::ClientSessions,
                "this client has too many sessions open",
            ),
        };
        let words = words(&Failure::of_client(kind, text));
        let cut = self.cut.clone();
        self.sessions.spawn(async move {
            cut.run_until_cancelled(turn_away(stream, &words)).await;
            drop(permit);
        });
    }

    fn refuse(&self, stream: &TcpStream, client: ClientAddr, reason: &'static str) {
        tracing::debug!(%client, reason, "connection refused");
        self.count_refusal(reason);
        // Answered with RST: nothing of ours is left waiting for a peer that we do not want.
        stream.set_zero_linger().ok();
    }

    fn count_refusal(&self, reason: &'static str) {
        self.metrics
            .sessions_refused
            .get_or_create(&RefusalLabels { reason })
            .inc();
    }

    fn count_flood(&self, reason: &'static str) {
        self.metrics
            .http2_floods
            .get_or_create(&FloodLabels { reason })
            .inc();
    }

    fn rates(&self) -> MutexGuard<'_, Buckets> {
        // Every change is complete before anything can panic.
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "when a connection came, for the rate of its client"
)]
fn now() -> Instant {
    Instant::now()
}
