//! Where we stand in for origins: the addresses of the transparent listeners, for clients that come to them by another
//! inbound. One that resolves names by itself and then asks SOCKS for the address asks for ours.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;

use super::Site;

/// What takes a client that was pointed to us by the address of an origin.
#[derive(Clone)]
pub(super) enum StandIn {
    /// `transparent/tls`.
    Tls,
    /// `transparent/http`, and the site that shares the listener.
    Plain(Option<Arc<dyn Site>>),
}

/// All of them.
#[derive(Clone, Default)]
pub(super) struct StandIns(Arc<Mutex<Vec<(SocketAddr, StandIn)>>>);

/// The entry of a listener, until it is dropped.
pub(super) struct Entered {
    all: StandIns,
    address: Option<SocketAddr>,
}

impl fmt::Debug for StandIns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.lock().iter().map(|(address, _)| *address).collect();
        f.debug_tuple("StandIns").field(&addresses).finish()
    }
}

impl StandIns {
    /// A listener that serves from now on.
    pub(super) fn enter(&self, listener: &TcpListener, stand_in: StandIn) -> Entered {
        let address = listener.local_addr().ok();
        if let Some(address) = address {
            self.lock().push((address, stand_in));
        }
        Entered {
            all: self.clone(),
            address,
        }
    }

    /// What stands in at an address; `here` is our own address as the client knows it.
    pub(super) fn find(&self, address: SocketAddr, here: Option<IpAddr>) -> Option<StandIn> {
        let all = self.lock();
        let found = all.iter().find(|(listener, _)| {
            let ip = listener.ip();
            let is_any = ip.is_unspecified() && here == Some(address.ip());
            listener.port() == address.port() && (ip == address.ip() || is_any)
        });
        found.map(|(_, stand_in)| stand_in.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(SocketAddr, StandIn)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        let place = all
            .iter()
            .position(|(address, _)| Some(*address) == self.address);
        if let Some(place) = place {
            all.swap_remove(place);
        }
    }
}
