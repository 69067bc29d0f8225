//! What the parts need of a configuration, built anew at start and at each reload.

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::rr::Name;

use super::certificate::{self, Held};
use super::follow::{self, Follower};
use super::limits;
use crate::config::Config;
use crate::dial::{Dialer, LocalName, LocalNames, Memory, Names, unusable};
use crate::dns::{Forwarded, Local, OwnName, OwnNames, Tls, View, Zones};
use crate::net::Family;
use crate::proxy::{Live, Settings, Users};
use crate::resolve::Resolver;
use crate::steer::{Lists, Steering};
use crate::telemetry::Metrics;

/// The local data of a configuration, before hosts files and leases are read.
pub(super) fn local(config: &Config, zones: Zones) -> Local {
    let follows = !(config.dns.hosts.is_empty() && config.dns.leases.is_empty());
    Local::new(zones, config.lan.domain.clone(), follows)
}

/// What a reload keeps, and every state is built on.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) resolver: Arc<Resolver>,
    pub(super) metrics: Arc<Metrics>,
    /// What dialers have learnt.
    pub(super) memory: Arc<Memory>,
    /// Where this process listens over TCP.
    pub(super) listeners: Vec<SocketAddr>,
    /// Where it answers DNS over TLS.
    pub(super) dns_tls: Vec<SocketAddr>,
    /// Descriptors that this process may have.
    pub(super) open_files: u64,
}

/// The parts of a gate that a reload replaces.
#[derive(Debug)]
pub(super) struct State {
    pub(super) view: View,
    pub(super) live: Live,
    pub(super) steering: Arc<Steering>,
    pub(super) own_names: Arc<OwnNames>,
    pub(super) follower: Follower,
}

impl State {
    /// Everything but the configuration, the zones, the lists and the users is read here: hosts files and leases.
    pub(super) fn new(
        config: &Config,
        zones: Zones,
        lists: Lists,
        users: Option<Users>,
        certificate: Option<&Held>,
        kept: &Kept,
    ) -> Self {
        let config = &limits::within(config, kept.open_files);
        let steering = Arc::new(Steering::new(config, lists));
        follow::warn_of(zones.notices());
        let local = local(config, zones);
        let mut follower = Follower::new(config, local.clone(), Arc::clone(&kept.metrics));
        follow::warn_of(&follower.look(follow::system_time()));
        let own_names = Arc::new(OwnNames::new(
            &config.lan,
            local.clone(),
            Forwarded::new(&config.dns),
        ));
        let names = Names {
            local: Arc::new(NamesOfDns(Arc::clone(&own_names))),
            resolver: Arc::clone(&kept.resolver),
        };
        let dialer = Dialer::new(
            &config.egress,
            &config.lan,
            kept.listeners.clone(),
            names,
            Arc::clone(&kept.memory),
            Arc::clone(&kept.metrics),
        );
        for problem in unusable(&config.egress) {
            tracing::warn!(problem, "sessions cannot leave as configured");
        }
        let resolver = Arc::clone(&kept.resolver);
        let mut view = View::new(config, local, Arc::clone(&steering), resolver);
        view.tls = certificate.map(|held| Tls {
            config: Arc::clone(&held.server),
            announced: certificate::announced(&config.lan, &kept.dns_tls),
        });
        Self {
            view,
            live: Live {
                dialer: Arc::new(dialer),
                settings: Settings {
                    networks: config.lan.networks.clone(),
                    rules: Arc::clone(&steering),
                    proxy: config.proxy.clone(),
                    users: users.map(Arc::new),
                },
            },
            steering,
            own_names,
            follower,
        }
    }
}

/// The names of the DNS side as the dialer sees them: the two rooms do not know each other.
#[derive(Debug)]
struct NamesOfDns(Arc<OwnNames>);

impl LocalNames for NamesOfDns {
    fn look_up(&self, name: &Name, family: Family) -> Option<LocalName> {
        Some(match self.0.look_up(name, family)? {
            OwnName::Addresses(addresses) => LocalName::Addresses(addresses),
            OwnName::Alias(outside) => LocalName::Alias(outside),
        })
    }
}
