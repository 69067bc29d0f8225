//! By an upstream proxy: SOCKS5 or HTTP CONNECT. Names are passed on as names, and resolved there.
//!
//! The proxy itself may stand anywhere, also on the LAN or on this machine, because the admin named it; only a listener
//! of ours is no way out. The guard still judges addresses that a client writes out, and names of this network are
//! reached without the proxy, which does not know them: so the guard judges them, too.

mod http;
mod socks5;

use std::io;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::{DialError, Dialed, Dialer, LocalName, Rules, Tcp, now, prepared};
use crate::config::{Credentials, Egress, ProxyKind, Rule, UpstreamProxy, Via};
use crate::net::{BeginningError, Family, Host, Target, take_beginning};
use crate::telemetry::ViaLabels;

/// Why an upstream proxy did not take a session on.
#[derive(Debug, thiserror::Error)]
pub enum ViaError {
    /// It was not reached.
    #[error("it could not be reached")]
    Unreached(#[source] Box<DialError>),
    /// It did not answer within `egress.connect-timeout`.
    #[error("it did not answer in time")]
    Timeout,
    /// It broke the connection, or does not speak its protocol.
    #[error("it broke off")]
    Broken(#[source] BeginningError),
    /// It does not take our credentials, or wants some.
    #[error("it wants other credentials")]
    Credentials,
    /// It says in SOCKS5's field REP why not (RFC 1928 section 6).
    #[error("it answered {code} ({})", told(*code))]
    Reply {
        /// The field.
        code: u8,
    },
    /// It says by an HTTP status why not.
    #[error("it answered with the status {0}")]
    Status(u16),
}

impl From<io::Error> for ViaError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.into())
    }
}

impl From<BeginningError> for ViaError {
    fn from(error: BeginningError) -> Self {
        Self::Broken(error)
    }
}

impl ViaError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Unreached(_) => "unreached",
            Self::Timeout => "timeout",
            Self::Broken(_) => "broken",
            Self::Credentials => "credentials",
            Self::Reply { .. } | Self::Status(_) => "refused",
        }
    }
}

fn told(code: u8) -> &'static str {
    match code {
        2 => "not allowed",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "general failure",
    }
}

/// The way to upstream proxies.
#[derive(Debug)]
pub(super) struct Proxies {
    /// Of sessions that no rule sends elsewhere.
    default: Via,
    /// How the proxies themselves are reached.
    rules: Rules,
}

impl Proxies {
    /// `rules` as for origins.
    pub(super) fn new(egress: &Egress, rules: Rules) -> Self {
        let rules = Rules {
            guard: rules.guard.opened(),
            ..rules
        };
        Self {
            default: egress.via.clone(),
            rules,
        }
    }
}

impl Dialer {
    /// The upstream proxy of a session, and the target as it is told to it. `None` goes straight.
    pub(super) fn proxy_for<'a>(
        &'a self,
        target: &Target,
        rule: Option<&'a Rule>,
    ) -> Option<(&'a UpstreamProxy, Target)> {
        let via = rule
            .and_then(|rule| rule.via.as_ref())
            .unwrap_or(&self.proxies.default);
        let Via::Proxy(proxy) = via else {
            return None;
        };
        let Host::Name(name) = &target.host else {
            return Some((proxy, target.clone()));
        };
        match self.names.local.look_up(name, Family::V4) {
            None => Some((proxy, target.clone())),
            Some(LocalName::Alias(outside)) => {
                Some((proxy, Target::new(Host::Name(outside), target.port)))
            }
            Some(LocalName::Addresses(_)) => None,
        }
    }

    /// Whether a session to the target goes straight, and by no upstream proxy: datagrams have no other way.
    pub fn is_direct(&self, target: &Target, rule: Option<&Rule>) -> bool {
        self.proxy_for(target, rule).is_none()
    }

    /// A connection by a proxy to the target.
    pub(super) async fn dial_via(
        &self,
        proxy: &UpstreamProxy,
        target: &Target,
        rule: Option<&Rule>,
    ) -> Result<Dialed, DialError> {
        if let Host::Addr(address) = target.host {
            let judged = self.rules.admit((address, target.port).into());
            judged.map_err(|why| DialError::Refused {
                target: target.clone(),
                address,
                why,
            })?;
        }
        let begun = now();
        let rules = &self.proxies.rules;
        let dialed = async {
            let reached = rules
                .reach(
                    &proxy.target,
                    rules.families(rule),
                    &self.names,
                    &Tcp(&rules.ways),
                )
                .await
                .map_err(|error| ViaError::Unreached(Box::new(error)))?;
            let mut dialed = prepared(&proxy.target, reached);
            let deadline = begun + rules.connect_timeout;
            timeout_at(deadline, ask(&mut dialed.stream, proxy, target))
                .await
                .map_err(|_| ViaError::Timeout)??;
            dialed.elapsed = now().duration_since(begun);
            Ok(dialed)
        };
        dialed.await.map_err(|why: ViaError| {
            let reason = why.reason();
            self.rules
                .metrics
                .via_failures
                .get_or_create(&ViaLabels { reason })
                .inc();
            DialError::Via {
                target: target.clone(),
                proxy: proxy.to_string(),
                why,
            }
        })
    }
}

/// Asks a proxy for a connection to the target; what the target says then is the next byte of the stream.
async fn ask(
    stream: &mut TcpStream,
    proxy: &UpstreamProxy,
    target: &Target,
) -> Result<(), ViaError> {
    let credentials = proxy.credentials.as_ref();
    match proxy.kind {
        ProxyKind::Socks5 => ask_socks5(stream, credentials, target).await,
        ProxyKind::Http => ask_http(stream, credentials, target).await,
    }
}

async fn ask_socks5(
    stream: &mut TcpStream,
    credentials: Option<&Credentials>,
    target: &Target,
) -> Result<(), ViaError> {
    use socks5::{MOST, Method};

    stream.write_all(&socks5::greeting(credentials)).await?;
    match take_beginning(stream, MOST, socks5::method).await? {
        Method::None => {}
        Method::NotAcceptable => return Err(ViaError::Credentials),
        Method::Password => {
            let credentials = credentials.ok_or(ViaError::Credentials)?;
            stream.write_all(&socks5::password(credentials)).await?;
            if !take_beginning(stream, MOST, socks5::password_taken).await? {
                return Err(ViaError::Credentials);
            }
        }
    }
    stream.write_all(&socks5::connect(target)).await?;
    match take_beginning(stream, MOST, socks5::reply).await? {
        0 => Ok(()),
        code => Err(ViaError::Reply { code }),
    }
}

async fn ask_http(
    stream: &mut TcpStream,
    credentials: Option<&Credentials>,
    target: &Target,
) -> Result<(), ViaError> {
    stream
        .write_all(&http::connect(target, credentials))
        .await?;
    match take_beginning(stream, http::MOST, http::status).await? {
        200..=299 => Ok(()),
        401 | 407 => Err(ViaError::Credentials),
        status => Err(ViaError::Status(status)),
    }
}
