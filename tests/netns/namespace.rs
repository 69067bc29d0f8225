//! One machine of the home: a network namespace, the processes in it, and their end.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::wait::{SOON, until};

/// Begins the name of everything made here; the process follows, then the machine.
const PREFIX: &str = "sekisho-test";

/// A network namespace; gone, with every process in it, when dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// A new namespace with only a loopback interface, that asks `nameserver` where there is one.
    pub(crate) fn new(machine: &str, nameserver: &str) -> Self {
        let name = format!("{PREFIX}-{}-{machine}", process::id());
        must(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Self { name };
        // `ip netns exec` shows the files in this folder to what it runs as /etc/...
        fs::create_dir_all(namespace.etc()).expect("a folder in /etc/netns");
        let resolv = match nameserver {
            "" => String::new(),
            server => format!("nameserver {server}\n"),
        };
        fs::write(namespace.resolv_conf(), resolv).expect("a resolv.conf");
        fs::write(namespace.etc().join("hosts"), "127.0.0.1 localhost\n").expect("hosts");
        namespace.ip("link set lo up");
        namespace
    }

    /// Removes what a test run left behind that was killed before it could tidy up.
    pub(crate) fn sweep() {
        let listed = must(Command::new("ip").args(["netns", "list"]));
        let names = listed.lines().filter_map(|line| line.split(' ').next());
        for name in names.filter(|name| left_behind(name)) {
            drop(Self {
                name: name.to_owned(),
            });
        }
        let folders = fs::read_dir(env::temp_dir()).expect("the folder of temporary files");
        for folder in folders.flatten() {
            if left_behind(&folder.file_name().to_string_lossy()) {
                fs::remove_dir_all(folder.path()).ok();
            }
        }
    }

    /// The name that `ip netns` knows it by.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What processes in it see as /etc/resolv.conf.
    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.etc().join("resolv.conf")
    }

    fn etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    /// A command that will run in it. The proxy settings of whoever runs the tests stay outside.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        for scheme in ["http", "https", "all", "no"] {
            command.env_remove(format!("{scheme}_proxy"));
            command.env_remove(format!("{scheme}_proxy").to_uppercase());
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs `program argument ...` in it and returns what it printed.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub(crate) fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a program");
        must(self.command(program).args(words))
    }

    /// `ip ...` in it.
    pub(crate) fn ip(&self, line: &str) -> String {
        must(
            Command::new("ip")
                .args(["-n", &self.name])
                .args(line.split_whitespace()),
        )
    }

    /// Loads rules for packets.
    pub(crate) fn nft(&self, rules: &str) {
        let mut command = self.command("nft");
        command.args(["-f", "-"]).stdin(Stdio::piped());
        let mut nft = command.spawn().expect("nft");
        let mut input = nft.stdin.take().expect("its input");
        input.write_all(rules.as_bytes()).expect("rules to be read");
        drop(input);
        assert!(nft.wait().expect("nft to end").success(), "{rules}");
    }

    /// How many packets a named counter of the table `inet count` has seen.
    pub(crate) fn counted(&self, counter: &str) -> u64 {
        let json = self.run(&format!("nft -j list counter inet count {counter}"));
        let listed: Value = serde_json::from_str(&json).expect("JSON");
        let objects = listed["nftables"].as_array().expect("a list");
        let mut packets = objects
            .iter()
            .filter_map(|object| object["counter"]["packets"].as_u64());
        packets.next().unwrap_or_else(|| panic!("{json}"))
    }

    /// Sets a key below /proc/sys/net.
    pub(crate) fn sysctl(&self, key: &str, value: &str) {
        self.inside(|| fs::write(Path::new("/proc/sys/net").join(key), value))
            .unwrap_or_else(|error| panic!("could not set {key} in {}: {error}", self.name));
    }

    /// Does some work on a thread whose sockets live in it.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let place = File::open(Path::new("/run/netns").join(&self.name)).expect("the namespace");
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                setns(place, CloneFlags::CLONE_NEWNET).expect("to enter the namespace");
                work()
            });
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn pids(&self) -> Vec<Pid> {
        let output = Command::new("ip")
            .args(["netns", "pids", &self.name])
            .output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            .map(Pid::from_raw)
            .collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Daemons that forked, and browsers: whoever lives here was started here.
        for _ in 0..100 {
            let pids = self.pids();
            if pids.is_empty() {
                break;
            }
            for pid in pids {
                kill(pid, Signal::SIGKILL).ok();
            }
            thread::yield_now();
        }
        Command::new("ip")
            .args(["netns", "del", &self.name])
            .stderr(Stdio::null())
            .status()
            .ok();
        fs::remove_dir_all(self.etc()).ok();
        // Stays while another run has a folder in it.
        fs::remove_dir("/etc/netns").ok();
    }
}

/// The folder for the files of one home.
pub(crate) fn folder() -> TempDir {
    let prefix = format!("{PREFIX}-{}-", process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir();
    folder.expect("a folder")
}

/// Whether it is named after a process that is no more.
fn left_behind(name: &str) -> bool {
    let rest = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_prefix('-'));
    let owner = rest.and_then(|rest| rest.split('-').next());
    owner.is_some_and(|owner| {
        owner.parse::<u32>().is_ok() && !Path::new("/proc").join(owner).exists()
    })
}

/// A process that stays; killed when dropped. What it says is shown where the test fails.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, with its output in `NAME.log` in the folder.
    pub(crate) fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).expect("a log file");
        let err = out.try_clone().expect("a second handle of the log file");
        let child = command
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("could not start {name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// What it has said.
    pub(crate) fn said(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Looks until there is something to see, as long as the process lives.
    pub(crate) fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        until(what, SOON, || {
            let seen = look(self);
            if seen.is_none()
                && let Ok(Some(status)) = self.child.try_wait()
            {
                panic!("{} ended before: {what}: {status}", self.name);
            }
            seen
        })
    }

    /// The number of its process: `ip netns exec` becomes what it runs.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process number"))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("to send a signal");
    }

    /// How it ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        until(&what, SOON, || {
            self.child.try_wait().expect("a process to wait for")
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            let said = self.said();
            let tail = said.lines().count().saturating_sub(60);
            let tail: Vec<_> = said.lines().skip(tail).collect();
            // Beside the failure that the harness shows, hence by the harness's own channel.
            #[expect(clippy::print_stderr, reason = "shown only with the failed test")]
            {
                eprintln!("---- {} said:\n{}", self.name, tail.join("\n"));
            }
        }
    }
}

/// Runs a command to its end and returns what it printed.
///
/// # Panics
///
/// When it fails, with what it said.
pub(crate) fn must(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("could not run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
