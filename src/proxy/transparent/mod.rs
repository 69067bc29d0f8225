//! Clients that do not know that we are there: DNS pointed them to us, and their first bytes say where they want to go.
//!
//! The bytes read for that are passed on first and unchanged; then the session is carried as it is.

mod follow;
pub(super) mod http;
pub(super) mod quic;
pub(super) mod tls;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::respond::{Failure, Kind};
use super::session::{Session, unless_gone};
use super::{Proxy, State};
use crate::dial::Dialed;
use crate::net::Target;
use crate::telemetry::Side;

/// Room for the first bytes: a ClientHello of a browser, or a usual head. Grows up to the limit.
const ROOM: usize = 4_096;

/// Reads until `parse` has an answer; it is asked only after bytes that may complete something (`worth`).
///
/// Without an answer within the limits, the failure says which one it was.
async fn sniff<T>(
    stream: &mut TcpStream,
    bytes: &mut BytesMut,
    most: usize,
    timeout: Duration,
    worth: impl Fn(&[u8]) -> bool,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, Failure> {
    let reading = async {
        if !bytes.is_empty()
            && let Some(found) = parse(bytes)
        {
            return Ok(found);
        }
        // A connection opened in advance may say nothing for long: no room for it yet.
        stream.readable().await.map_err(gone)?;
        let mut first = true;
        loop {
            let before = bytes.len();
            let left = most.saturating_sub(before);
            if left == 0 {
                return Err(Failure::of_client(
                    Kind::HeadTooLarge,
                    format!("the first {most} bytes do not say where to go"),
                ));
            }
            if bytes.capacity() == before {
                bytes.reserve(before.max(ROOM).min(left));
            }
            let mut room = (&mut *bytes).limit(left);
            if stream.read_buf(&mut room).await.map_err(gone)? == 0 {
                return Err(Failure::of_client(
                    Kind::Gone,
                    "the client ended the connection before it said where to go",
                ));
            }
            let new = bytes.get(before..).unwrap_or_default();
            if (first || worth(new))
                && let Some(found) = parse(bytes)
            {
                return Ok(found);
            }
            first = false;
        }
    };
    match tokio::time::timeout(timeout, reading).await {
        Ok(sniffed) => sniffed,
        // A connection opened in advance and not used: words would be taken for the answer to a later request.
        Err(_) if bytes.is_empty() => {
            Err(Failure::of_client(Kind::Gone, "the client said nothing"))
        }
        Err(_) => Err(Failure::of_client(
            Kind::HeadTimeout,
            "the client did not say in time where to go",
        )),
    }
}

fn gone(error: io::Error) -> Failure {
    Failure::of_client(Kind::Gone, format!("the connection broke: {error}"))
}

/// Dials the target and passes on what the client has said; both ends, or nothing where everything is cut. Where there is
/// nothing to carry, the client is given back with the reason.
async fn begin(
    proxy: &Proxy,
    state: &Arc<State>,
    session: &Session,
    client: TcpStream,
    target: &Target,
    said: &[u8],
) -> Result<Option<(TcpStream, Dialed)>, (TcpStream, Failure)> {
    let idle = state.settings.proxy.idle_timeout;
    let begun = async {
        let here = || client.local_addr().ok();
        let mut dialed = state.dial(session.client, here, target).await?;
        match tokio::time::timeout(idle, dialed.stream.write_all(said)).await {
            Ok(Ok(())) => Ok(dialed),
            Ok(Err(error)) => Err(Failure::new(
                Kind::ResponseBroken,
                Side::Origin,
                format!("{target} ended the connection: {error}"),
            )),
            Err(_) => Err(Failure::new(
                Kind::ResponseTimeout,
                Side::Origin,
                format!("{target} does not read"),
            )),
        }
    };
    let begun = async { unless_gone(&client, begun).await? };
    match proxy.cut.run_until_cancelled(begun).await {
        None => Ok(None),
        Some(Ok(dialed)) => Ok(Some((client, dialed))),
        Some(Err(failure)) => Err((client, failure)),
    }
}
