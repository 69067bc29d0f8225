//! Requests in absolute-form (RFC 9112 section 3.2.2), passed on over pooled connections to their origins.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::Either;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper_util::client::legacy;
use tokio_util::sync::CancellationToken;

use super::super::respond::{Failure, Kind};
use super::super::session::{Reached, Session};
use super::headers::{ambiguity, is_coded, pass_on, wants_websocket, was_here};
use super::{Body, Connection, said};
use crate::net::{Host, Target};
use crate::relay::{Carried, Ended};
use crate::telemetry::{Inbound, Side, chain};

/// Answers one request with what its origin says.
pub(super) async fn answer(connection: &Connection, request: Request<Incoming>) -> Response<Body> {
    let session = connection.begin(Inbound::Forward);
    connection.proxy.metrics.http_requests.inc();
    let (target, request) = match rewritten(request) {
        Ok(rewritten) => rewritten,
        Err(failure) => {
            session.failed(None, &failure);
            return said(&failure);
        }
    };
    tracing::debug!(client = %connection.client, method = %request.method(), %target, "request");
    let state = connection.proxy.live.load_full();
    let sent = Arc::new(AtomicU64::new(0));
    let request = request.map(|body| Counted {
        body,
        bytes: Arc::clone(&sent),
        activity: Arc::clone(&connection.activity),
        done: false,
        end: None,
    });
    let asked = state.client.request(request);
    let asked = patient(
        asked,
        &connection.activity,
        state.settings.proxy.idle_timeout,
    );
    let response = match connection.unless_gone(asked).await {
        Err(gone) => Err(gone),
        Ok(None) => Err(Failure::new(
            Kind::ResponseTimeout,
            Side::Origin,
            format!("{target} did not answer the request in time"),
        )),
        Ok(Some(Err(error))) => Err(failure(&target, &error)),
        Ok(Some(Ok(response))) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Err(Failure::new(
                Kind::ResponseBroken,
                Side::Origin,
                format!("{target} switched protocols unasked"),
            ))
        }
        Ok(Some(Ok(response))) if is_coded(response.headers()) => Err(Failure::new(
            Kind::ResponseBroken,
            Side::Origin,
            format!("{target} answered in a transfer coding besides chunked"),
        )),
        Ok(Some(Ok(response))) => Ok(response),
    };
    match response {
        Ok(response) => passed_back(connection, session, target, sent, response),
        Err(failure) => {
            session.failed(Some(&target), &failure);
            said(&failure)
        }
    }
}

/// The request as the origin shall see it.
fn rewritten(request: Request<Incoming>) -> Result<(Target, Request<Incoming>), Failure> {
    let (mut head, body) = request.into_parts();
    if was_here(&head.headers) {
        return Err(Failure::of_client(
            Kind::Loop,
            "the request was sent through this proxy before",
        ));
    }
    if wants_websocket(&head.headers) {
        return Err(Failure::of_client(
            Kind::Upgrade,
            "a WebSocket needs a tunnel",
        ));
    }
    let bad = |text: String| Failure::of_client(Kind::BadRequest, text);
    if let Some(why) = ambiguity(&head.headers, head.version) {
        return Err(bad(why.to_owned()));
    }
    if is_coded(&head.headers) {
        return Err(Failure::of_client(
            Kind::Coding,
            "the request has a transfer coding besides chunked",
        ));
    }
    let authority = head
        .uri
        .authority()
        .map_or("", http::uri::Authority::as_str);
    let target = Target::parse(authority, Some(80)).map_err(|error| bad(error.to_string()))?;
    let host = match (&target.host, target.port) {
        (Host::Addr(std::net::IpAddr::V6(address)), 80) => format!("[{address}]"),
        (host, 80) => host.to_string(),
        _ => target.to_string(),
    };
    let path = head
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.uri = Uri::builder()
        .scheme("http")
        .authority(host.as_str())
        .path_and_query(path)
        .build()
        .map_err(|error| bad(error.to_string()))?;
    pass_on(&mut head.headers, head.version);
    // RFC 9112 section 3.2.2: what Host said before does not count.
    let host = HeaderValue::try_from(host).map_err(|error| bad(error.to_string()))?;
    head.headers.insert(HOST, host);
    head.version = Version::HTTP_11;
    Ok((target, Request::from_parts(head, body)))
}

/// Waits for the answer as long as something moves, and `None` once nothing did for `idle`.
async fn patient<T>(
    asked: impl Future<Output = T>,
    activity: &AtomicU64,
    idle: Duration,
) -> Option<T> {
    let mut asked = std::pin::pin!(asked);
    loop {
        let before = activity.load(Ordering::Relaxed);
        if let Ok(answer) = tokio::time::timeout(idle, &mut asked).await {
            return Some(answer);
        }
        if activity.load(Ordering::Relaxed) == before {
            // Or the connection is ended before this could be said.
            activity.fetch_add(1, Ordering::Relaxed);
            return None;
        }
    }
}

fn failure(target: &Target, error: &legacy::Error) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.clone();
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_user()
        {
            // The body, which the client sends.
            return Failure::of_client(Kind::BadRequest, chain(error));
        }
        cause = error.source();
    }
    Failure::new(
        Kind::ResponseBroken,
        Side::Origin,
        format!("{target} gave no answer: {}", chain(error)),
    )
}

fn passed_back(
    connection: &Connection,
    session: Session,
    target: Target,
    sent: Arc<AtomicU64>,
    response: Response<Incoming>,
) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    pass_on(&mut head.headers, head.version);
    head.version = Version::HTTP_11;
    let reached = head.extensions.get::<Reached>().copied();
    let received = Arc::new(AtomicU64::new(0));
    let end = reached.map(|reached| End {
        session,
        target,
        reached,
        sent,
        cut: connection.proxy.cut.clone(),
        error: None,
    });
    let body = Counted {
        body,
        bytes: received,
        activity: Arc::clone(&connection.activity),
        done: false,
        end,
    };
    Response::from_parts(head, Either::Right(body))
}

/// A body on its way through, and how much of it went.
#[derive(Debug)]
pub(in crate::proxy) struct Counted {
    body: Incoming,
    bytes: Arc<AtomicU64>,
    activity: Arc<AtomicU64>,
    /// Asked to the end; a body without a stated length knows its end only then.
    done: bool,
    /// With the last body of a session, its end.
    end: Option<End>,
}

#[derive(Debug)]
struct End {
    session: Session,
    target: Target,
    reached: Reached,
    sent: Arc<AtomicU64>,
    /// Whether we were told to stop.
    cut: CancellationToken,
    error: Option<String>,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let length = u64::try_from(length).unwrap_or(u64::MAX);
                this.bytes.fetch_add(length, Ordering::Relaxed);
                this.activity.fetch_add(1, Ordering::Relaxed);
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(end) = &mut this.end {
                    end.error = Some(chain(error));
                }
            }
            Poll::Ready(None) => this.done = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(end) = self.end.take() else {
            return;
        };
        let ended = match end.error {
            Some(error) => Ended::Broken(Side::Origin, io::Error::other(error)),
            None if self.done || self.body.is_end_stream() => Ended::Closed,
            None if end.cut.is_cancelled() => Ended::Cut,
            None => Ended::Broken(
                Side::Client,
                io::Error::other("the client did not take the whole answer"),
            ),
        };
        let carried = Carried {
            sent: end.sent.load(Ordering::Relaxed),
            received: self.bytes.load(Ordering::Relaxed),
            ended,
        };
        end.session.ended(&end.target, &end.reached, &carried);
    }
}
