//! CONNECT (RFC 9110 section 9.3.6): the origin is dialed first, then the client is told 200 and the connection becomes
//! a tunnel.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::super::respond::{Failure, Kind};
use super::super::session::{Reached, Session};
use super::wire::Wire;
use super::{Body, Connection, said};
use crate::dial::Dialed;
use crate::net::Target;
use crate::relay::{Carried, Ended};
use crate::telemetry::{Inbound, Side};

pub(super) async fn answer(
    connection: &Connection,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let session = connection.begin(Inbound::Connect);
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let target = match Target::parse(authority.unwrap_or_default(), None) {
        Ok(target) => target,
        Err(error) => {
            let text = format!("CONNECT needs host:port: {error}");
            let failure = Failure::of_client(Kind::BadRequest, text);
            session.failed(None, &failure);
            return said(&failure);
        }
    };
    let state = connection.proxy.live.load_full();
    let dialing = connection.unless_gone(state.dial.dial(&target)).await;
    let dialed = match dialing.and_then(|dialed| dialed) {
        Ok(dialed) => dialed,
        Err(failure) => {
            session.failed(Some(&target), &failure);
            return said(&failure);
        }
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let tunnel = Tunnel {
        session,
        target,
        idle: state.settings.proxy.idle_timeout,
    };
    let proxy = Arc::clone(&connection.proxy);
    let seat = Arc::clone(&connection.seat);
    connection.proxy.sessions.spawn(async move {
        let run = tunnel.run(upgrade, dialed, &proxy);
        Box::pin(run).await;
        drop(seat);
    });
    Response::new(Either::Left(Full::default()))
}

struct Tunnel {
    session: Session,
    target: Target,
    idle: Duration,
}

impl Tunnel {
    async fn run(self, upgrade: OnUpgrade, mut dialed: Dialed, proxy: &super::Proxy) {
        let reached = Reached::from(&dialed);
        let begun = async {
            let upgraded = upgrade
                .await
                .map_err(|error| broken(Side::Client, io::Error::other(error)))?;
            let (client, read) = take_apart(upgraded)?;
            tokio::time::timeout(self.idle, dialed.stream.write_all(&read))
                .await
                .map_err(|_| (0, 0, Ended::Idle))?
                .map_err(|error| broken(Side::Origin, error))?;
            Ok((client, read.len()))
        };
        let carried = match proxy.cut.run_until_cancelled(begun).await {
            None => carried((0, 0, Ended::Cut)),
            Some(Err(ended)) => carried(ended),
            Some(Ok((client, first))) => {
                let mut carried = proxy
                    .carry
                    .carry(client, dialed.stream, self.idle, &proxy.cut)
                    .await;
                carried.sent += u64::try_from(first).unwrap_or(u64::MAX);
                carried
            }
        };
        self.session.ended(&self.target, &reached, &carried);
    }
}

/// The socket below HTTP, and what the client sent after its request without waiting for the answer.
fn take_apart(upgraded: Upgraded) -> Result<(TcpStream, bytes::Bytes), (u64, u64, Ended)> {
    let parts = upgraded.downcast::<TokioIo<Wire>>().ok();
    // Nobody looks at the connection between two requests, and this was the last one.
    parts
        .and_then(|parts| {
            let wire = Arc::into_inner(parts.io.into_inner().0)?;
            Some((wire.stream, parts.read_buf))
        })
        .ok_or_else(|| {
            broken(
                Side::Sekisho,
                io::Error::other("the tunnel is not on a TCP connection of its own"),
            )
        })
}

fn broken(side: Side, error: io::Error) -> (u64, u64, Ended) {
    (0, 0, Ended::Broken(side, error))
}

fn carried((sent, received, ended): (u64, u64, Ended)) -> Carried {
    Carried {
        sent,
        received,
        ended,
    }
}
