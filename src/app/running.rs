//! A gate that serves: its parts, how they are told of a reload, and how they stop.
//!
//! Stop: no new sessions, those that run get ten seconds to end, DNS answers until then, the admin listener goes last.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::certificate::Held;
use super::control::Controls;
use super::follow::Follower;
use super::loaded::Loaded;
use super::state::{Kept, State};
use super::{App, AppError, Kind, reload};
use crate::config::Config;
use crate::dial::{Dialer, Memory};
use crate::dns::{self, OwnNames};
use crate::net::{ClientAddr, Host, Prefixed};
use crate::proxy::{Proxy, Site as OwnSite};
use crate::relay::Relay;
use crate::resolve::Resolver;
use crate::telemetry::{Metrics, events, set_queries};
use crate::web::{self, AdminHandle, Control as _, Flush, Readiness, Site};

/// How long sessions may go on after the stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// How long questions that are open may take to be answered after that: a silent upstream, or a client that does not
/// read, must not hold up the stop.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How long sessions that were ended may take to say so.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A gate that serves until it is stopped.
#[derive(Debug)]
pub struct Running {
    pub(super) config: Config,
    pub(super) kept: Kept,
    pub(super) certificate: Option<Held>,
    pub(super) dns: Arc<dns::Handler>,
    pub(super) proxy: Arc<Proxy>,
    pub(super) site: Arc<Site>,
    pub(super) own_names: Arc<ArcSwap<OwnNames>>,
    pub(super) forward: Option<SocketAddr>,
    readiness: Arc<Readiness>,
    pub(super) admin: Option<AdminHandle>,
    pub(super) control: Arc<Controls>,
    /// Ends when it is dropped.
    following: Option<AbortOnDropHandle<()>>,
    /// Likewise.
    watching: AbortOnDropHandle<()>,
    parts: JoinSet<&'static str>,
    stop_dns: CancellationToken,
    stop_web: CancellationToken,
}

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopReport {
    /// Sessions that did not end by themselves in time.
    pub cut: usize,
}

/// The signals that a gate listens to.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user1: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next signal that means something.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hang_up.recv() => Told::Reload,
            _ = self.user1.recv() => Told::Flush,
        }
    }

    async fn stop(&mut self) {
        while self.next().await != Told::Stop {}
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Stop,
    Reload,
    Flush,
}

impl App {
    /// Serves from now on, on the runtime of the caller.
    ///
    /// # Errors
    ///
    /// [`AppError::Start`] when a socket or a thread cannot be had.
    pub fn start(self) -> Result<Running, AppError> {
        let Self {
            config,
            loaded:
                Loaded {
                    zones,
                    lists,
                    trust,
                    anchors,
                    users,
                },
            certificate,
            sockets,
            open_files,
        } = self;
        let bound = |error| AppError::Start("a listener", error);
        let bound_at = sockets.bound();
        let dns_tls = bound_at
            .iter()
            .filter(|(kind, _)| *kind == Kind::DnsTls)
            .map(|(_, address)| *address)
            .collect();
        let listeners = bound_at.into_iter().map(|(_, address)| address).collect();
        let forward = sockets
            .http
            .first()
            .and_then(|listener| listener.local_addr().ok());
        set_queries(config.log.queries).map_err(|error| AppError::Start("the query log", error))?;
        let metrics = Arc::new(Metrics::new());
        let resolver = Arc::new(Resolver::new(&config.dns, &trust, Arc::clone(&metrics)));
        resolver.validate_by(&config.dns, anchors);
        let kept = Kept {
            resolver,
            memory: Arc::new(Memory::new(Arc::clone(&metrics))),
            metrics: Arc::clone(&metrics),
            listeners,
            dns_tls,
            open_files,
        };
        let state = State::new(&config, zones, lists, users, certificate.as_ref(), &kept);
        let own_names = Arc::new(ArcSwap::new(state.own_names));
        let dns = Arc::new(dns::Handler::new(state.view, Arc::clone(&metrics)));
        let relay = Arc::new(Relay::new(Arc::clone(&metrics)));
        let dialer = Arc::clone(&state.live.dialer);
        let watching = watch(&dialer);
        let proxy = Proxy::new(state.live, relay, Arc::clone(&metrics));
        let site = Arc::new(Site::new(
            &config.lan,
            forward,
            Arc::clone(&state.steering),
            Arc::clone(&metrics),
        ));
        let readiness = Arc::new(Readiness::new());
        let control = Arc::new(Controls::new(
            &kept,
            Arc::clone(&dns),
            dialer,
            state.steering,
        ));
        let admin = if sockets.admin.is_empty() {
            None
        } else {
            let networks = config.lan.networks.clone();
            let admin = web::spawn(
                sockets.admin,
                Arc::clone(&metrics),
                Arc::clone(&readiness),
                Arc::clone(&control) as _,
                networks,
            );
            Some(admin.map_err(|error| AppError::Start("the admin thread", error))?)
        };

        let mut parts = JoinSet::new();
        let stop_dns = CancellationToken::new();
        let stop_web = CancellationToken::new();
        let (handler, stop) = (Arc::clone(&dns), stop_dns.clone());
        let listeners = dns::Listeners {
            udp: sockets.dns_udp.into_iter().flatten().collect(),
            tcp: sockets.dns_tcp,
            tls: sockets.dns_tls,
        };
        parts.spawn(async move {
            if let Err(error) = dns::serve(handler, listeners, stop).await {
                tracing::error!(%error, "DNS ended");
            }
            "DNS"
        });
        for listener in sockets.http {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(bound)?;
            let proxy = Arc::clone(&proxy);
            parts.spawn(async move {
                proxy.serve_forward(listener).await;
                "the forward proxy"
            });
        }
        for listener in sockets.socks {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(bound)?;
            let proxy = Arc::clone(&proxy);
            parts.spawn(async move {
                proxy.serve_socks(listener).await;
                "SOCKS"
            });
        }
        for listener in sockets.tls {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(bound)?;
            let proxy = Arc::clone(&proxy);
            parts.spawn(async move {
                proxy.serve_tls(listener).await;
                "transparent TLS"
            });
        }
        for socket in sockets.quic {
            let socket = tokio::net::UdpSocket::from_std(socket).map_err(bound)?;
            let proxy = Arc::clone(&proxy);
            parts.spawn(async move {
                proxy.serve_quic(socket).await;
                "transparent QUIC"
            });
        }
        for plain in sockets.plain {
            let listener = tokio::net::TcpListener::from_std(plain.listener).map_err(bound)?;
            let proxy = Arc::clone(&proxy);
            let site: Option<Arc<dyn OwnSite>> = plain.shared.then(|| {
                Arc::new(SharedSite {
                    site: Arc::clone(&site),
                    own_names: Arc::clone(&own_names),
                }) as _
            });
            parts.spawn(async move {
                proxy.serve_plain(listener, site).await;
                "transparent HTTP"
            });
        }
        for listener in sockets.web {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(bound)?;
            let (site, stop) = (Arc::clone(&site), stop_web.clone());
            parts.spawn(async move {
                site.serve(listener, stop).await;
                "the web listener"
            });
        }
        readiness.set(web::State::Ready);
        Ok(Running {
            config,
            kept,
            certificate,
            dns,
            proxy,
            site,
            own_names,
            forward,
            readiness,
            admin,
            control,
            following: state.follower.spawn(),
            watching,
            parts,
            stop_dns,
            stop_web,
        })
    }
}

