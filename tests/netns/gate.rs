//! The real program on the gate, started as an administrator would and asked to stop as systemd would.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

use crate::home::{GATE, Home};
use crate::namespace::Daemon;

/// sekisho with what a home needs: everything but the mode is the built-in default, `auto` included.
pub(crate) fn config(mode: &str) -> String {
    format!("user = \"nobody\"\n\n[steer]\nmode = \"{mode}\"\n\n[log]\nlevel = \"debug\"\n")
}

/// sekisho in the gate's namespace; killed when dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    daemon: Daemon,
    config: PathBuf,
}

impl Gate {
    /// Starts it as root and waits until it is ready.
    pub(crate) fn start(home: &Home, config: &str) -> Self {
        let path = home.folder().join("sekisho.toml");
        fs::write(&path, config).expect("sekisho.toml");
        let mut command = home.gate.command(env!("CARGO_BIN_EXE_sekisho"));
        command.args(["run", "--config"]).arg(&path);
        let mut gate = Self {
            daemon: Daemon::start("sekisho", home.folder(), &mut command),
            config: path,
        };
        gate.wait_for("ready", 1);
        gate
    }

    /// Waits until so many log lines hold the words.
    pub(crate) fn wait_for(&mut self, words: &str, times: usize) {
        let what = format!("`{words}` {times} times in the log");
        self.daemon.until(&what, |daemon| {
            (count(&daemon.said(), words) >= times).then_some(())
        });
    }

    /// Puts another configuration in force; returns once the log has one more line with the words.
    pub(crate) fn reload(&mut self, config: &str, words: &str) {
        let before = count(&self.daemon.said(), words);
        fs::write(&self.config, config).expect("sekisho.toml");
        self.daemon.signal(Signal::SIGHUP);
        self.wait_for(words, before + 1);
    }

    /// The kind and address of every socket it says it listens on.
    pub(crate) fn listening(&self) -> Vec<(String, SocketAddr)> {
        let said = self.daemon.said();
        said.lines()
            .filter(|line| line.contains(" listening "))
            .map(|line| {
                let field = |name: &str| {
                    let words = line.split_whitespace();
                    let mut values = words.filter_map(|word| word.strip_prefix(name));
                    let value = values.next().expect("kind and addr");
                    value.trim_matches('"').to_owned()
                };
                let address = field("addr=").parse().expect("an address and a port");
                (field("kind="), address)
            })
            .collect()
    }

    /// The number of its process, as text.
    pub(crate) fn pid(&self) -> String {
        self.daemon.pid().to_string()
    }

    /// What it said.
    pub(crate) fn said(&self) -> String {
        self.daemon.said()
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.daemon.signal(Signal::SIGTERM);
        self.daemon.ended()
    }
}

/// A place on the gate's LAN address.
pub(crate) fn on_gate(port: u16) -> SocketAddr {
    SocketAddr::new(GATE.parse().expect("an address"), port)
}

fn count(log: &str, words: &str) -> usize {
    let words = format!(" {words} ");
    log.lines()
        .filter(|line| format!(" {line} ").contains(&words))
        .count()
}
