//! sekisho beside the DNS servers that a user would otherwise pick, on one machine and in one run:
//!
//! ```text
//! cargo build --release
//! cargo bench --bench peers -- --rounds 5
//! ```
//!
//! The upstream is nsd, which must be installed; of the others those that are. Debian: apt install nsd unbound dnsmasq
//! bind9 knot-resolver pdns-recursor dnsdist smartdns. Everything is on loopback; the files are in a folder that goes with
//! the run. Each server has one thread on one CPU; what asks, and the upstream, have another. All take turns in each
//! round. Told are medians over the rounds, and ratios between figures of the same round: a machine that is shared
//! differs more from one minute to the next than the servers do. CPU is what the whole process tree used, user and system,
//! for each question that was answered; it does not depend on how fast is asked. `busy` is how much of its CPU the server
//! had: well below 1, q/s says more about the asking than about the server. `floor` is a server that does nothing but
//! receive and send.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark tells its figures on stdout, and what it does on stderr"
)]

mod configurations;
mod data;
mod flight;
mod floor;
mod judge;
mod load;
mod message;
mod peer;
mod peers;
mod rounds;
mod self_check;
mod stop;
mod stream;
mod table;
mod tally;
mod works;
mod zones;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use clap::Parser;
use serde_json::json;

use crate::peers::{Kind, Peer};
use crate::rounds::Rounds;
use crate::table::Results;
use crate::works::{Stage, Work};

/// What may fail in many ways, all of which end the work.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error>>;

/// Names of the upstream and of the local zone.
const NAMES: usize = 100_000;

/// sekisho beside other DNS servers.
#[derive(Debug, Parser)]
struct Options {
    /// How often everything is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these, besides sekisho and the floor
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Only these
    #[arg(long, value_delimiter = ',')]
    work: Vec<String>,
    /// How long each load lasts that does not end by itself
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Where to write all figures of all rounds
    #[arg(long)]
    json: Option<PathBuf>,
    /// The release binary
    #[arg(long, default_value = "target/release/sekisho")]
    sekisho: PathBuf,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the floor
    #[arg(long, hide = true)]
    floor: Option<SocketAddr>,
}

fn main() -> ExitCode {
    let given = |wanted: &str| env::args().skip(1).any(|argument| argument == wanted);
    // `cargo test` gives no `--bench`.
    if given("--test") || !(given("--bench") || given("--floor")) {
        return self_check::run();
    }
    let options = Options::parse();
    let ended = match options.floor {
        Some(address) => floor::serve(address),
        None => bench(&options),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Fallible<()> {
    let (kinds, works) = chosen(options)?;
    stop::watch()?;
    let folder = tempfile::tempdir()?;
    let mut peers = Vec::new();
    for kind in kinds {
        match Peer::find(kind, &options.sekisho) {
            Some(peer) => peers.push(peer),
            None if kind == Kind::Sekisho => {
                let path = options.sekisho.display();
                return Err(
                    format!("no such program, build it first or give --sekisho: `{path}`").into(),
                );
            }
            None => println!("Left out, not installed: {}.", kind.name()),
        }
    }
    eprintln!("making names and zones");
    let mut rounds = Rounds::prepare(folder.path(), NAMES, options.seconds, works.clone())?;
    print_machine(&rounds, options);
    let peers = judged(&mut rounds, peers)?;
    let mut results = Results::new(options.rounds);
    for round in 0..options.rounds {
        for stage in Stage::ALL {
            if !works.iter().any(|work| work.stage() == stage) {
                continue;
            }
            for peer in peers.iter().filter(|peer| stage.has(peer.kind)) {
                let name = peer.kind.name();
                eprintln!(
                    "round {} of {}: {stage:?}, {name}",
                    round + 1,
                    options.rounds
                );
                if let Err(error) = rounds.visit(stage, peer, round, &mut results) {
                    stop::check()?;
                    println!("\nRound {}, {stage:?}: {name}: {error}", round + 1);
                }
            }
        }
        // So that a run that is cut short is not in vain.
        if let Some(path) = &options.json {
            let versions = peers.iter().map(|peer| (peer.kind.name(), &*peer.version));
            let versions: std::collections::BTreeMap<_, _> = versions.collect();
            let all = json!({ "rounds": round + 1, "versions": versions, "works": results.json() });
            fs::write(path, serde_json::to_string_pretty(&all)?)?;
        }
    }
    for work in &works {
        results.print(*work);
    }
    results.print_summary(&works);
    Ok(())
}

/// What the options name; everything where they name nothing.
fn chosen(options: &Options) -> Fallible<(Vec<Kind>, Vec<Work>)> {
    if options.rounds == 0 || !(0.05..=600.0).contains(&options.seconds) {
        return Err("at least one round, and from 0.05 to 600 seconds".into());
    }
    let mut kinds = vec![Kind::Sekisho];
    let peers = Kind::ALL.map(Kind::name);
    if let Some(name) = options.peers.iter().find(|name| !peers.contains(&&***name)) {
        return Err(format!("no such peer: `{name}`\nhint: {}", peers.join(", ")).into());
    }
    let wanted = |kind: &Kind| {
        options.peers.is_empty() || options.peers.iter().any(|name| name == kind.name())
    };
    let others = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Sekisho);
    kinds.extend(others.filter(|kind| *kind == Kind::Floor || wanted(kind)));
    let names = Work::ALL.map(Work::name);
    if let Some(name) = options.work.iter().find(|name| !names.contains(&&***name)) {
        return Err(format!("no such work: `{name}`\nhint: {}", names.join(", ")).into());
    }
    let named = |work: Work| options.work.iter().any(|name| name == work.name());
    let works = Work::ALL.into_iter().filter(|work| {
        // What steered answers are compared with.
        options.work.is_empty() || named(*work) || *work == Work::HotA && named(Work::Steered)
    });
    Ok((kinds, works.collect()))
}

fn print_machine(rounds: &Rounds<'_>, options: &Options) {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split_once(": "))
        .map(|(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = rounds.cpus();
    println!(
        "{}, Linux {}; servers on CPU {}, everything else on CPU {}; {} rounds, {} s a load",
        model.unwrap_or("unknown CPU"),
        kernel.trim(),
        cpus.server,
        cpus.other,
        options.rounds,
        options.seconds
    );
    if cpus.server == cpus.other {
        println!("There is one CPU only: what asks takes it from the server.");
    }
}

/// Tells what each one answers, and leaves out those that do not run or have wrong addresses.
fn judged(rounds: &mut Rounds<'_>, peers: Vec<Peer>) -> Fallible<Vec<Peer>> {
    let mut rows = Vec::new();
    let mut right = Vec::new();
    for peer in peers {
        let name = peer.kind.name();
        if matches!(peer.kind, Kind::DnsmasqFitted | Kind::Floor | Kind::Nsd) {
            right.push(peer);
            continue;
        }
        eprintln!("asking {name}");
        match rounds.judge(&peer) {
            Ok((may, texts)) => {
                let mut row = vec![name.to_owned(), peer.version.clone()];
                row.push(peer.kind.withholds().to_owned());
                row.extend(texts);
                rows.push(row);
                if may {
                    right.push(peer);
                } else {
                    println!("Left out, wrong addresses: {name}.");
                }
            }
            Err(error) if peer.kind == Kind::Sekisho => return Err(error),
            Err(error) => {
                stop::check()?;
                println!("Left out: {name}: {error}");
            }
        }
    }
    println!("\n### What they answer\n");
    let columns = [&["", "version", "AAAA withheld by"][..], &judge::COLUMNS].concat();
    table::print_texts(&columns, &rows);
    Ok(right)
}
