//! `sekisho demo`: a small internet on loopback, a real gate in front of it, and what a client of that gate gets.
//!
//! No packet leaves the machine, no port is fixed, nothing needs root and no configuration is read. The command starts
//! [`Internet`], puts a gate in front of it whose only upstream is that internet's DNS, walks it with [`steps()`] and
//! shows a [`Report`].

mod certificates;
mod client;
mod internet;
mod judge;
mod report;
mod steps;
mod zone;

use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use internet::Internet;
use judge::{Gate, Row, Session};
use report::Report;
use steps::steps;
use zone::Place;

use super::{Exit, output};
use crate::app::{App, AppError, Kind, Running};
use crate::config::{Config, Mode, Problems};
use crate::net::Interfaces;
use crate::telemetry::{chain, colour};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which names the gate points clients to itself for (`steer.mode`)
    #[arg(long, value_enum, default_value_t = ModeArgument::Ipv6Only)]
    mode: ModeArgument,
    /// Leave everything running until Ctrl-C, and print commands to try
    #[arg(long)]
    keep: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeArgument {
    /// None
    Off,
    /// Names that have IPv6 only
    Ipv6Only,
    /// Every name
    Address,
}

impl From<ModeArgument> for Mode {
    fn from(argument: ModeArgument) -> Self {
        match argument {
            ModeArgument::Off => Self::Off,
            ModeArgument::Ipv6Only => Self::Ipv6Only,
            ModeArgument::Address => Self::Address,
        }
    }
}

/// Why the demo could not be shown.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("could not start the demo")]
    Start(#[source] std::io::Error),
    #[error("loopback is down; run `ip link set lo up`")]
    Loopback(#[source] std::io::Error),
    #[error("could not write a certificate to `{}`; set TMPDIR to a folder that exists", .0.display())]
    Certificate(PathBuf, #[source] std::io::Error),
    #[error("could not configure the gate of the demo: {0}")]
    Config(Problems),
    #[error("could not start the gate of the demo")]
    Gate(#[from] AppError),
    #[error("the gate of the demo did not bind {0}")]
    Unbound(Kind),
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let shown = runtime
        .map_err(DemoError::Start)
        .and_then(|runtime| runtime.block_on(show(arguments)));
    match shown {
        Ok(true) => Exit::Good,
        Ok(false) => Exit::Failed,
        Err(error) => {
            output::error(&chain(&error));
            Exit::Failed
        }
    }
}

/// Shows everything; whether all of it held.
async fn show(arguments: &Arguments) -> Result<bool, DemoError> {
    check_loopback()?;
    let internet = Internet::start().map_err(DemoError::Start)?;
    let (gate, running) = start_gate(&internet, arguments.mode.into())?;
    let rows = steps(&gate, &internet).await;
    let report = Report::new(&gate, &internet, rows);
    let ca = if arguments.keep {
        let folder = std::env::temp_dir();
        let written = internet.write_ca(&folder);
        Some(written.map_err(|error| DemoError::Certificate(folder, error))?)
    } else {
        None
    };
    let commands = report.commands(ca.as_ref().map(|file| file.path()));
    if arguments.json {
        output::data(&report.json());
    } else {
        let text = report.text(colour(&std::io::stdout()));
        output::data(&format!("{text}\n{}", to_try(arguments, &commands)));
    }
    if arguments.keep {
        if arguments.json {
            for command in &commands {
                output::note(command);
            }
        }
        output::note("Running until Ctrl-C");
        until_signal().await;
    }
    running.stop(std::future::ready(())).await;
    Ok(report.ok())
}

fn to_try(arguments: &Arguments, commands: &[String]) -> String {
    let head = if arguments.keep {
        "Try it yourself:\n"
    } else {
        "To try it yourself, add --keep: then lines like these work, with its ports:\n"
    };
    let lines = commands.iter().map(|command| format!("  {command}\n"));
    lines.fold(head.to_owned(), |text, line| text + &line)
}

/// Everything here goes over loopback; a fresh network namespace has it switched off.
fn check_loopback() -> Result<(), DemoError> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| socket.connect(socket.local_addr()?))
        .map_err(DemoError::Loopback)
}

/// Waits for what ends a program at a terminal. Where the signals cannot be waited for, there is no reason to stay.
async fn until_signal() {
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}

/// A real gate on loopback whose only upstream is the demo's DNS, and which may, for once, lead and go to loopback.
fn start_gate(internet: &Internet, mode: Mode) -> Result<(Gate, Running), DemoError> {
    let text = format!(
        "user = \"\"\n\
         [lan]\naddress = \"127.0.0.1\"\n\
         [dns]\nlisten = [\"lan:0\"]\nrebind-allow = [\"demo.example\"]\n\
         [dns.upstream]\nservers = [\"{dns}\"]\n\
         [proxy]\nhttp = [\"lan:0\"]\nsocks = []\ntls = [\"lan:0\"]\ntls-origin-port = {tls}\nplain = [\"lan:0\"]\nquic = []\n\
         [egress]\nallow = [\"127.0.0.0/8\", \"::1/128\"]\n\
         [web]\nlisten = []\nadmin = []\n",
        dns = internet.dns,
        tls = internet.tls,
    );
    let mut config =
        Config::parse(&text, None, &Interfaces::default(), "").map_err(DemoError::Config)?;
    config.steer.mode = mode;
    let app = App::build(config)?;
    let bound = app.bound();
    let address = |wanted| {
        bound
            .iter()
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, address)| *address)
    };
    let gate = Gate {
        dns: address(Kind::DnsUdp).ok_or(DemoError::Unbound(Kind::DnsUdp))?,
        http: address(Kind::Http).ok_or(DemoError::Unbound(Kind::Http))?,
        tls: address(Kind::Tls),
        plain: address(Kind::Plain),
        address: Ipv4Addr::LOCALHOST,
        mode,
    };
    Ok((gate, app.start()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn everything_holds_in_every_mode() {
        for mode in [Mode::Off, Mode::Ipv6Only, Mode::Address] {
            let internet = Internet::start().unwrap();
            let (gate, running) = start_gate(&internet, mode).unwrap();
            let report = Report::new(&gate, &internet, steps(&gate, &internet).await);
            assert!(report.ok(), "{mode:?}\n{}", report.text(false));
            running.stop(std::future::ready(())).await;
        }
    }
}
