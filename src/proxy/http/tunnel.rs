//! A connection of HTTP/1.1 that has become a tunnel, after CONNECT or because the origin switched protocols. Called by
//! `connect` and `forward`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::super::session::{Reached, Session};
use super::Connection;
use super::wire::Wire;
use crate::net::Target;
use crate::relay::{Carried, Ended};
use crate::telemetry::Side;

/// A tunnel whose far end is there.
pub(super) struct Tunnel {
    pub(super) session: Session,
    pub(super) target: Target,
    pub(super) reached: Reached,
    pub(super) origin: TcpStream,
    /// What the origin has said already.
    pub(super) said: Bytes,
    pub(super) idle: Duration,
}

impl Tunnel {
    /// Carries the bytes in a task of its own, once the client has been told.
    pub(super) fn open(self, connection: &Connection, upgrade: OnUpgrade) {
        let proxy = Arc::clone(&connection.proxy);
        let seat = Arc::clone(&connection.seat);
        connection.proxy.sessions.spawn(async move {
            let run = self.run(upgrade, &proxy);
            Box::pin(run).await;
            drop(seat);
        });
    }

    async fn run(mut self, upgrade: OnUpgrade, proxy: &super::Proxy) {
        let begun = async {
            let upgraded = upgrade
                .await
                .map_err(|error| broken(Side::Client, io::Error::other(error)))?;
            let (mut client, read) = take_apart(upgraded)?;
            let (up, down) = (read.len(), self.said.len());
            self.first(&mut client, read).await?;
            Ok((client, up, down))
        };
        let carried = match proxy.cut.run_until_cancelled(begun).await {
            None => nothing(Ended::Cut),
            Some(Err(ended)) => nothing(ended),
            Some(Ok((client, up, down))) => {
                let mut carried = proxy
                    .carry
                    .carry(client, self.origin, self.idle, &proxy.cut)
                    .await;
                carried.sent += u64::try_from(up).unwrap_or(u64::MAX);
                carried.received += u64::try_from(down).unwrap_or(u64::MAX);
                carried
            }
        };
        self.session.ended(&self.target, &self.reached, &carried);
    }

    /// Passes on what each side said without waiting for the other.
    async fn first(&mut self, client: &mut TcpStream, read: Bytes) -> Result<(), Ended> {
        let said = std::mem::take(&mut self.said);
        for (stream, side, words) in [
            (&mut self.origin, Side::Origin, read),
            (client, Side::Client, said),
        ] {
            tokio::time::timeout(self.idle, stream.write_all(&words))
                .await
                .map_err(|_| Ended::Idle)?
                .map_err(|error| broken(side, error))?;
        }
        Ok(())
    }
}

/// The socket below HTTP, and what the client sent after its request without waiting for the answer.
fn take_apart(upgraded: Upgraded) -> Result<(TcpStream, Bytes), Ended> {
    let parts = upgraded.downcast::<TokioIo<Wire>>().ok();
    // Nobody looks at the connection between two requests, and this was the last one.
    parts
        .and_then(|parts| parts.io.into_inner().take_apart(parts.read_buf))
        .ok_or_else(|| {
            broken(
                Side::Sekisho,
                io::Error::other("the tunnel is not on a TCP connection of its own"),
            )
        })
}

fn broken(side: Side, error: io::Error) -> Ended {
    Ended::Broken(side, error)
}

fn nothing(ended: Ended) -> Carried {
    Carried {
        sent: 0,
        received: 0,
        ended,
    }
}
