//! How the servers are, for people: shown by the status page and the admin listener.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::rr::Name;

pub use super::health::Counts;
use crate::config::Transport;

/// How one server is, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// The domain that it is asked about; `None`: everything else.
    pub domain: Option<Name>,
    /// Where it is.
    pub address: SocketAddr,
    /// How it is asked.
    pub transport: Transport,
    /// Whether it answers.
    pub state: ServerState,
    /// How long a good answer takes, smoothed; `None` before the first.
    pub answer_time: Option<Duration>,
    /// What came of the queries to it.
    pub counts: Counts,
}

/// Whether a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It was not asked yet.
    Unknown,
    /// As far as is known, it does.
    Up,
    /// It has been silent or out of reach for so long.
    Down(Duration),
}
