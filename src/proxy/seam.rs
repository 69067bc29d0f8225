//! What a session needs of the rooms below: a way to an origin, and someone who carries the bytes.
//!
//! The traits are there so that the tests here can stand in for name resolution and for the network.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::respond::Failure;
use crate::config::Rule;
use crate::dial::{Dialed, Dialer, Flow};
use crate::net::{ClientAddr, Target};
use crate::relay::{Carried, Relay};

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
        let straight = !self.leaves_by_proxy(target, rule);
        straight.then(|| Self::flow(self, client, target))
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
}
