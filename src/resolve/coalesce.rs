//! Identical questions that are in flight share one exchange. Called by [`Resolver`](super::Resolver).
//!
//! The exchange runs in a task of its own, so that an asker who goes away takes nothing from the others. The table
//! holds one row per exchange, each of which ends with the timeouts of `upstreams`, and never more than a fixed
//! number of rows: askers are bounded by `dns.max-queries` and the sessions, but those who left early are not.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{Question, ResolveError};

/// Exchanges in flight. Well above what clients can have in flight together, well below what memory can bear.
pub(super) const MAX_FLIGHTS: usize = 16_384;

/// Why there was no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FlightError {
    /// The table is full.
    #[error("too many questions are in flight")]
    Full,
    /// The task that asked has gone without a word: the runtime stops.
    #[error("the exchange was given up")]
    Lost,
}

impl From<FlightError> for ResolveError {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Full => Self::Overload(error.to_string()),
            FlightError::Lost => Self::Unreachable(error.to_string()),
        }
    }
}

/// The questions in flight.
pub(super) struct Flights<T> {
    table: Mutex<HashMap<Question, watch::Receiver<Option<T>>>>,
    limit: usize,
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// An empty table for so many questions.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            table: Mutex::new(HashMap::new()),
            limit,
        }
    }

    /// The outcome of the exchange for this question: the one in flight, or the one that `start` begins.
    ///
    /// # Errors
    ///
    /// [`FlightError`] when the table is full, or when the exchange ended without an outcome.
    pub(super) async fn join<F>(
        self: &Arc<Self>,
        question: &Question,
        start: impl FnOnce() -> F,
    ) -> Result<T, FlightError>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut outcome = self.board(question, start)?;
        let outcome = outcome.wait_for(Option::is_some).await;
        outcome
            .ok()
            .and_then(|outcome| outcome.clone())
            .ok_or(FlightError::Lost)
    }

    /// Begins the exchange for this question, unless one is in flight, and waits for nothing.
    ///
    /// # Errors
    ///
    /// [`FlightError::Full`] when the table is.
    pub(super) fn begin<F>(
        self: &Arc<Self>,
        question: &Question,
        start: impl FnOnce() -> F,
    ) -> Result<(), FlightError>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.board(question, start).map(drop)
    }

    /// Whether an exchange for this question is in flight.
    pub(super) fn has(&self, question: &Question) -> bool {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        !table.is_empty() && table.contains_key(question)
    }

    /// Lets nobody else join the exchanges in flight; those who wait for them still get what comes.
    pub(super) fn forget(&self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.clear();
    }

    fn board<F>(
        self: &Arc<Self>,
        question: &Question,
        start: impl FnOnce() -> F,
    ) -> Result<watch::Receiver<Option<T>>, FlightError>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = table.get(question) {
            return Ok(outcome.clone());
        }
        if table.len() >= self.limit {
            return Err(FlightError::Full);
        }
        let (sender, outcome) = watch::channel(None);
        table.insert(question.clone(), outcome.clone());
        drop(table);
        let landing = Landing {
            flights: Arc::clone(self),
            question: question.clone(),
            outcome: outcome.clone(),
        };
        let flight = start();
        tokio::spawn(async move {
            let value = flight.await;
            drop(landing);
            sender.send_replace(Some(value));
        });
        Ok(outcome)
    }
}

impl<T> fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Takes the row out of the table however the task ends.
struct Landing<T> {
    flights: Arc<Flights<T>>,
    question: Question,
    outcome: watch::Receiver<Option<T>>,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        let table = &self.flights.table;
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        // After a flush, the row may be that of a younger exchange.
        let own = |row: &watch::Receiver<_>| row.same_channel(&self.outcome);
        if table.get(&self.question).is_some_and(own) {
            table.remove(&self.question);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_proto::rr::{Name, RecordType};
    use tokio::sync::Semaphore;

    use super::*;

    fn question(text: &str) -> Question {
        Question {
            name: Name::from_ascii(text).unwrap(),
            record_type: RecordType::A,
            dnssec_ok: false,
            checking_disabled: false,
        }
    }

    #[tokio::test]
    async fn one_asker_gone_leaves_the_exchange_to_the_others() {
        let flights = Arc::new(Flights::new(10));
        let (begun, gate) = (AtomicUsize::new(0), Arc::new(Semaphore::new(0)));
        let question = question("a.example.");
        let start = || {
            begun.fetch_add(1, Ordering::Relaxed);
            let gate = Arc::clone(&gate);
            async move { gate.acquire().await.map(|permit| permit.forget()).is_ok() }
        };
        let mut first = Box::pin(flights.join(&question, start));
        let mut second = Box::pin(flights.join(&question, start));
        tokio::select! {
            biased;
            _ = &mut first => panic!("the gate is closed"),
            _ = &mut second => panic!("the gate is closed"),
            () = ready(()) => {}
        }
        drop(first);
        gate.add_permits(1);
        assert_eq!(second.await, Ok(true));
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        assert!(flights.table.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_full_table_refuses_and_has_room_again_afterwards() {
        let flights = Arc::new(Flights::new(1));
        let gate = Arc::new(Semaphore::new(0));
        let waiting = {
            let (flights, gate) = (flights.clone(), gate.clone());
            tokio::spawn(async move {
                let start =
                    || async move { gate.acquire().await.map(|permit| permit.forget()).is_ok() };
                flights.join(&question("a.example."), start).await
            })
        };
        while flights.table.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let other = question("b.example.");
        let refused = flights.join(&other, || async { true }).await;
        assert_eq!(refused, Err(FlightError::Full));
        gate.add_permits(1);
        assert_eq!(waiting.await.unwrap(), Ok(true));
        assert_eq!(flights.join(&other, || async { true }).await, Ok(true));
    }

    #[tokio::test]
    async fn after_a_flush_who_asks_begins_anew_and_who_waited_is_not_lost() {
        let flights = Arc::new(Flights::new(10));
        let gate = Arc::new(Semaphore::new(0));
        let question = question("a.example.");
        let exchange = |value: u8| {
            let gate = Arc::clone(&gate);
            move || async move {
                gate.acquire()
                    .await
                    .map(|permit| permit.forget())
                    .map(|()| value)
                    .ok()
            }
        };
        let mut old = Box::pin(flights.join(&question, exchange(1)));
        tokio::select! {
            biased;
            _ = &mut old => panic!("the gate is closed"),
            () = ready(()) => {}
        }
        flights.forget();
        let mut new = Box::pin(flights.join(&question, exchange(2)));
        tokio::select! {
            biased;
            _ = &mut new => panic!("the gate is closed"),
            () = ready(()) => {}
        }
        gate.add_permits(1);
        assert_eq!(old.await, Ok(Some(1)));
        assert!(
            !flights.table.lock().unwrap().is_empty(),
            "the younger one stays"
        );
        gate.add_permits(1);
        assert_eq!(new.await, Ok(Some(2)));
        assert!(flights.table.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_exchange_that_panics_is_lost_and_leaves_no_row() {
        let flights: Arc<Flights<u8>> = Arc::new(Flights::new(1));
        let lost = flights
            .join(&question("a.example."), || async { panic!("on purpose") })
            .await;
        assert_eq!(lost, Err(FlightError::Lost));
        assert!(flights.table.lock().unwrap().is_empty());
    }
}
