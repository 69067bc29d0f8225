//! The connections to origins that requests in absolute-form share: dialed for the first, kept for the next. Called by
//! `forward`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{Authority, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::Connected;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower_service::Service;

use super::super::respond::{Failure, Kind};
use super::super::seam::{Dial, Task};
use super::super::session::Reached;
use super::SMALLEST_HEAD;
use super::forward::Counted;
use crate::net::Target;

/// How long a connection to an origin is kept for the next request.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// How many connections are kept for one origin.
const POOL_PER_ORIGIN: usize = 8;

/// How many connections to origins may be open and still be kept; one beyond serves a single request.
const POOL_TOTAL: usize = 1_024;

/// The pool of connections to origins.
pub(in crate::proxy) type Client = legacy::Client<Connector, Counted>;

/// A pool that is filled by `dial`.
pub(in crate::proxy) fn client(dial: Arc<dyn Dial>, header_bytes: usize) -> Client {
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_PER_ORIGIN)
        .http1_max_buf_size(header_bytes.max(SMALLEST_HEAD))
        .http1_preserve_header_case(true)
        .build(Connector {
            dial,
            open: Arc::default(),
        })
}

/// Opens connections for the pool.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Connector {
    dial: Arc<dyn Dial>,
    open: Arc<AtomicUsize>,
}

impl Service<Uri> for Connector {
    type Response = Origin;
    type Error = Failure;
    type Future = Task<'static, Result<Origin, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { dial, open } = self.clone();
        Box::pin(async move {
            let authority = uri.authority().map_or("", Authority::as_str);
            let target = Target::parse(authority, Some(80))
                .map_err(|error| Failure::of_client(Kind::BadRequest, error.to_string()))?;
            let dialed = dial.dial(&target).await?;
            let reached = Reached::from(&dialed);
            let kept = open.fetch_add(1, Ordering::Relaxed) < POOL_TOTAL;
            Ok(Origin {
                io: TokioIo::new(dialed.stream),
                reached,
                kept,
                open,
            })
        })
    }
}

/// A connection to an origin.
#[derive(Debug)]
pub(in crate::proxy) struct Origin {
    io: TokioIo<TcpStream>,
    reached: Reached,
    kept: bool,
    open: Arc<AtomicUsize>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl legacy::connect::Connection for Origin {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.reached);
        if !self.kept {
            connected.poison();
        }
        connected
    }
}

impl Read for Origin {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Origin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Ways, echo};
    use super::*;

    #[tokio::test]
    async fn a_connection_beyond_the_bound_is_not_kept_and_makes_room_when_it_ends() {
        let ways = Ways::new([("a.example:80", Ok(echo().await))]);
        let mut connector = Connector {
            dial: Arc::new(ways),
            open: Arc::new(AtomicUsize::new(POOL_TOTAL - 1)),
        };
        let uri = Uri::from_static("http://a.example");
        let first = connector.call(uri.clone()).await.unwrap();
        let second = connector.call(uri.clone()).await.unwrap();
        assert!(first.kept && !second.kept);
        drop((first, second));
        assert!(connector.call(uri).await.unwrap().kept);
    }
}
