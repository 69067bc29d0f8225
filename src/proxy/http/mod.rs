//! The forward proxy: clients that know that we are one (RFC 9110 section 3.7), over HTTP/1.1 and HTTP/2.
//!
//! A connection may carry many requests; each is a session of its own.

mod body;
mod connect;
mod forward;
mod forwarded;
mod h2;
mod h2_answer;
mod h2_request;
mod h2_tunnel;
mod headers;
mod max_forwards;
mod origin;
mod pool;
mod sieve;
mod tunnel;
mod wire;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, PROXY_AUTHORIZATION};
use http::{Method, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use self::wire::{REFUSED, Watched, Wire};
use super::auth::basic;
use super::farewell::farewell;
use super::respond::{Failure, Kind};
use super::screen::Fault;
use super::session::{Session, unless_gone};
use super::{Admitted, Proxy, Settings};
use crate::net::{ClientAddr, Seat, Target};
use crate::telemetry::{Inbound, chain};

pub(super) use self::pool::Pool;

/// hyper's own lower bound for its buffer.
const SMALLEST_HEAD: usize = 8_192;

/// How often to look whether the rest of a preface has come whose first bytes came alone.
const PREFACE_LOOK: Duration = Duration::from_millis(5);

/// Marks an OPTIONS of a server as a whole (RFC 9112 section 3.2.4): to hyper `http://a` is `http://a/`.
#[derive(Clone, Copy, Debug)]
struct OfServer;

/// Our own words, or those of an origin.
type Body = Either<Full<Bytes>, body::Received>;

/// Why a session came to nothing, and where it wanted to go, as far as that is known.
type Failed = Box<(Option<Target>, Failure)>;

/// One connection of a client, or one stream of HTTP/2.
struct Connection {
    proxy: Arc<Proxy>,
    client: ClientAddr,
    /// Grows with every request and every piece of a body.
    activity: Arc<AtomicU64>,
    /// Not ours, so that a tunnel has it for itself.
    wire: Weak<Watched>,
    /// Held by the tunnels too, which live on when the HTTP connection has become one.
    seat: Arc<Seat>,
}

/// Serves one connection.
pub(super) async fn serve(proxy: Arc<Proxy>, admitted: Admitted) {
    let Admitted {
        stream,
        client,
        seat,
        state,
    } = admitted;
    let settings = state.settings.clone();
    drop(state);
    match begins_http2(&proxy, &stream, &settings).await {
        None => return,
        Some(true) => {
            Box::pin(h2::serve(&proxy, client, stream, &settings)).await;
            return drop(seat);
        }
        Some(false) => {}
    }
    let header_bytes = settings.proxy.header_bytes.max(SMALLEST_HEAD);
    let wire = Watched::new(stream, header_bytes);
    let connection = Arc::new(Connection {
        proxy: Arc::clone(&proxy),
        client,
        activity: Arc::default(),
        wire: Arc::downgrade(&wire),
        seat: Arc::new(seat),
    });
    let Some(error) = exchange(&connection, wire, &settings).await else {
        return;
    };
    let (wire, error) = error;
    let said = chain(&error);
    tracing::debug!(%client, error = %said, "the connection of a client ended badly");
    let Some(failure) = wire.as_deref().and_then(|wire| refusal(wire, &error)) else {
        return;
    };
    connection.begin(Inbound::Forward).failed(None, &failure);
    if let Some(wire) = wire.and_then(Arc::into_inner)
        && !wire.asked()
    {
        let words = failure.raw();
        let farewell = farewell(wire.stream, &words);
        proxy.cut.run_until_cancelled(farewell).await;
    }
}

/// Whether the client begins with the preface of HTTP/2 (RFC 9113 section 3.4), whose method is reserved for it; `None`
/// where it says nothing.
async fn begins_http2(proxy: &Proxy, stream: &TcpStream, settings: &Settings) -> Option<bool> {
    const METHOD: &[u8] = b"PRI";
    let looking = async {
        let mut start = [0; METHOD.len()];
        loop {
            let length = stream.peek(&mut start).await.ok()?;
            let start = start.get(..length).unwrap_or_default();
            if length == 0 || !METHOD.starts_with(start) {
                return Some(false);
            }
            if length == METHOD.len() {
                return Some(true);
            }
            // The kernel tells of the first bytes, and not again of more.
            tokio::time::sleep(PREFACE_LOOK).await;
        }
    };
    tokio::select! {
        biased;
        begun = tokio::time::timeout(settings.proxy.sniff_timeout, looking) => begun.ok()?,
        () = proxy.stop.cancelled() => None,
        () = proxy.cut.cancelled() => None,
    }
}

/// Answers requests until the connection ends, or has become a tunnel; what hyper did not like, and the connection.
async fn exchange(
    connection: &Arc<Connection>,
    wire: Arc<Watched>,
    settings: &Settings,
) -> Option<(Option<Arc<Watched>>, hyper::Error)> {
    let Connection {
        proxy,
        client,
        activity,
        wire: watched,
        seat: _,
    } = &**connection;
    let service = service_fn(|request| {
        let connection = Arc::clone(connection);
        Box::pin(async move { Ok::<_, Infallible>(connection.answer(request).await) })
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.proxy.sniff_timeout)
        .max_buf_size(settings.proxy.header_bytes.max(SMALLEST_HEAD))
        .half_close(true)
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(Wire::new(wire)), service)
        .with_upgrades();
    let mut served = pin!(served);
    let mut stopping = false;
    let mut seen = None;
    loop {
        tokio::select! {
            biased;
            () = proxy.cut.cancelled() => return None,
            () = proxy.stop.cancelled(), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
            ended = &mut served => return ended.err().map(|error| (watched.upgrade(), error)),
            () = tokio::time::sleep(settings.proxy.idle_timeout) => {
                // The timer starts anew only with a stop, so that this is at least one whole idle timeout after `seen`.
                let now = activity.load(Ordering::Relaxed);
                if seen.replace(now) == Some(now) {
                    tracing::debug!(%client, "the connection of a client was idle for too long");
                    return None;
                }
            }
        }
    }
}

/// What to tell a client whose request hyper did not understand; nothing where there was none.
fn refusal(wire: &Watched, error: &hyper::Error) -> Option<Failure> {
    if !wire.heard() {
        return None;
    }
    let (kind, text) = if error.is_parse() {
        let text = format!("the request could not be understood: {}", chain(error));
        (Kind::BadRequest, text)
    } else if error.is_timeout() && !wire.asked() {
        let text = "the head of the request did not come in time".to_owned();
        (Kind::HeadTimeout, text)
    } else {
        return None;
    };
    Some(Failure::of_client(kind, text))
}

impl Connection {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        self.activity.fetch_add(1, Ordering::Relaxed);
        if let Some(wire) = self.wire.upgrade() {
            wire.ask();
            if request.method() == REFUSED
                && let Some(fault) = wire.refused()
            {
                return self.screened(fault, &wire);
            }
            if request.method() == Method::OPTIONS && wire.asks_of_server() {
                request.extensions_mut().insert(OfServer);
            }
        }
        if let Err(failure) = self.log_in(request.headers()).await {
            let inbound = match *request.method() {
                Method::CONNECT => Inbound::Connect,
                _ => Inbound::Forward,
            };
            self.begin(inbound).failed(None, &failure);
            return said(&failure);
        }
        if request.method() == Method::CONNECT {
            return connect::answer(self, request).await;
        }
        match request.uri().scheme_str() {
            // aiohttp names a WebSocket by its own scheme; what it asks for is an upgrade like any other (RFC 6455 section 4.1).
            Some("http" | "ws") => forward::answer(self, request).await,
            Some(scheme) => self.refuse(
                Kind::BadRequest,
                format!("{scheme}:// needs a tunnel; use CONNECT"),
            ),
            None => self.refuse(
                Kind::BadRequest,
                "this is a proxy, not a web server: the request names no http:// address",
            ),
        }
    }

    /// Whether the client says who it is, where only the users of a file may come (RFC 9110 section 11.7).
    async fn log_in(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let state = self.proxy.live.load_full();
        let Some(users) = &state.settings.users else {
            return Ok(());
        };
        let door = &self.proxy.door;
        let given = headers.get(PROXY_AUTHORIZATION);
        let Some((name, password)) = given.and_then(|value| basic(value.as_bytes())) else {
            return Err(door.nameless());
        };
        self.unless_gone(door.check(users, self.client.ip(), &name, &password))
            .await?
    }

    /// As [`unless_gone`], of the client of this connection.
    async fn unless_gone<T>(&self, doing: impl Future<Output = T>) -> Result<T, Failure> {
        match self.wire.upgrade() {
            Some(wire) => unless_gone(&wire.stream, doing).await,
            None => Ok(doing.await),
        }
    }

    /// Says why a request was not read.
    fn screened(&self, fault: Fault, wire: &Watched) -> Response<Body> {
        let failure = if wire.is_tls() {
            let text =
                "this is an HTTP proxy, and the client began TLS; enter the proxy as http://";
            Failure::of_client(Kind::BadRequest, text)
        } else {
            Failure::of_request(fault)
        };
        self.begin(Inbound::Forward).failed(None, &failure);
        said(&failure)
    }

    fn begin(&self, inbound: Inbound) -> Session {
        Session::begin(Arc::clone(&self.proxy.metrics), self.client, inbound)
    }

    fn refuse(&self, kind: Kind, text: impl Into<String>) -> Response<Body> {
        let failure = Failure::of_client(kind, text);
        self.begin(Inbound::Forward).failed(None, &failure);
        said(&failure)
    }
}

fn said(failure: &Failure) -> Response<Body> {
    failure.response().map(Either::Left)
}
