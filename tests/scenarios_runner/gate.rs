//! One gate in this process, its files, and its clock.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sekisho::app::{App, Running};
use sekisho::config::Config;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::advance;
use toml::{Table, Value};

use super::format::Scenario;
use super::upstream::{Server, Shared, bind};
use super::{Way, steps};

/// What every gate of a replay is told, where the file says nothing else: loopback, free ports, no proxy but what
/// steering needs.
const BASE: &str = r#"
user = ""
[lan]
address = "127.53.0.1"
networks = []
[dns]
listen = ["127.0.0.1:0"]
[proxy]
http = []
socks = []
tls = ["127.0.0.1:0"]
plain = ["127.0.0.1:0"]
quic = []
[web]
listen = []
admin = []
"#;
/// The steps that time passes in.
const TICK: Duration = Duration::from_millis(20);
/// How long it passes in these; the rest is cut into [`LARGE`] parts.
const FINE: Duration = Duration::from_secs(5);
const LARGE: u32 = 200;
/// After so much time the gate's own threads get so much real time.
const THREADS_AFTER: Duration = Duration::from_secs(1);
const THREADS: Duration = Duration::from_millis(20);
/// How often at most it is looked whether datagrams have been read, and how long the gate's threads have each time.
const ARRIVALS: usize = 1000;
const ARRIVAL: Duration = Duration::from_millis(1);
/// Rounds of the runtime in which everything that is under way over loopback arrives.
const ROUNDS: usize = 16;

/// What the steps ask of the runtime.
pub(crate) enum Order {
    /// Everything that is under way arrives.
    Settle,
    /// Time passes.
    Pass(Duration),
    /// The gate reads its files again; says whether it took them.
    Reload,
    /// The runtime stands still until the other end is dropped; the gate's own threads do not.
    Hold(std::sync::mpsc::Receiver<()>),
}

/// An order, and where to say that it is done, and how it went.
pub(crate) type Ordered = (Order, oneshot::Sender<bool>);

/// What the steps know of the gate.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) bound: Vec<(String, SocketAddr)>,
    pub(crate) upstreams: Vec<(String, SocketAddr)>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) orders: mpsc::UnboundedSender<Ordered>,
}

impl Place {
    /// The gate's threads take what has come in datagrams; what becomes of it is the runtime's work.
    pub(crate) fn arrive(&self) {
        let ports: Vec<String> = self
            .bound
            .iter()
            .filter(|(kind, _)| kind == "dns-udp")
            .map(|(_, address)| format!(":{:04X}", address.port()))
            .collect();
        let waits = || {
            let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
            table.lines().any(|line| {
                let mut words = line.split_ascii_whitespace().skip(1);
                let local = words.next().unwrap_or_default();
                let queues = words.nth(2).unwrap_or_default();
                ports.iter().any(|port| local.ends_with(port)) && !queues.ends_with(":00000000")
            })
        };
        let patience = std::iter::repeat_n((), ARRIVALS);
        for () in patience {
            std::thread::sleep(ARRIVAL);
            if !waits() {
                break;
            }
        }
    }
}

