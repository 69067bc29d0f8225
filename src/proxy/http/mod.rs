//! The forward proxy: clients that know that we are one (RFC 9110 section 3.7), over HTTP/1.1.
//!
//! A connection may carry many requests; each is a session of its own.

mod connect;
mod forward;
mod headers;
mod pool;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::admission::Seat;
use super::respond::{Failure, Kind};
use super::session::Session;
use super::{Admitted, Proxy};
use crate::net::ClientAddr;
use crate::telemetry::{Inbound, chain};

pub(super) use self::pool::{Client, client};

/// hyper's own lower bound for its buffer.
const SMALLEST_HEAD: usize = 8_192;

/// Our own words, or those of an origin.
type Body = Either<Full<Bytes>, forward::Counted>;

/// One connection of a client.
struct Connection {
    proxy: Arc<Proxy>,
    client: ClientAddr,
    /// Grows with every request and every piece of a body.
    activity: Arc<AtomicU64>,
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
    let activity = Arc::new(AtomicU64::new(0));
    let connection = Arc::new(Connection {
        proxy: Arc::clone(&proxy),
        client,
        activity: Arc::clone(&activity),
        seat: Arc::new(seat),
    });
    let service = service_fn(move |request| {
        let connection = Arc::clone(&connection);
        Box::pin(async move { Ok::<_, Infallible>(connection.answer(request).await) })
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.sniff_timeout)
        .max_buf_size(settings.header_bytes.max(SMALLEST_HEAD))
        .half_close(true)
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = pin!(served);
    let mut stopping = false;
    let mut seen = None;
    loop {
        tokio::select! {
            biased;
            () = proxy.cut.cancelled() => return,
            () = proxy.stop.cancelled(), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
            ended = &mut served => {
                if let Err(error) = ended {
                    let error = chain(&error);
                    tracing::debug!(%client, %error, "the connection of a client ended badly");
                }
                return;
            }
            () = tokio::time::sleep(settings.idle_timeout) => {
                // The timer starts anew only with a stop, so that this is at least one whole idle timeout after `seen`.
                let now = activity.load(Ordering::Relaxed);
                if seen.replace(now) == Some(now) {
                    tracing::debug!(%client, "the connection of a client was idle for too long");
                    return;
                }
            }
        }
    }
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.activity.fetch_add(1, Ordering::Relaxed);
        if request.method() == Method::CONNECT {
            return connect::answer(self, request).await;
        }
        match request.uri().scheme_str() {
            Some("http") => forward::answer(self, request).await,
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
