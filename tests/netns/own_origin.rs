//! A server of a test's own on one of the names without one: a script with the packages that `.ci/run` has installed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::home::Home;
use crate::namespace::{Daemon, Namespace};

/// What the packages that a script is written with are called, and where `.ci/run` puts them.
pub(crate) fn packages(language: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    target.expect("a folder").join("clients").join(language)
}

/// The path of a script in `tests/netns/scripts`.
pub(crate) fn script(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/netns/scripts");
    tests.join(name)
}

/// Python with a script, in a namespace.
pub(crate) fn python(machine: &Namespace, name: &str) -> Command {
    let mut command = machine.command("python3");
    command
        .arg(script(name))
        .env("PYTHONPATH", packages("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A script that serves on an IPv6 address of the internet, and says where each client came from.
#[derive(Debug)]
pub(crate) struct OwnOrigin(Daemon);

impl OwnOrigin {
    /// Starts it and waits until it says `serving`.
    pub(crate) fn start(home: &Home, name: &str, command: &mut Command) -> Self {
        let mut daemon = Daemon::start(name, home.folder(), command);
        daemon.until(&format!("{name} serves"), |daemon| {
            daemon.said().contains("serving").then_some(())
        });
        Self(daemon)
    }

    /// The lines with a word that it has said, as soon as there is one.
    pub(crate) fn said(&mut self, word: &str) -> Vec<String> {
        self.0.until(&format!("{word} is said"), |daemon| {
            let said = daemon.said();
            let lines = said.lines().filter(|line| line.contains(word));
            let lines: Vec<_> = lines.map(str::to_owned).collect();
            (!lines.is_empty()).then_some(lines)
        })
    }

    /// Every line with a word begins with the gate's IPv6 address, and there is one.
    pub(crate) fn assert_by_ipv6(&mut self, home: &Home, word: &str) {
        let gate = format!("{} ", home.gate_ipv6);
        for line in self.said(word) {
            assert!(line.starts_with(&gate), "not from {gate}but: {line}");
        }
    }
}

/// `origin.py` on the address of one of the own names.
pub(crate) fn http_origin(home: &Home, name: &str, address: &str) -> OwnOrigin {
    let machine = home.internet.machine();
    let mut command = python(machine, "origin.py");
    let folder = home.folder();
    command
        .args(["serve", address])
        .arg(folder)
        .arg(folder.join(format!("{name}.pem")))
        .arg(folder.join("origin.key"));
    OwnOrigin::start(home, &format!("origin-{name}"), &mut command)
}
