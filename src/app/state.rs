//! What the parts need of a configuration, built anew at start and at each reload.

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::rr::Name;

use crate::config::Config;
use crate::dial::{Dialer, LocalName, LocalNames, Names};
use crate::dns::{Forwarded, OwnName, OwnNames, View, ZoneProblem, Zones};
use crate::net::Family;
use crate::proxy::{Live, Settings};
use crate::resolve::Resolver;
use crate::steer::{Lists, Steering};
use crate::telemetry::Metrics;

/// The local zones of a configuration; a folder that nobody named may be missing.
pub(super) fn zones(config: &Config) -> Result<Zones, Vec<ZoneProblem>> {
    match &config.dns.zones {
        Some(folder) if config.dns.zones_required || folder.exists() => Zones::load(folder),
        _ => Ok(Zones::default()),
    }
}

/// What a reload keeps, and every state is built on.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) resolver: Arc<Resolver>,
    pub(super) metrics: Arc<Metrics>,
    /// Where this process listens over TCP.
    pub(super) listeners: Vec<SocketAddr>,
}

/// The parts of a gate that a reload replaces.
#[derive(Debug)]
pub(super) struct State {
    pub(super) view: View,
    pub(super) live: Live,
    pub(super) steering: Arc<Steering>,
    pub(super) own_names: Arc<OwnNames>,
}

impl State {
    pub(super) fn new(config: &Config, zones: Zones, lists: Lists, kept: &Kept) -> Self {
        let steering = Arc::new(Steering::new(config, lists));
        let own_names = Arc::new(OwnNames::new(
            &config.lan,
            zones.clone(),
            Forwarded::new(&config.dns),
        ));
        let names = Names {
            local: Arc::new(Local(Arc::clone(&own_names))),
            resolver: Arc::clone(&kept.resolver),
        };
        let dialer = Dialer::new(
            &config.egress,
            &config.lan,
            kept.listeners.clone(),
            names,
            Arc::clone(&kept.metrics),
        );
        let resolver = Arc::clone(&kept.resolver);
        Self {
            view: View::new(config, zones, Arc::clone(&steering), resolver),
            live: Live {
                dialer: Arc::new(dialer),
                settings: Settings {
                    networks: config.lan.networks.clone(),
                    proxy: config.proxy.clone(),
                },
            },
            steering,
            own_names,
        }
    }
}

/// The names of the DNS side as the dialer sees them: the two rooms do not know each other.
#[derive(Debug)]
struct Local(Arc<OwnNames>);

impl LocalNames for Local {
    fn look_up(&self, name: &Name, family: Family) -> Option<LocalName> {
        Some(match self.0.look_up(name, family)? {
            OwnName::Addresses(addresses) => LocalName::Addresses(addresses),
            OwnName::Alias(outside) => LocalName::Alias(outside),
        })
    }
}
