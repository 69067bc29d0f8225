//! UDP to an origin. A datagram has no handshake, so what wins a race is the first reply: the idea of RFC 8305 carried
//! over to a protocol that does not say when it is connected.
//!
//! For QUIC, and whoever else speaks to one origin: [`Dialer::flow`]. For SOCKS5's UDP ASSOCIATE, which speaks to many
//! origins from one port: [`Dialer::udp_socket`], [`Dialer::addresses`] and [`Dialer::permits`].

mod course;
mod flight;
mod leg;
mod racing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::guard::Refusal;
use super::{DialError, Dialer};
use crate::config::Rule;
use crate::net::{ClientAddr, Family, Target};

use course::{Course, State};
pub use flight::{FLIGHT_BYTES, FLIGHT_DATAGRAMS};
use leg::System;

impl Dialer {
    /// A flow of datagrams between a client and the target, by whichever address of the target replies first. `rule` is the
    /// first one that matches the session.
    ///
    /// Nothing happens in this call: names are resolved, sockets opened and datagrams sent again while
    /// [`Flow::recv`] is polled. It must be polled for as long as the flow is wanted, and it is cancel-safe: the loop of
    /// a session is a `select!` over the client's next datagram, handed to [`Flow::send`], and `recv`, whose datagrams go
    /// to the client. Send the client's first datagram right after this call: the time that the origin has, begins here.
    ///
    /// In order:
    ///
    /// 1. Both families are asked for, and every address is judged by the guard, as in [`Dialer::dial`].
    /// 2. The first candidate gets a connected socket, on which the guard judges once more, and all that the client has
    ///    sent so far: the first flight, of at most [`FLIGHT_DATAGRAMS`] and [`FLIGHT_BYTES`]. What is beyond those is
    ///    sent to the candidates that are open, and not remembered for the others.
    /// 3. After `egress.attempt-delay` without a reply, or at once where a candidate refuses (ICMP port unreachable, no
    ///    route), the next candidate gets the same flight. Candidates that are open still get what the client goes on
    ///    sending, and may still win.
    /// 4. The first datagram that comes back decides. The other sockets are closed, the flight is forgotten, and all that
    ///    follows goes to that address only: see [`Flow::settled`].
    ///
    /// The sockets never fragment (RFC 9000 section 14): a datagram longer than the path takes is dropped and counted, as
    /// a router would. Every source port is fresh, and only datagrams of the address that it is connected to come in.
    pub fn flow(&self, client: ClientAddr, target: &Target, rule: Option<&Rule>) -> Flow {
        Flow(Course::new(
            Arc::clone(&self.rules),
            self.rules.families(rule),
            &self.names,
            System(self.rules.ways.clone()),
            client,
            target,
        ))
    }

    /// An unconnected socket on a free port, from which every address of the family can be reached; for SOCKS5, of which
    /// a client expects that all its datagrams leave by one port. It fragments where a datagram is too long for the path.
    ///
    /// Nothing is guarded here. Every address that a datagram goes to must come from [`Dialer::addresses`], or be asked
    /// for with [`Dialer::permits`], and be asked for again from time to time: own addresses come and go.
    ///
    /// # Errors
    ///
    /// What the system says: no descriptor is left, the family is switched off (`EAFNOSUPPORT`), or `egress.ipv4` or
    /// `egress.ipv6` names a source or an interface that is not there.
    pub fn udp_socket(&self, family: Family) -> io::Result<UdpSocket> {
        UdpSocket::from_std(self.rules.ways.open_udp(family)?)
    }

