//! Level 3: what clients are told.
//!
//! A query comes in over UDP, TCP or TLS, is screened, and walks the one list of the pipeline: special
//! names, local data, policy, steering, the truth from `resolve`; then it is shaped into a packet. Only here is
//! anything withheld or steered: below, in `resolve`, everything is true, because the dialer needs it so.
//!
//! `app` calls [`serve`] with sockets that are already bound, and [`Handler::replace`] on a reload.

mod apexes;
mod audience;
mod chaos;
mod cookie;
mod cookies;
mod designated;
mod explain;
mod fast;
mod forwarded;
mod handler;
mod in_flight;
mod line;
mod local;
mod message;
mod names;
mod options;
mod pipeline;
mod policy;
mod rebind;
mod screen;
mod server;
mod shape;
mod special;
mod svcb;
mod tcp;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod truth;
mod udp;
mod unattended;
mod wire;
mod withhold;

pub use explain::{Decision, Explanation, ShownError, ShownRecord, Told};
pub use forwarded::Forwarded;
pub use handler::{Handler, Limits, Own, Tls, Transport, View};
pub use local::{HostNames, LeaseNames, Leases, Local, ZoneProblem, Zones};
pub use names::{OwnName, OwnNames};
pub use server::{DnsError, Listeners, serve};
pub use truth::Truth;
