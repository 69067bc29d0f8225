//! The real program, running.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{PATIENCE, Setup};

/// The line of a gate that serves; the bare word is part of "already", too.
pub(crate) const READY: &str = " INFO ready";

/// A running gate; ends when dropped, and shows its log when the test has failed.
#[derive(Debug)]
pub(crate) struct Gate {
    child: Child,
    log: Arc<Log>,
    folder: TempDir,
}

#[derive(Debug, Default)]
struct Log {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Gate {
    /// Starts a gate and waits until it is ready.
    pub(crate) fn start(setup: &Setup) -> Self {
        let gate = Self::launch(setup);
        gate.wait_for_log(READY);
        gate
    }

    /// Starts a gate that need not become ready.
    pub(crate) fn launch(setup: &Setup) -> Self {
        Self::launch_by(Command::new(env!("CARGO_BIN_EXE_sekisho")), setup)
    }

    /// As [`Gate::launch`], with at most so many files and sockets open.
    pub(crate) fn launch_with_files(setup: &Setup, most: u32) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_sekisho"));
        Self::launch_by(command, setup)
    }

    /// As [`Gate::launch`], with its stderr where this redirection of the shell leads, such as into the FIFO `log.pipe`; the
    /// test does not see it.
    pub(crate) fn launch_logging_to(setup: &Setup, redirection: &str) -> Self {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &format!("mkfifo log.pipe; exec \"$0\" \"$@\" {redirection}"),
        ]);
        command.arg(env!("CARGO_BIN_EXE_sekisho"));
        Self::launch_by(command, setup)
    }

    /// Starts a gate in whose folder `prepare` has put files, and waits until it is ready.
    pub(crate) fn start_in(setup: &Setup, prepare: impl FnOnce(&Path)) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_sekisho"));
        let gate = Self::prepared(command, setup, prepare);
        gate.wait_for_log(READY);
        gate
    }

    fn launch_by(command: Command, setup: &Setup) -> Self {
        Self::prepared(command, setup, |_| {})
    }

    fn prepared(mut command: Command, setup: &Setup, prepare: impl FnOnce(&Path)) -> Self {
        let folder = TempDir::new().expect("a folder");
        // The gate leaves root for another user, and must still read its files on a reload.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        fs::create_dir(folder.path().join("zones")).expect("zones folder");
        write_files(folder.path(), setup);
        prepare(folder.path());
        let mut child = command
            .arg("run")
            .arg("--config")
            .arg(folder.path().join("sekisho.toml"))
            .current_dir(folder.path())
            .env_remove("SEKISHO_CONFIG")
            .env_remove("STATE_DIRECTORY")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let log = Arc::new(Log::default());
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                writer.lock().lines.push(line);
                writer.changed.notify_all();
            }
            writer.lock().ended = true;
            writer.changed.notify_all();
        });
        Self { child, log, folder }
    }

    /// The first address that was bound for this kind of listener.
    pub(crate) fn addr(&self, kind: &str) -> SocketAddr {
        self.find_addr(kind)
            .unwrap_or_else(|| panic!("no listener of kind {kind}"))
    }

    /// As [`Gate::addr`]; `None` where nothing of this kind listens.
    pub(crate) fn find_addr(&self, kind: &str) -> Option<SocketAddr> {
        self.log.lock().lines.iter().find_map(|line| {
            (line.contains("listening") && field(line, "kind") == Some(kind))
                .then(|| field(line, "addr"))
                .flatten()
                .and_then(|addr| addr.parse().ok())
        })
    }

    /// Waits for a line that contains `text`, and returns it. Fails the test if it does not come.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        self.wait_for_log_after(0, text)
    }

    /// As [`Gate::wait_for_log`], looking only at the lines from number `from` on.
    pub(crate) fn wait_for_log_after(&self, from: usize, text: &str) -> String {
        let find = |state: &State| {
            let mut later = state.lines.iter().skip(from);
            later.find(|line| line.contains(text)).cloned()
        };
        let (state, _) = self
            .log
            .changed
            .wait_timeout_while(self.log.lock(), PATIENCE, |state| {
                find(state).is_none() && !state.ended
            })
            .expect("the log is whole");
        let found = find(&state);
        drop(state);
        found.unwrap_or_else(|| panic!("the gate did not say {text:?}"))
    }

    /// The folder of the configuration.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How many lines the log has now.
    pub(crate) fn log_len(&self) -> usize {
        self.log.lock().lines.len()
    }

    /// The whole log until now.
    pub(crate) fn log_text(&self) -> String {
        self.log.lock().lines.join("\n")
    }

    /// Writes a file beside the configuration, as a program would that puts a new one in the place of the old.
    pub(crate) fn write(&self, file: &str, text: &str) {
        let new = self.folder.path().join(format!("{file}.new"));
        write(&new, text);
        fs::rename(&new, self.folder.path().join(file)).expect("a file is moved");
    }

    /// Writes the configuration and the zones anew; the gate is not told.
    pub(crate) fn rewrite_config(&self, setup: &Setup) {
        write_files(self.folder.path(), setup);
    }

    /// Rewrites the configuration, asks for a reload and waits until `outcome` is said.
    pub(crate) fn reload(&self, setup: &Setup, outcome: &str) -> String {
        self.rewrite_config(setup);
        let from = self.log_len();
        self.signal(Signal::SIGHUP);
        self.wait_for_log_after(from, outcome)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the program is there");
    }

    /// What the kernel counts of the process in `/proc/PID/status`, such as `VmRSS` in KiB.
    pub(crate) fn status(&self, key: &str) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(path).expect("the program is there");
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|rest| rest.split_whitespace().nth(1));
        number.and_then(|n| n.parse().ok()).expect("a number")
    }

    /// How many files and sockets it has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(self.descriptors())
            .expect("the program is there")
            .count()
    }

    /// The folder in which the kernel tells what it has open.
    pub(crate) fn descriptors(&self) -> PathBuf {
        format!("/proc/{}/fd", self.child.id()).into()
    }

    /// The value of a metric without labels, asked of the admin listener.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.find_metric(name)
            .unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// As [`Gate::metric`], also of one with labels, which is not there before it is first counted.
    fn find_metric(&self, name: &str) -> Option<f64> {
        let mut stream = super::connect(self.addr("admin"));
        let head = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        std::io::Write::write_all(&mut stream, head.as_bytes()).expect("sent");
        let response = super::read_response(&mut stream).expect("metrics");
        let text = response.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse().ok())
    }

    /// Waits until a metric has this value; its labels stand in the name.
    pub(crate) fn wait_for_metric(&self, name: &str, value: f64) {
        let begun = super::clock();
        loop {
            let now = self.find_metric(name);
            if now.is_some_and(|now| (now - value).abs() < 0.5) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{name}: {now:?}");
            thread::yield_now();
        }
    }

    /// Waits until the program has ended by itself.
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        let (state, _) = self
            .log
            .changed
            .wait_timeout_while(self.log.lock(), 2 * PATIENCE, |state| !state.ended)
            .expect("the log is whole");
        let ended = state.ended;
        drop(state);
        assert!(ended, "the gate did not end");
        self.child.wait().expect("an exit status")
    }

    /// Ends the program by force, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- the gate's log ---\n{}\n---", self.log_text());
        }
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the log is whole")
    }
}

/// The value of `key=value` in a log line, without quotes.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        .map(|value| value.trim_matches('"'))
}

fn write_files(folder: &Path, setup: &Setup) {
    let zones = folder.join("zones");
    for old in fs::read_dir(&zones).expect("zones folder").flatten() {
        fs::remove_file(old.path()).expect("an old zone");
    }
    for (file, text) in &setup.zones {
        write(&zones.join(file), text);
    }
    write(&folder.join("sekisho.toml"), &setup.text());
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("mode");
}

#[test]
fn a_field_of_a_log_line_is_found_with_and_without_quotes() {
    let line = r#"2026-01-01T00:00:00Z  INFO listening kind="dns-udp" addr=127.0.0.1:4711"#;
    assert_eq!(field(line, "kind"), Some("dns-udp"));
    assert_eq!(field(line, "addr"), Some("127.0.0.1:4711"));
    assert_eq!(field(line, "port"), None);
}
