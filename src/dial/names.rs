//! Whose addresses a name has: this network's own names first, then the truth.
//!
//! A local name must not be asked for outside: upstreams do not know it, and it is nobody's business there.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::Name;

use super::Addresses;
use crate::net::Family;
use crate::resolve::{ResolveError, Resolver};

/// The names that this network answers itself, whatever upstreams say: local zones and special names.
pub trait LocalNames: Send + Sync + fmt::Debug {
    /// What it knows of a name; `None` where the name is not its own.
    fn look_up(&self, name: &Name, family: Family) -> Option<LocalName>;
}

/// What this network knows of a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalName {
    /// Its addresses; none where it has none, or does not exist.
    Addresses(Vec<IpAddr>),
    /// It is an alias of this name outside.
    Alias(Name),
}

/// Local names, and the truth about all others.
#[derive(Clone, Debug)]
pub struct Names {
    /// Asked first.
    pub local: Arc<dyn LocalNames>,
    /// Asked for the rest.
    pub resolver: Arc<Resolver>,
}

impl Addresses for Names {
    fn known(&self, name: &Name, family: Family) -> Option<Vec<IpAddr>> {
        match self.local.look_up(name, family) {
            Some(LocalName::Addresses(addresses)) => Some(addresses),
            Some(LocalName::Alias(outside)) => self.resolver.known_addresses(&outside, family),
            None => self.resolver.known_addresses(name, family),
        }
    }

    async fn addresses(&self, name: &Name, family: Family) -> Result<Vec<IpAddr>, ResolveError> {
        match self.local.look_up(name, family) {
            Some(LocalName::Addresses(addresses)) => Ok(addresses),
            Some(LocalName::Alias(outside)) => self.resolver.addresses(&outside, family).await,
            None => self.resolver.addresses(name, family).await,
        }
    }
}
