//! What the admin may ask of the running gate: `web` shows it, and the signals ask the same.

use std::sync::Arc;

use super::state::Kept;
use crate::resolve::Resolver;
use crate::telemetry::{Metrics, events};
use crate::web::{CacheReport, Control, Flush};

/// The parts that the admin may reach into.
#[derive(Debug)]
pub(super) struct Controls {
    resolver: Arc<Resolver>,
    metrics: Arc<Metrics>,
}

impl Controls {
    pub(super) fn new(kept: &Kept) -> Self {
        Self {
            resolver: Arc::clone(&kept.resolver),
            metrics: Arc::clone(&kept.metrics),
        }
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
}
