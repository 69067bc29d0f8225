//! Who gets in: how many connections at once in total, and of one client. Used by the forward and transparent proxy
//! together, and by DNS over TCP.
//!
//! In total: a listener waits for room before it accepts, so that more connections wait in the kernel. A listener that
//! waits for its next connection holds no room, because an idle one would keep the others from it; so there may be one
//! connection more for each listener besides the first.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::rate::device;

/// The seats, and the limits on them.
#[derive(Debug)]
pub struct Admission {
    seats: Mutex<Seats>,
    /// Told whenever there may be room.
    room: Notify,
}

#[derive(Debug)]
struct Seats {
    most: usize,
    most_per_client: usize,
    taken: usize,
    /// Clients without a seat are not in it, so that it is no longer than `taken`.
    clients: HashMap<IpAddr, usize>,
}

/// One connection's seat, given back when dropped.
#[derive(Debug)]
pub struct Seat {
    admission: Arc<Admission>,
    client: IpAddr,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All together have taken it.
    Total,
    /// The client has its share.
    Client,
}

impl Admission {
    /// Room for `most` connections, `most_per_client` of them for one client.
    pub fn new(most: usize, most_per_client: usize) -> Arc<Self> {
        Arc::new(Self {
            seats: Mutex::new(Seats {
                most,
                most_per_client,
                taken: 0,
                clients: HashMap::new(),
            }),
            room: Notify::new(),
        })
    }

    /// Takes other limits; those who are in stay.
    pub fn limit(&self, most: usize, most_per_client: usize) {
        let mut seats = self.seats();
        seats.most = most;
        seats.most_per_client = most_per_client;
        drop(seats);
        self.room.notify_waiters();
    }

    /// Waits until there is room.
    pub async fn room(&self) {
        loop {
            let mut told = pin!(self.room.notified());
            told.as_mut().enable();
            if self.has_room() {
                return;
            }
            told.await;
        }
    }

    /// A seat, or `None` where the client has all that it may have.
    pub fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Seat> {
        let client = device(client);
        let seats = self.seats();
        let most_per_client = seats.most_per_client;
        let own = seats.clients.get(&client).copied().unwrap_or(0);
        if own >= most_per_client {
            return None;
        }
        Some(self.seat(seats, client))
    }

    /// A seat, whatever the client has already: for one that speaks for many.
    pub fn enter_for_others(self: &Arc<Self>, client: IpAddr) -> Seat {
        self.seat(self.seats(), device(client))
    }

    fn seat(self: &Arc<Self>, mut seats: MutexGuard<'_, Seats>, client: IpAddr) -> Seat {
        *seats.clients.entry(client).or_default() += 1;
        seats.taken += 1;
        Seat {
            admission: Arc::clone(self),
            client,
        }
    }

    /// As [`Self::enter`], and only where there is room in total: for what cannot be made to wait.
    pub fn enter_if_room(self: &Arc<Self>, client: IpAddr) -> Result<Seat, Full> {
        if !self.has_room() {
            return Err(Full::Total);
        }
        self.enter(client).ok_or(Full::Client)
    }

    /// Whether there is room now.
    pub fn has_room(&self) -> bool {
        let seats = self.seats();
        seats.taken < seats.most
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        // Every change is complete before anything can panic.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.admission.seats();
        seats.taken -= 1;
        if let Some(own) = seats.clients.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                seats.clients.remove(&self.client);
            }
        }
        drop(seats);
        // Every listener has to look again: the one told might not get a connection for long.
        self.admission.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_poll::ready;

    use super::*;

    mod futures_poll {
        use std::task::{Context, Waker};

        /// Whether a future is done at its first poll.
        pub(super) fn ready(future: impl Future<Output = ()>) -> bool {
            let mut context = Context::from_waker(Waker::noop());
            std::pin::pin!(future).poll(&mut context).is_ready()
        }
    }

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1));
    const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 2));

    #[test]
    fn what_cannot_wait_is_told_which_limit_it_met() {
        let admission = Admission::new(2, 1);
        let _first = admission.enter_if_room(ONE).unwrap();
        assert_eq!(admission.enter_if_room(ONE).unwrap_err(), Full::Client);
        let second = admission.enter_if_room(TWO).unwrap();
        assert_eq!(admission.enter_if_room(TWO).unwrap_err(), Full::Total);
        drop(second);
        assert!(admission.enter_if_room(TWO).is_ok());
    }

    #[test]
    fn one_client_gets_its_limit_and_leaves_the_rest_to_others() {
        let admission = Admission::new(10, 2);
        let first = admission.enter(ONE).unwrap();
        let _second = admission.enter(ONE).unwrap();
        assert!(admission.enter(ONE).is_none());
        assert!(admission.enter(TWO).is_some());
        drop(first);
        assert!(admission.enter(ONE).is_some());
    }

    #[test]
    fn a_device_with_many_addresses_is_one_client() {
        let admission = Admission::new(10, 2);
        let enter = |client: &str| admission.enter(client.parse().unwrap());
        let first = (enter("2001:db8::1"), enter("2001:db8::2:1"));
        assert!(first.0.is_some() && first.1.is_some());
        assert!(enter("2001:db8::3").is_none());
        assert!(enter("2001:db8:0:1::3").is_some());
        drop(first);
        assert!(admission.seats().clients.is_empty());
    }

    #[test]
    fn one_that_speaks_for_many_is_bound_only_by_the_total() {
        let admission = Admission::new(3, 1);
        let seats = [ONE; 3].map(|client| admission.enter_for_others(client));
        assert!(!admission.has_room());
        drop(seats);
        assert!(admission.seats().clients.is_empty() && admission.has_room());
    }

    #[test]
    fn a_client_without_seats_is_forgotten() {
        let admission = Admission::new(10, 2);
        drop(admission.enter(ONE));
        assert!(admission.seats().clients.is_empty());
        assert_eq!(admission.seats().taken, 0);
    }

    #[tokio::test]
    async fn at_the_limit_there_is_room_only_after_someone_left() {
        let admission = Admission::new(1, 5);
        assert!(ready(admission.room()));
        let seat = admission.enter(ONE).unwrap();
        assert!(!ready(admission.room()));
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.room().await }
        });
        tokio::task::yield_now().await;
        drop(seat);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn limits_change_while_someone_waits() {
        let admission = Admission::new(1, 1);
        let _seat = admission.enter(ONE).unwrap();
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.room().await }
        });
        tokio::task::yield_now().await;
        admission.limit(2, 2);
        waiting.await.unwrap();
        let _other = admission.enter(ONE).unwrap();
        admission.limit(1, 1);
        assert!(!ready(admission.room()));
        assert!(admission.enter(TWO).is_some());
    }
}
