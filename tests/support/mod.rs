//! What the tests of the real program share: the gate itself, a scripted upstream, origins on both families, and
//! clients that speak raw bytes. Everything listens on loopback and on ports that the system picks.

mod config;
mod daemons;
mod dns;
mod doh;
pub(crate) mod frames;
mod gate;
mod h2;
mod http;
mod liar;
mod load;
mod octets;
mod origin;
mod port;
mod program;
mod quic;
mod records;
mod signed;
mod socks;
mod tls;
mod upstream;

use std::time::Duration;

pub(crate) use config::Setup;
pub(crate) use daemons::{Daemon, installed, nsd, ports, unbound, wait_for};
pub(crate) use dns::{Ask, ede, exchange_tcp, exchange_udp, ipv4_of, soa_of, types};
pub(crate) use doh::{Body, Doh, Page};
pub(crate) use gate::{Gate, READY};
pub(crate) use h2::H2Client;
pub(crate) use http::{Response, connect, read_response, request, tunnel};
pub(crate) use liar::{Asked, Liar, Lie, Way};
pub(crate) use load::{Load, the_long_way};
pub(crate) use origin::{Origin, Service};
pub(crate) use port::{Reach, has_ipv6};
pub(crate) use program::run;
pub(crate) use quic::{QuicClient, QuicOrigin, quic_hello};
pub(crate) use records::{a, aaaa, cname, https, mx, name, rrsig, soa, txt};
pub(crate) use signed::{Signed, sign};
pub(crate) use socks::{socks_associate, socks_datagram, socks_greet, socks_request, socks_tunnel};
pub(crate) use tls::{TlsClient, certificate, client_hello, dot_client, tls_get};
pub(crate) use upstream::{Reply, Upstream};

/// How long anything that must happen may take before the test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The time that has passed since `start` was made by [`clock`].
pub(crate) fn clock() -> std::time::Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "the program under test lives by the real clock"
    )]
    std::time::Instant::now()
}