/// Plays a file from the first step to the last.
pub(crate) fn play(scenario: Scenario, way: Way) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let shared = Arc::new(Shared::default());
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut upstreams = Vec::new();
        for script in &scenario.upstream {
            let server = Server::new(script, &shared)?;
            let bound = bind(script).await?;
            upstreams.push((script.name.clone(), bound.address));
            let anchor = (
                format!("{}.anchor", script.name),
                server.anchor().to_owned(),
            );
            write(folder.path(), [(&anchor.0, &anchor.1)])?;
            server.serve(bound);
        }
        write(folder.path(), &scenario.files)?;
        write_zones(folder.path(), &scenario.zones)?;
        let path = folder.path().join("sekisho.toml");
        fs::write(&path, config(&scenario.config, &upstreams)?)
            .map_err(|error| error.to_string())?;
        let config = Config::load(Some(&path)).map_err(|error| format!("config: {error}"))?;
        let app = App::build(config).map_err(|error| format!("the gate: {error}"))?;
        let bound = app.bound();
        let bound = bound
            .iter()
            .map(|(kind, address)| (kind.to_string(), *address));
        let (orders, obeyed) = mpsc::unbounded_channel();
        let place = Place {
            folder,
            bound: bound.collect(),
            upstreams,
            shared,
            orders,
        };
        let running = app.start().map_err(|error| format!("the gate: {error}"))?;
        // From here on the clock stands still, because a blocking task runs.
        let played = tokio::task::spawn_blocking(move || steps::play(&scenario, &place, way));
        let running = obey(running, obeyed).await;
        let outcome = played.await.map_err(|error| error.to_string())?;
        running.stop(std::future::ready(())).await;
        outcome
    })
}

/// Does as the steps ask until they are over.
async fn obey(mut running: Running, mut orders: mpsc::UnboundedReceiver<Ordered>) -> Running {
    while let Some((order, done)) = orders.recv().await {
        let good = match order {
            Order::Settle => {
                settle().await;
                true
            }
            Order::Pass(time) => {
                pass(time).await;
                true
            }
            Order::Reload => {
                let good = running.reload();
                settle().await;
                good
            }
            Order::Hold(end) => {
                done.send(true).ok();
                end.recv().ok();
                continue;
            }
        };
        done.send(good).ok();
    }
    running
}

async fn settle() {
    for _ in 0..ROUNDS {
        yield_now().await;
    }
}

async fn pass(time: Duration) {
    // What is under way arrives before, and not in the midst of it.
    settle().await;
    let mut left = time;
    let large = (time.saturating_sub(FINE) / LARGE).max(TICK);
    while !left.is_zero() {
        let past = time.saturating_sub(left);
        let step = if past < FINE { TICK } else { large }.min(left);
        advance(step).await;
        settle().await;
        left = left.saturating_sub(step);
    }
    // What the gate does on threads of its own, such as reading files again, takes real time.
    if time >= THREADS_AFTER {
        tokio::task::spawn_blocking(|| std::thread::sleep(THREADS))
            .await
            .ok();
        settle().await;
    }
}

/// The file: what every gate is told, with what this one is told instead; `{name}` is a server's address.
pub(crate) fn config(text: &str, upstreams: &[(String, SocketAddr)]) -> Result<String, String> {
    let mut text = text.to_owned();
    for (name, address) in upstreams {
        text = text.replace(&format!("{{{name}}}"), &address.to_string());
    }
    let mut table: Table = BASE.parse().map_err(|error| format!("{error}"))?;
    let own: Table = text.parse().map_err(|error| format!("config: {error}"))?;
    merge(&mut table, own);
    let servers = upstreams
        .iter()
        .map(|(_, address)| Value::String(address.to_string()));
    let dns = table
        .entry("dns")
        .or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(dns) = dns
        && let Value::Table(upstream) = dns
            .entry("upstream")
            .or_insert_with(|| Value::Table(Table::new()))
        && !upstream.contains_key("servers")
    {
        upstream.insert("servers".to_owned(), Value::Array(servers.collect()));
    }
    Ok(table.to_string())
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Writes files below a folder.
pub(crate) fn write<'a>(
    folder: &Path,
    files: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), String> {
    for (name, text) in files {
        let path = folder.join(name);
        let fail = |error: std::io::Error| format!("{name}: {error}");
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(fail)?;
        }
        fs::write(&path, text).map_err(fail)?;
    }
    Ok(())
}

/// Writes local zones.
pub(crate) fn write_zones<'a>(
    folder: &Path,
    zones: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), String> {
    for (name, text) in zones {
        write(folder, [(&format!("zones/{name}.zone"), text)])?;
    }
    Ok(())
}
