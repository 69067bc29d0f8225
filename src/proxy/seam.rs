//! What a session needs of the rooms below: a way to an origin, and someone who carries the bytes.
//!
//! The traits are there so that the tests here can stand in for name resolution and for the network.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::respond::{Failure, Kind};
use crate::config::Rule;
use crate::dial::{DialErrorKind, Dialed, Dialer, Flow, Refusal};
use crate::net::{ClientAddr, Family, Target};
use crate::relay::{Carried, Relay, Turned, Watched};
use crate::telemetry::Side;

pub(super) type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Reaches origins.
pub(super) trait Dial: Send + Sync + fmt::Debug {
    /// As [`Dialer::dial`].
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        rule: Option<&'a Rule>,
    ) -> Task<'a, Result<Dialed, Failure>>;

    /// As [`Dialer::flow`]; `None` where sessions leave by an upstream proxy, which carries no datagrams.
    fn flow(&self, client: ClientAddr, target: &Target, rule: Option<&Rule>) -> Option<Flow>;

    /// As [`Dialer::is_direct`].
    fn is_direct(&self, _target: &Target, _rule: Option<&Rule>) -> bool {
        true
    }

    /// As [`Dialer::addresses`]. Who carries streams only, has none.
    fn addresses<'a>(
        &'a self,
        client: ClientAddr,
        target: &'a Target,
        _rule: Option<&'a Rule>,
    ) -> Task<'a, Result<Vec<SocketAddr>, Failure>> {
        let text = format!("there is no way to {target} for datagrams of {client}");
        let kind = Kind::Dial(DialErrorKind::Unroutable);
        Box::pin(async move { Err(Failure::new(kind, Side::Sekisho, text)) })
    }

    /// As [`Dialer::permits`].
    fn permits(&self, _address: SocketAddr) -> Result<(), Refusal> {
        Err(Refusal::Denied)
    }

    /// As [`Dialer::udp_socket`].
    fn udp_socket(&self, _family: Family) -> io::Result<UdpSocket> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Dial for Dialer {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        rule: Option<&'a Rule>,
    ) -> Task<'a, Result<Dialed, Failure>> {
        Box::pin(async move { Self::dial(self, target, rule).await.map_err(Failure::from) })
    }

    fn flow(&self, client: ClientAddr, target: &Target, rule: Option<&Rule>) -> Option<Flow> {
        let direct = Self::is_direct(self, target, rule);
        direct.then(|| Self::flow(self, client, target, rule))
    }

    fn addresses<'a>(
        &'a self,
        client: ClientAddr,
        target: &'a Target,
        rule: Option<&'a Rule>,
    ) -> Task<'a, Result<Vec<SocketAddr>, Failure>> {
        Box::pin(async move {
            let found = Self::addresses(self, client, target, rule).await;
            found.map_err(Failure::from)
        })
    }

    fn is_direct(&self, target: &Target, rule: Option<&Rule>) -> bool {
        Self::is_direct(self, target, rule)
    }

    fn permits(&self, address: SocketAddr) -> Result<(), Refusal> {
        Self::permits(self, address)
    }

    fn udp_socket(&self, family: Family) -> io::Result<UdpSocket> {
        Self::udp_socket(self, family)
    }
}

/// Carries bytes between a client and an origin.
pub(super) trait Carry: Send + Sync + fmt::Debug {
    /// As [`Relay::run`].
    fn carry<'a>(
        &'a self,
        client: TcpStream,
        origin: TcpStream,
        idle: Duration,
        stop: &'a CancellationToken,
    ) -> Task<'a, Carried>;

    /// As [`Relay::follow`].
    fn follow<'a>(
        &'a self,
        client: TcpStream,
        origin: TcpStream,
        idle: Duration,
        stop: &'a CancellationToken,
        watched: Watched,
    ) -> Task<'a, (Carried, Option<Turned>)>;
}

impl Carry for Relay {
    fn carry<'a>(
        &'a self,
        client: TcpStream,
        origin: TcpStream,
        idle: Duration,
        stop: &'a CancellationToken,
    ) -> Task<'a, Carried> {
        Box::pin(self.run(client, origin, idle, stop))
    }

    fn follow<'a>(
        &'a self,
        client: TcpStream,
        origin: TcpStream,
        idle: Duration,
        stop: &'a CancellationToken,
        watched: Watched,
    ) -> Task<'a, (Carried, Option<Turned>)> {
        Box::pin(Self::follow(self, client, origin, idle, stop, watched))
    }
}
