//! TCP connections: the one accept loop, with a permit before each accept, a pause after an error, and an end when told.
//!
//! Called by every TCP listener of `dns`, `proxy` and `web`.

use std::io;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::ClientAddr;

/// First and longest pause after `accept` failed, as it does while no file descriptors are left.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Accepts connections until `stop`, each only after `admit` gave a permit: at the limit, connections wait in the
/// kernel's backlog instead of in our memory. `failed` is told why one could not be accepted, which is followed by a
/// pause. `handle` must not block: it spawns.
pub async fn accept_loop<P>(
    listener: TcpListener,
    stop: CancellationToken,
    admit: impl AsyncFn() -> P,
    failed: impl Fn(&io::Error),
    handle: impl Fn(TcpStream, ClientAddr, P),
) {
    let mut pause = PAUSE.0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = async {
                let permit = admit().await;
                (listener.accept().await, permit)
            } => accepted,
        };
        match accepted {
            (Ok((stream, peer)), permit) => {
                pause = PAUSE.0;
                handle(stream, ClientAddr::new(peer), permit);
            }
            (Err(error), _) => {
                failed(&error);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Waits until the connection is broken, without reading from it; a peer that has only ended its stream has broken
/// nothing.
pub async fn broken(stream: &TcpStream) -> io::Error {
    match stream.ready(Interest::ERROR).await {
        Ok(_) => match stream.take_error() {
            Ok(Some(error)) | Err(error) => error,
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
        },
        Err(error) => error,
    }
}