fn watch(dialer: &Dialer) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(dialer.watch()))
}

impl Running {
    /// Serves until a signal says stop; reloads and flushes the cache when one says so.
    pub(super) async fn until_stopped(mut self, signals: &mut Signals) -> Result<(), AppError> {
        loop {
            tokio::select! {
                told = signals.next() => match told {
                    Told::Stop => break,
                    Told::Reload => reload::reload(&mut self),
                    Told::Flush => {
                        self.control.flush(&Flush::All);
                    }
                },
                part = self.ended() => return Err(AppError::Ended(part)),
            }
        }
        // Who reads the line may rely on it.
        self.refuse_more();
        tracing::info!(seconds = DRAIN.as_secs(), "{}", events::DRAINING);
        // A second signal means: now.
        let report = self.stop(signals.stop()).await;
        tracing::info!(cut = report.cut, "{}", events::STOPPED);
        Ok(())
    }

    /// Watches over the families as another dialer does from now on.
    pub(super) fn watch(&mut self, dialer: &Dialer) {
        self.watching = watch(dialer);
    }

    /// Follows other files from now on.
    pub(super) fn follow(&mut self, follower: Follower) {
        self.following = follower.spawn();
    }

    /// Waits for a part to end by itself, which none should.
    async fn ended(&mut self) -> &'static str {
        let admin = async {
            match &self.admin {
                Some(admin) => admin.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = admin => "the admin listener",
            ended = self.parts.join_next() => match ended {
                Some(Ok(part)) => part,
                Some(Err(_)) => "a part that panicked",
                None => std::future::pending().await,
            },
        }
    }

    /// Takes no more sessions, and says so to those who ask.
    fn refuse_more(&self) {
        self.readiness.set(web::State::Draining);
        self.proxy.stop();
    }

    /// Stops: takes no more sessions, lets those that run end for ten seconds or until `hurry`, then ends them. DNS
    /// goes on until then, and answers what is open within a second more.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) -> StopReport {
        self.refuse_more();
        let drained = tokio::select! {
            drained = tokio::time::timeout(DRAIN, self.proxy.drained()) => drained.is_ok(),
            () = hurry => false,
        };
        let cut = if drained { 0 } else { self.proxy.cut() };
        // Those that were cut still write their last line.
        tokio::time::timeout(LAST_LINES, self.proxy.drained())
            .await
            .ok();
        self.stop_dns.cancel();
        self.stop_web.cancel();
        let ended = async { while self.parts.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ANSWERS, ended).await.is_err() {
            tracing::debug!("questions and connections that were open still are ended");
            self.parts.shutdown().await;
        }
        if let Some(admin) = self.admin.take() {
            admin.stop();
        }
        StopReport { cut }
    }
}

/// The web site as the transparent proxy sees it: the two rooms do not know each other.
#[derive(Debug)]
struct SharedSite {
    site: Arc<Site>,
    own_names: Arc<ArcSwap<OwnNames>>,
}

impl OwnSite for SharedSite {
    fn owns(&self, host: &Host) -> bool {
        let is_gate = || match host {
            Host::Name(name) => self.own_names.load().is_gate(name),
            Host::Addr(_) => false,
        };
        self.site.owns(host) || is_gate()
    }

    fn serve(
        &self,
        stream: Prefixed<tokio::net::TcpStream>,
        client: ClientAddr,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(Arc::clone(&self.site).serve_stream(stream, client))
    }
}
