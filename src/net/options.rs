//! Sockets bound and prepared as we want them.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use nix::{getsockopt_impl, libc, sockopt_impl};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

/// How many connections the kernel keeps ready for `accept` (the kernel's own bound, `somaxconn`, applies too).
const BACKLOG: i32 = 1024;

/// Room for bursts while the loop is busy, in bytes; the kernel caps it at `rmem_max`.
const UDP_RECEIVE_BUFFER: usize = 1 << 20;

/// When a silent peer is asked whether it is there, and how often from then on.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(300))
    .with_interval(Duration::from_secs(60));

/// How often a free port is looked for that UDP and TCP can share.
const PORT_TRIES: usize = 32;

/// A listening TCP socket, non-blocking; an IPv6 one takes IPv6 only. The kernel gives its options to the connections
/// accepted from it: they are prepared as by [`prepare_stream`] and [`keep_alive`] without a call for each.
///
/// # Errors
///
/// What the system says: in use, not permitted, no such address.
pub fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the sessions of the last run to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    only_v6(&socket, address)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A bound UDP socket, non-blocking; an IPv6 one takes IPv6 only.
///
/// # Errors
///
/// What the system says: in use, not permitted, no such address.
pub fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    bind_one_of(1, address)
}

/// As [`bind_udp`], for one of so many sockets at the same address: the kernel shares out the clients between them.
fn bind_one_of(count: usize, address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    only_v6(&socket, address)?;
    socket.set_nonblocking(true)?;
    if count > 1 {
        socket.set_reuse_port(true)?;
    }
    // Only a wish: the kernel gives what it may.
    socket.set_recv_buffer_size(UDP_RECEIVE_BUFFER).ok();
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A UDP socket that asks one server, non-blocking, from a port that the kernel picks; what others send to it is not read.
///
/// # Errors
///
/// What the system says: no descriptor, no way there.
pub fn connect_udp(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(server),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    // Only a wish: the kernel gives what it may.
    socket.set_recv_buffer_size(UDP_RECEIVE_BUFFER).ok();
    socket.connect(&server.into())?;
    Ok(socket.into())
}

/// Why UDP and TCP were not bound together.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// UDP could not be bound.
    #[error("could not bind UDP")]
    Udp(#[source] io::Error),
    /// TCP could not be bound.
    #[error("could not bind TCP")]
    Tcp(#[source] io::Error),
}

impl From<PairError> for io::Error {
    fn from(error: PairError) -> Self {
        match error {
            PairError::Udp(source) | PairError::Tcp(source) => source,
        }
    }
}

/// UDP and TCP on one port, also where that port is 0, "a free one": a DNS client goes from UDP to TCP by the same
/// number. There are `count` sockets for UDP, one at least.
///
/// TCP comes first: its port cannot be shared, so that no other sekisho's clients are ever taken.
///
/// # Errors
///
/// [`PairError`] as from [`bind_udp`] and [`bind_tcp`].
pub fn bind_pair(
    address: SocketAddr,
    count: usize,
) -> Result<(Vec<UdpSocket>, TcpListener), PairError> {
    let mut tries = PORT_TRIES;
    loop {
        let tcp = bind_tcp(address).map_err(PairError::Tcp)?;
        let same = tcp.local_addr().map_err(PairError::Tcp)?;
        let sockets = (0..count.max(1)).map(|_| bind_one_of(count, same));
        match sockets.collect() {
            Ok(sockets) => return Ok((sockets, tcp)),
            // What is free over TCP may be taken over UDP.
            Err(error)
                if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && tries > 0 =>
            {
                tries -= 1;
            }
            Err(source) => return Err(PairError::Udp(source)),
        }
    }
}

fn only_v6(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(())
}

/// Sends small writes at once: a relay must not wait for more.
///
/// # Errors
///
/// What the system says; the connection has then usually ended.
pub fn prepare_stream(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}

/// Finds out when the machine of a silent peer is gone. For connections that were made and not accepted, once they have
/// lasted: most do not, and it takes three calls.
///
/// # Errors
///
/// What the system says; the connection has then usually ended.
pub fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(&KEEPALIVE)
}

sockopt_impl!(
    /// What the kernel holds for a socket (`SO_MEMINFO`): the nine numbers of its `sk_meminfo`.
    MemoryInfo,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_MEMINFO,
    [u32; 9]
);

/// The memory that the kernel holds for bytes written to a connection and not yet acknowledged by its peer, in bytes
/// with the kernel's own overhead; 0 exactly when the peer has everything, or the connection is gone.
pub fn unacknowledged(stream: &TcpStream) -> u32 {
    // SK_MEMINFO_WMEM_QUEUED
    const QUEUED: usize = 5;
    // Only fails on a socket that is gone already.
    nix::sys::socket::getsockopt(stream, MemoryInfo)
        .map_or(0, |numbers| numbers.get(QUEUED).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_and_tcp_share_the_free_port() {
        for count in [0, 1, 3] {
            let (udp, tcp) = bind_pair("127.0.0.1:0".parse().unwrap(), count).unwrap();
            assert_eq!(udp.len(), count.max(1));
            for socket in udp {
                assert_eq!(socket.local_addr().unwrap(), tcp.local_addr().unwrap());
            }
        }
    }

    #[test]
    fn an_accepted_connection_is_prepared_by_its_listener() {
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        let often = (
            socket.tcp_keepalive_time().unwrap(),
            socket.tcp_keepalive_interval().unwrap(),
        );
        assert_eq!(often, (Duration::from_secs(300), Duration::from_secs(60)));
    }

    #[test]
    fn a_port_that_tcp_does_not_have_is_told_as_such() {
        let holder = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = bind_pair(holder.local_addr().unwrap(), 2);
        assert!(matches!(taken, Err(PairError::Tcp(_))), "{taken:?}");
    }

    #[test]
    fn a_port_that_udp_does_not_have_is_told_as_such_also_where_clients_are_shared_out() {
        let holder = bind_one_of(2, "127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = bind_pair(holder.local_addr().unwrap(), 1);
        assert!(matches!(taken, Err(PairError::Udp(_))), "{taken:?}");
    }
}
