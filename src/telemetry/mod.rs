//! Level 1: what the gate tells about itself: log lines and metrics.
//!
//! Every metric stands in one table ([`Metrics`]); the words of log lines stand in [`events`].

mod accepting;
mod errors;
pub mod events;
mod log;
mod metrics;
mod queries;
mod sparing;
mod writer;

pub use errors::chain;
pub use log::{LogError, colour, init, set_level};
pub use metrics::{
    AnswerLabels, DnssecLabels, DropLabels, FailureLabels, FamilyLabels, FaultLabels, FloodLabels,
    Inbound, InboundLabels, LimitLabels, LocalLabels, LoginLabels, Metrics, QueryLabels,
    RefusalLabels, ReloadLabels, Side, TrafficLabels, UpstreamLabels, ViaLabels,
};
pub use queries::{QueryLine, queries_wanted, set_queries, tell_query};
pub use sparing::Sparing;
pub use writer::flush as flush_log;
