//! What the parts need of a configuration, built anew at start and at each reload.

use std::sync::Arc;

use crate::config::Config;
use crate::dial::Dialer;
use crate::dns::{View, ZoneProblem, Zones};
use crate::proxy::{Live, Settings};
use crate::resolve::Resolver;
use crate::steer::Steering;
use crate::telemetry::Metrics;

/// The local zones of a configuration; a folder that nobody named may be missing.
pub(super) fn zones(config: &Config) -> Result<Zones, Vec<ZoneProblem>> {
    match &config.dns.zones {
        Some(folder) if config.dns.zones_required || folder.exists() => Zones::load(folder),
        _ => Ok(Zones::default()),
    }
}

/// The parts of a gate that a reload replaces.
#[derive(Debug)]
pub(super) struct State {
    pub(super) view: View,
    pub(super) live: Live,
    pub(super) steering: Arc<Steering>,
}

impl State {
    pub(super) fn new(
        config: &Config,
        zones: Zones,
        resolver: &Arc<Resolver>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let steering = Arc::new(Steering::new(config));
        let dialer = Dialer::new(
            &config.egress,
            &config.lan,
            Arc::clone(resolver),
            Arc::clone(metrics),
        );
        Self {
            view: View::new(config, zones, Arc::clone(&steering), Arc::clone(resolver)),
            live: Live {
                dialer: Arc::new(dialer),
                settings: Settings::new(&config.proxy, config.lan.networks.clone()),
            },
            steering,
        }
    }
}
