//! What the admin may ask of the running gate: `web` shows it, and the signals ask the same.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::explain::explain;
use super::state::Kept;
use crate::dial::{Dialer, Memory};
use crate::dns;
use crate::net::Family;
use crate::resolve::Resolver;
use crate::steer::Steering;
use crate::telemetry::{Metrics, events};
use crate::web::{CacheReport, Control, Explain, Explaining, Flush};

/// The parts that the admin may reach into.
#[derive(Debug)]
pub(super) struct Controls {
    resolver: Arc<Resolver>,
    metrics: Arc<Metrics>,
    memory: Arc<Memory>,
    dns: Arc<dns::Handler>,
    dialer: ArcSwap<Dialer>,
    steering: ArcSwap<Steering>,
    /// Where lookups run; the admin thread has a runtime of its own.
    runtime: Handle,
}

impl Controls {
    /// Those of a gate that runs on the runtime of the caller.
    pub(super) fn new(
        kept: &Kept,
        dns: Arc<dns::Handler>,
        dialer: Arc<Dialer>,
        steering: Arc<Steering>,
    ) -> Self {
        Self {
            resolver: Arc::clone(&kept.resolver),
            metrics: Arc::clone(&kept.metrics),
            memory: Arc::clone(&kept.memory),
            dns,
            dialer: ArcSwap::new(dialer),
            steering: ArcSwap::new(steering),
            runtime: Handle::current(),
        }
    }

    /// Explains by another dialer and other rules from now on.
    pub(super) fn replace(&self, dialer: Arc<Dialer>, steering: Arc<Steering>) {
        self.dialer.store(dialer);
        self.steering.store(steering);
    }
}

impl Control for Controls {
    fn flush(&self, what: &Flush) -> usize {
        let forgotten = self.resolver.forget(|name| what.covers(name));
        tracing::info!(names = %what, forgotten, "{}", events::FLUSHED);
        forgotten
    }

    fn cache(&self) -> CacheReport {
        let metrics = &self.metrics;
        let held = |gauge: i64| u64::try_from(gauge).unwrap_or(0);
        CacheReport {
            entries: held(metrics.cache_entries.get()),
            bytes: held(metrics.cache_bytes.get()),
            hits: metrics.cache_hits.get(),
            misses: metrics.cache_misses.get(),
            stale: metrics.cache_stale.get(),
            prefetches: metrics.cache_prefetches.get(),
            failures: metrics.cache_failures.get(),
            cut: metrics.cache_cut.get(),
            evictions: metrics.cache_evictions.get(),
            flushes: metrics.cache_flushes.get(),
        }
    }

    fn ill(&self) -> Vec<(Family, &'static str)> {
        self.memory.ill()
    }

    fn explain(&self, what: Explain) -> Explaining {
        let dns = Arc::clone(&self.dns);
        let dialer = self.dialer.load_full();
        let steering = self.steering.load_full();
        let explained = self
            .runtime
            .spawn(async move { explain(&dns, &dialer, &steering, &what).await });
        Box::pin(async move {
            let explanation = explained
                .await
                .map_err(|_| "the gate is stopping".to_owned())??;
            serde_json::to_value(explanation).map_err(|error| error.to_string())
        })
    }
}
