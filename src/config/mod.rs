//! Level 1: the configuration, typed and valid, and immutable once made.
//!
//! Two steps: [`file`](self) reads what the TOML says; each section turns its part into the types here and reports
//! every [`Problem`] it finds, all at once. Only `app` and `cli` load it; everyone else takes the section it needs.

mod cache;
mod contents;
mod dns;
mod egress;
mod families;
mod file;
mod forwarded;
mod lan;
mod load;
mod log;
mod outlet;
mod problem;
mod proxy;
mod show;
mod steer;
mod upstream;
mod value;
mod via;
mod web;

use std::path::PathBuf;

pub use cache::Cache;
pub use contents::{open_file, read_file};
pub use dns::{Certificate, Dns};
pub use egress::Egress;
pub use families::Families;
pub use forwarded::Forwarded;
pub use lan::Lan;
pub use load::{ConfigError, TEMPLATE, locate};
pub use log::{Format, Log};
pub use outlet::Outlet;
pub use problem::{Problem, Problems};
pub use proxy::Proxy;
pub use show::Shown;
pub use steer::{Aaaa, Mode, Names, Rule, RuleSteer, Steer};
pub use upstream::{Server, Strategy, Transport, Upstream, UpstreamZone};
pub use via::{Credentials, ProxyKind, UpstreamProxy, Via};
pub use web::Web;

/// Everything that the gate was told, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from; `None` for the built-in defaults.
    pub path: Option<PathBuf>,
    /// The user to become once every socket is bound, where started as root; `None` stays root.
    pub user: Option<String>,
    /// The folder of what must outlast a restart; `None` is what the service manager offers, else `state` beside the file.
    pub state: Option<PathBuf>,
    /// The LAN and the gate's place in it.
    pub lan: Lan,
    /// The DNS side.
    pub dns: Dns,
    /// Which names go through the gate.
    pub steer: Steer,
    /// Exceptions by name and client, the first match wins.
    pub rules: Vec<Rule>,
    /// The proxy side.
    pub proxy: Proxy,
    /// How sessions leave.
    pub egress: Egress,
    /// PAC and the admin listener.
    pub web: Web,
    /// Log lines.
    pub log: Log,
}

#[cfg(test)]
mod tests;
