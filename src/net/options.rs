//! Sockets bound and prepared as we want them.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use nix::{getsockopt_impl, libc, sockopt_impl};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

/// How many connections the kernel keeps ready for `accept` (the kernel's own bound, `somaxconn`, applies too).
const BACKLOG: i32 = 1024;

/// Room for bursts of queries while the loop is busy, in bytes; the kernel caps it at `rmem_max`.
const UDP_RECEIVE_BUFFER: usize = 1 << 20;

/// A listening TCP socket, non-blocking; an IPv6 one takes IPv6 only.
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
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    only_v6(&socket, address)?;
    socket.set_nonblocking(true)?;
    // Only a wish: the kernel gives what it may.
    socket.set_recv_buffer_size(UDP_RECEIVE_BUFFER).ok();
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn only_v6(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(())
}

/// Sends small writes at once (a relay must not wait for more), and finds out when the peer's machine is gone.
///
/// # Errors
///
/// What the system says; the connection has then usually ended.
pub fn prepare_stream(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(300))
        .with_interval(Duration::from_secs(60));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
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
