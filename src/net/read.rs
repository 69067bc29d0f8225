//! One read of a connection that spares the call after it. For `relay`, which copies, and `proxy`, which feeds hyper.

use std::io;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Calls `read`, which reads once of `from` into that much `room`, in bytes. A read that leaves room has emptied the
/// socket: the runtime is told, which saves the call that would only say "try again". It is told of the readiness from
/// before the read, so that what comes meanwhile is not lost.
///
/// # Errors
///
/// What `read` says; [`io::ErrorKind::WouldBlock`] where the runtime knows of nothing to read.
pub fn read_once(
    from: &TcpStream,
    room: usize,
    read: impl FnOnce() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut got = None;
    let told = from.try_io(Interest::READABLE, || {
        let length = read()?;
        got = Some(length);
        if (1..room).contains(&length) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(length)
    });
    got.map_or(told, Ok)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    /// Whether the runtime would let a read try.
    fn is_readable(stream: &TcpStream) -> bool {
        stream.try_io(Interest::READABLE, || Ok(())).is_ok()
    }

    #[tokio::test]
    async fn a_read_that_leaves_room_is_the_last_until_more_comes() {
        let (near, mut far) = pair().await;
        let mut buffer = [0; 8];
        for _ in 0..2 {
            far.write_all(b"abc").await.unwrap();
            near.readable().await.unwrap();
            let read = read_once(&near, 8, || near.try_read(&mut buffer));
            assert_eq!((read.unwrap(), is_readable(&near)), (3, false));
        }
    }

    #[tokio::test]
    async fn a_read_that_filled_its_room_may_be_followed_by_another() {
        let (near, mut far) = pair().await;
        far.write_all(b"abcdef").await.unwrap();
        near.readable().await.unwrap();
        let mut buffer = [0; 3];
        let read = read_once(&near, 3, || near.try_read(&mut buffer));
        assert_eq!((read.unwrap(), is_readable(&near)), (3, true));
    }

    #[tokio::test]
    async fn the_end_is_read_as_often_as_it_is_asked_for() {
        let (near, far) = pair().await;
        drop(far);
        near.readable().await.unwrap();
        let mut buffer = [0; 8];
        for _ in 0..2 {
            let read = read_once(&near, 8, || near.try_read(&mut buffer));
            assert_eq!(read.unwrap(), 0);
        }
    }
}
