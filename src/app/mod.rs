//! Level 4: puts the rooms together: builds, runs, reloads and stops one gate.
//!
//! Start: everything is read, then every socket is bound, then privileges are dropped, then the parts are built, then
//! they serve. Nothing listens before everything is valid, and nothing runs as root that need not.
//! Called by `cli`, which runs it, and by its demonstration, which runs one inside its own process.

mod certificate;
mod control;
mod explain;
mod follow;
mod limits;
mod loaded;
mod privileges;
mod reload;
mod running;
mod self_signed;
mod sockets;
mod state;

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use certificate::CertificateError;
pub use explain::{Attempt, Explanation, Refused, Session};
pub use privileges::PrivilegesError;
pub use running::{Running, StopReport};
pub use sockets::{BindError, Kind};

pub use crate::dns::{Decision, ShownError, ShownRecord, Told};
pub use crate::proxy::{HashError, Users};

use crate::config::Config;
use crate::dial::unusable;
use crate::telemetry::{Metrics, events};
use follow::Follower;
use loaded::Loaded;
use running::Signals;
use sockets::Sockets;

/// How long the process waits, after everything has stopped, for threads that are busy in a system call.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// A gate that is bound, and does not serve yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    loaded: Loaded,
    certificate: Option<certificate::Held>,
    sockets: Sockets,
    /// How many the kernel lets us have.
    open_files: u64,
}

/// Why a gate did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// What is wrong with the files that the configuration names.
    #[error("{}", .0.join("\n"))]
    Files(Vec<String>),
    /// A certificate that cannot be had.
    #[error("dns.tls: {0}")]
    Certificate(#[from] CertificateError),
    /// A socket that cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Root that cannot be given up.
    #[error(transparent)]
    Privileges(#[from] PrivilegesError),
    /// The runtime or a thread of ours.
    #[error("could not start {0}")]
    Start(&'static str, #[source] io::Error),
    /// A part that should have served on.
    #[error("{0} ended by itself")]
    Ended(&'static str),
}

/// Says at the start, and not at the first reload, that root could read the configuration and the user cannot.
fn warn_of_unreadable(config: &Config) {
    if let Some(path) = &config.path
        && let Err(error) = File::open(path)
    {
        tracing::warn!(path = %path.display(), %error, "a reload will fail, because `user` cannot read this");
    }
    let rules = config.rules.iter().flat_map(|rule| &rule.domain_files);
    let files = config.steer.never_files.iter();
    let files = files.chain(&config.steer.always_files).chain(rules);
    let anchor = config
        .dns
        .trust_anchor
        .as_ref()
        .filter(|_| config.dns.dnssec);
    let users = &config.proxy.users;
    for path in files
        .chain(&config.dns.upstream.ca)
        .chain(anchor)
        .chain(users)
    {
        if let Err(error) = File::open(path) {
            tracing::warn!(path = %path.display(), %error, "a reload will fail, because `user` cannot read this");
        }
    }
    if let Some(folder) = &config.dns.zones
        && folder.exists()
        && let Err(error) = fs::read_dir(folder)
    {
        tracing::warn!(path = %folder.display(), %error, "a reload will fail, because `user` cannot read this");
    }
    if let Some(files) = &config.dns.certificate
        && let Err(error) = File::open(&files.key)
    {
        tracing::warn!(path = %files.key.display(), %error, "a new certificate needs a restart, because `user` cannot read this");
    }
}

/// What `check` found.
#[derive(Debug, Default)]
pub struct Checked {
    /// What keeps the gate from starting.
    pub problems: Vec<String>,
    /// What it starts with, and warns of.
    pub warnings: Vec<String>,
}

/// Reads what `run` would read besides the configuration itself, and binds nothing.
pub fn check(config: &Config) -> Checked {
    let mut checked = Checked::default();
    match Loaded::read(config) {
        Ok(loaded) => {
            let mut found = loaded.zones.notices().to_vec();
            let local = state::local(config, loaded.zones);
            let mut follower = Follower::new(config, local, Arc::new(Metrics::new()));
            found.extend(follower.look(follow::system_time()));
            checked.warnings = found.iter().map(ToString::to_string).collect();
        }
        Err(problems) => checked.problems = problems,
    }
    if let Some(user) = &config.user
        && let Err(error) = privileges::find(user)
    {
        checked.problems.push(error.to_string());
    }
    let (error, warning) = certificate::check(config);
    checked.problems.extend(error);
    checked.warnings.extend(warning);
    checked.warnings.extend(unusable(&config.egress));
    if config.dns.trust_anchor.is_some() && !config.dns.dnssec {
        let unused = "dns.trust-anchor: nothing is validated by it while `dns.dnssec` is false; write `dnssec = true`, or \
                      leave it out";
        checked.warnings.push(unused.to_owned());
    }
    checked
}

impl App {
    /// Reads every file, the certificate too, binds every socket, and becomes `config.user` where started as root.
    ///
    /// # Errors
    ///
    /// [`AppError`] when something does not load, cannot be bound, or root cannot be given up.
    pub fn build(config: Config) -> Result<Self, AppError> {
        let loaded = Loaded::read(&config).map_err(AppError::Files)?;
        let certificate = certificate::load(&config)?;
        let user = match (&config.user, privileges::is_root()) {
            (Some(user), true) => Some(privileges::find(user)?),
            _ => None,
        };
        let open_files = limits::raise_open_files();
        let sockets = Sockets::bind(&config)?;
        match user {
            Some(user) => {
                let egress = &config.egress;
                let marked = egress.ipv4.mark != 0 || egress.ipv6.mark != 0;
                privileges::drop_to(&user, marked)?;
                warn_of_unreadable(&config);
            }
            None if privileges::is_root() => {
                tracing::warn!("running as root, because `user` is \"\"");
            }
            None => {}
        }
        Ok(Self {
            config,
            loaded,
            certificate,
            sockets,
            open_files,
        })
    }

    /// What is bound, and where.
    pub fn bound(&self) -> Vec<(Kind, SocketAddr)> {
        self.sockets.bound()
    }

    /// Serves until SIGTERM or SIGINT, reloads on SIGHUP, and flushes the cache on SIGUSR1.
    ///
    /// # Errors
    ///
    /// [`AppError`] when a part cannot start, or ends by itself.
    pub fn run(self) -> Result<(), AppError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("sekisho")
            .build()
            .map_err(|error| AppError::Start("the runtime", error))?;
        let result = runtime.block_on(self.serve());
        runtime.shutdown_timeout(RUNTIME_END);
        result
    }

    async fn serve(self) -> Result<(), AppError> {
        let mut signals =
            Signals::new().map_err(|error| AppError::Start("signal handling", error))?;
        for (kind, addr) in self.bound() {
            tracing::info!(%kind, %addr, "{}", events::LISTENING);
        }
        let running = self.start()?;
        tracing::info!("{}", events::READY);
        running.until_stopped(&mut signals).await
    }
}
