//! Level 3: what the gate shows over HTTP: the PAC file to clients, health and metrics to the admin.
//!
//! `app` starts [`Site`] on `web.listen` and the admin thread ([`spawn`]) on `web.admin`; the transparent proxy hands
//! connections of `proxy.plain` whose Host is the gate's own to [`Site::serve_stream`]. HTTP/1.1 is RFC 9112.

mod admin;
mod control;
mod explain;
mod pac;
mod site;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use admin::{AdminHandle, Readiness, State, spawn};
pub use control::{CacheReport, Control, Explaining, Flush};
pub use explain::Explain;
pub use site::Site;

use crate::net::{ClientAddr, accept_loop};
use crate::telemetry::Metrics;

/// How long a client may take to send the head of a request, the first and every other.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a connection lasts, however busy: every answer here is short.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);

/// The longest head of a request, in bytes; longer is answered with 431.
const HEAD_BYTES: usize = 16 * 1024;

/// How long open connections may go on once the stop was asked for.
const DRAIN: Duration = Duration::from_secs(2);

type Reply = Response<Full<Bytes>>;

/// Takes connections until `stop`, at most `limit` at once (more wait in the kernel), those that `admit` refuses are
/// closed unread.
async fn listen<A, F>(
    listener: TcpListener,
    stop: CancellationToken,
    limit: usize,
    metrics: Arc<Metrics>,
    admit: impl Fn(ClientAddr) -> bool + Send + Sync + 'static,
    answer: A,
) where
    A: Fn(ClientAddr, &Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limit));
    let tasks = TaskTracker::new();
    accept_loop(
        listener,
        stop.clone(),
        move || Arc::clone(&permits).acquire_owned(),
        |error| metrics.accept_failed(error),
        |stream, client, permit| {
            if !admit(client) {
                return;
            }
            let (answer, stop) = (answer.clone(), stop.clone());
            tasks.spawn(async move {
                let _permit = permit;
                connection(stream, &stop, move |request| answer(client, request)).await;
            });
        },
    )
    .await;
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::debug!("connections to the web listener were still open at the stop");
    }
}

/// Answers the requests of one connection.
async fn connection<S, F>(
    stream: S,
    stop: &CancellationToken,
    answer: impl Fn(&Request<Incoming>) -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Reply>,
{
    let service = service_fn(|request: Request<Incoming>| {
        let reply = answer(&request);
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    let whole = async {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    match tokio::time::timeout(CONNECTION_LIFETIME, whole).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the web listener broke"),
        Err(_) => tracing::debug!("a connection to the web listener lasted too long"),
    }
}

/// `Some` refusal of a method that is neither GET nor HEAD.
fn refuse_method(method: &Method) -> Option<Reply> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    reply
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(reply)
}

/// A short text.
fn plain(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    reply(status, "text/plain; charset=utf-8", "no-store", text)
}

fn reply(
    status: StatusCode,
    content_type: &'static str,
    caching: &'static str,
    body: impl Into<Bytes>,
) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    reply
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn at_the_limit_a_connection_waits_until_another_ends() {
        const REQUEST: &[u8] = b"HEAD / HTTP/1.1\r\nHost: gate\r\n\r\n";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = |_, _: &Request<Incoming>| std::future::ready(plain(StatusCode::OK, ""));
        tokio::spawn(listen(
            listener,
            CancellationToken::new(),
            1,
            Arc::new(Metrics::new()),
            |_| true,
            answer,
        ));

        let mut first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(REQUEST).await.unwrap();
        let mut start = [0; 12];
        for _ in 0..50 {
            first.write_all(REQUEST).await.unwrap();
            first.read_exact(&mut start).await.unwrap();
            let mut rest = Vec::new();
            while !rest.ends_with(b"\r\n\r\n") {
                rest.push(first.read_u8().await.unwrap());
            }
            assert!(second.try_read(&mut start).is_err());
        }
        drop(first);
        second.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
    }

    /// Sends a request as written and reads until the far side closes.
    pub(super) async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        // A stranger is closed unread, which the kernel may tell as a reset.
        stream.write_all(request.as_bytes()).await.ok();
        stream.read_to_end(&mut answer).await.ok();
        String::from_utf8(answer).unwrap()
    }

    /// GET, on a connection of its own.
    pub(super) async fn fetch(address: SocketAddr, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n");
        exchange(address, &request).await
    }
}