    /// Whether clients may send to the address: the guard's rules, no listener of ours, and no way by which the kernel
    /// would lead it back to this machine. IPv4-mapped addresses are judged as the IPv4 addresses that they are.
    ///
    /// Costs a few microseconds (a socket is connected, and nothing sent); remember the outcome for seconds, not longer.
    ///
    /// # Errors
    ///
    /// [`Refusal`] says why not.
    pub fn permits(&self, address: SocketAddr) -> Result<(), Refusal> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        self.rules.admit(address)?;
        // Where there is no way to the address, nothing can be led back either.
        let Ok(probe) = self.rules.ways.connect_udp(address) else {
            return Ok(());
        };
        match probe.local_addr() {
            Ok(local) => self.rules.guard.check_ends(local.ip(), address.ip()),
            Err(_) => Ok(()),
        }
    }

    /// The addresses of the target that clients may send to, the one to be tried first at the front: families take turns
    /// in it (RFC 8305 section 4). The target's port is in each of them. At least one is there. `rule` is the first one that
    /// matches the session; an address of a family that it leaves out is refused, also one that is the target itself.
    ///
    /// For [`Dialer::udp_socket`]: the first address whose family there is a socket for, is the one. Where that one turns
    /// out to be dead (`ECONNREFUSED` is not reported on an unconnected socket, so: no reply), take the next.
    ///
    /// It waits for the first family that has an address, and then for the other one, though only 50 ms.
    ///
    /// # Errors
    ///
    /// [`DialError`]: all addresses are closed to clients, there is none, or none was found within
    /// `egress.connect-timeout`.
    pub async fn addresses(
        &self,
        client: ClientAddr,
        target: &Target,
        rule: Option<&Rule>,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let families = self.rules.families(rule);
        let found = self.rules.candidates(client, target, families, &self.names);
        found.await
    }
}

/// A flow of datagrams to a target. Made by [`Dialer::flow`], which tells all about it. Dropping it ends it.
pub struct Flow(Course<System>);

/// How an origin was reached over UDP: what the line of a session at its end says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The address that replied first.
    pub address: SocketAddr,
    /// Its family.
    pub family: Family,
    /// Candidates that were sent to, this one included.
    pub attempts: usize,
    /// From the wish to the first reply.
    pub elapsed: Duration,
}

impl Flow {
    /// Sends a datagram of the client. Never waits and never fails: what cannot be sent is dropped and counted
    /// (`sekisho_udp_dropped`), and where the origin is found to be gone, the next [`Flow::recv`] says so.
    pub fn send(&mut self, datagram: &[u8]) {
        self.0.send(datagram);
    }

    /// The next datagram of the origin, and its length. What does not fit into `buffer` is lost: 64 KiB always do, 1500
    /// bytes do for QUIC.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has lost no datagram.
    ///
    /// # Errors
    ///
    /// [`DialError`], and then the flow is over. Before the first reply, as for [`Dialer::dial`]: closed to clients, no
    /// address, not resolved, every candidate refused ([`DialError::Unreachable`], at once), or nobody replied within
    /// `egress.connect-timeout` ([`DialError::Timeout`]). After it, only [`DialError::Unreachable`] of the kind
    /// `ConnectionRefused` or `Unreachable`: the origin has closed its port. There is no idle timeout here.
    pub async fn recv(&mut self, buffer: &mut [u8]) -> Result<usize, DialError> {
        self.0.recv(buffer).await
    }

    /// How the origin was reached; `None` before its first reply.
    pub fn settled(&self) -> Option<Settled> {
        match &self.0.state {
            State::Settled(settled) => Some(settled.how),
            State::Racing(_) | State::Over => None,
        }
    }

    /// The connected socket, once the first reply is there, for those who send or receive many datagrams in one call. It
    /// may be used from several tasks, and beside [`Flow::send`] and [`Flow::recv`].
    pub fn socket(&self) -> Option<Arc<UdpSocket>> {
        match &self.0.state {
            State::Settled(settled) => Some(Arc::clone(&settled.socket.udp)),
            State::Racing(_) | State::Over => None,
        }
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow")
            .field("target", &self.0.target)
            .field("settled", &self.settled())
            .finish_non_exhaustive()
    }
}
