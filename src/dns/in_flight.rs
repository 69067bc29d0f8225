//! The queries in flight, in total and of each client. Used by `handler`; a place is held until the answer is sent, so
//! that a client that does not read its answers holds no more of them than it may have queries.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::net::device;
use crate::telemetry::Metrics;

/// The counts.
#[derive(Debug)]
pub(super) struct InFlight {
    counts: Mutex<Counts>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    /// Clients without a query in flight are not in it, so that it is no longer than `total`.
    clients: HashMap<IpAddr, usize>,
}

/// One of the queries in flight; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    in_flight: Arc<InFlight>,
    client: IpAddr,
}

impl InFlight {
    pub(super) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            counts: Mutex::default(),
            metrics,
        })
    }

    /// A place for one more query of a client, or the count of one more that had none.
    pub(super) fn enter(
        self: &Arc<Self>,
        client: IpAddr,
        most: usize,
        most_per_client: usize,
    ) -> Option<Place> {
        let client = device(client);
        let mut counts = self.counts();
        if counts.total >= most {
            self.metrics.dns_overload.inc();
            return None;
        }
        let own = counts.clients.entry(client).or_default();
        if *own >= most_per_client {
            self.metrics.dns_client_overload.inc();
            return None;
        }
        *own += 1;
        counts.total += 1;
        drop(counts);
        self.metrics.dns_in_flight.inc();
        Some(Place {
            in_flight: Arc::clone(self),
            client,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Every change is complete before anything can panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.in_flight.counts();
        counts.total -= 1;
        if let Some(own) = counts.clients.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                counts.clients.remove(&self.client);
            }
        }
        drop(counts);
        self.in_flight.metrics.dns_in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_bound_and_all_have_theirs_and_nobody_is_remembered() {
        let metrics = Arc::new(Metrics::new());
        let in_flight = InFlight::new(Arc::clone(&metrics));
        let [one, two, three] = [1, 2, 3].map(|n| IpAddr::from([192, 168, 1, n]));
        let enter = |client| in_flight.enter(client, 4, 2);
        let first = enter(one);
        let _rest = (enter(one), enter(two));
        assert!(first.is_some() && enter(one).is_none());
        assert_eq!(metrics.dns_client_overload.get(), 1);
        let last = enter(three);
        assert!(last.is_some() && enter(two).is_none());
        assert_eq!(metrics.dns_overload.get(), 1);
        assert_eq!(metrics.dns_in_flight.get(), 4);
        drop((first, last));
        assert!(enter(one).is_some());
        assert_eq!(in_flight.counts().clients.len(), 2);
        assert_eq!(metrics.dns_in_flight.get(), 2);
    }
}
