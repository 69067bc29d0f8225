//! Answers at their end: asked for again shortly before it while they are in use, and told for a while after it when the
//! servers give no newer one (RFC 8767). Part of [`Resolver::lookup`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::debug;

use super::cache::Remembered;
use super::{Answer, Known, Question, Resolver, now as clock};

/// How long who can be told a stale answer waits for a newer one (RFC 8767 section 5, "client response timer").
const PATIENCE: Duration = Duration::from_millis(1800);

/// Answers that are asked for before their end at once. More are not: they will be asked for at their end.
pub(super) const MAX_PREFETCHES: usize = 256;

impl Resolver {
    /// Asks for an answer in the background while the one that the cache holds is told.
    pub(super) fn prefetch(&self, question: &Question) {
        let Ok(permit) = Arc::clone(&self.prefetches).try_acquire_owned() else {
            return;
        };
        let start = || {
            let exchange = self.exchange(question.clone(), Known::Answer);
            async move {
                let outcome = exchange.await;
                drop(permit);
                outcome
            }
        };
        match self.flights.begin(question, start) {
            Ok(()) => {
                self.metrics.cache_prefetches.inc();
            }
            Err(error) => debug!(name = %question.name, %error, "not asked for before its end"),
        }
    }

    /// A newer answer if it comes in time, else the stale one. Nobody waits for servers that are known not to answer.
    /// Whoever waits, the newer answer is kept when it comes.
    ///
    /// An answer that does not hold ([`ResolveError::Bogus`](super::ResolveError::Bogus)) is a failure like any other: the
    /// stale one held when it came, and who can forge answers can hold them back as well, to the same end.
    pub(super) async fn newer_or(
        &self,
        question: &Question,
        stale: Answer,
        now: Instant,
    ) -> Answer {
        let remembered = self.failures.of(question, now);
        let hopeless = || {
            self.upstreams.load().known_dead(question)
                || self.failures.was_in_vain(&question.name, now)
        };
        let asked = self.upstreams.load().asked_since(question);
        let waited = asked.map_or(Duration::ZERO, |asked| now.saturating_duration_since(asked));
        let patience = match remembered {
            Remembered::Nothing if !hopeless() => PATIENCE.saturating_sub(waited),
            _ => Duration::ZERO,
        };
        if !matches!(remembered, Remembered::Failed(_)) {
            self.metrics.cache_misses.inc();
            if patience.is_zero() {
                // As where nothing came while it was waited for here.
                if waited >= PATIENCE {
                    self.failures.in_vain(&question.name, now);
                }
                let start = || self.exchange(question.clone(), Known::Nothing);
                if let Err(error) = self.flights.begin(question, start) {
                    self.refused(question, error);
                }
            } else {
                match timeout(patience, self.ask(question)).await {
                    Ok(Ok(newer)) => return newer,
                    Ok(Err(_)) => {}
                    Err(_) => self.failures.in_vain(&question.name, clock()),
                }
            }
        }
        self.metrics.cache_stale.inc();
        stale
    }
}
