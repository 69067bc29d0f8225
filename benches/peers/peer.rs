//! Processes of servers: started on one CPU, ready when they answer, ended when they are dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, io, thread};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Fallible;
use crate::message::{self, RecordType};
use crate::stop;
use crate::tally::{self, Clock};

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(4);

/// Where a program is: in PATH, or where daemons are.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let runs = |file: &PathBuf| {
        fs::metadata(file)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(&path)
        .chain(daemons)
        .map(|folder| folder.join(program))
        .find(runs)
}

/// The version in what a program says about itself.
pub(crate) fn version(program: &Path, argument: &str) -> String {
    let Ok(said) = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .output()
    else {
        return "unknown".to_owned();
    };
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let words = || text.lines().take(2).flat_map(str::split_whitespace);
    let is_version = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.') && !word.contains(':')
    };
    let first_line = text.lines().next().unwrap_or_default();
    let last = || first_line.split_whitespace().last();
    let found = words().find(is_version).or_else(last);
    found
        .unwrap_or("unknown")
        .trim_end_matches(',')
        .chars()
        .take(24)
        .collect()
}

/// The CPUs that servers, and everything else, are bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpus {
    pub(crate) server: usize,
    pub(crate) other: usize,
}

impl Cpus {
    /// The first two that this process may run on; the same one twice where there is no other.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn choose() -> nix::Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        let server = cpus.next().unwrap_or(0);
        let other = cpus.next().unwrap_or(server);
        Ok(Self { server, other })
    }
}

/// Binds this thread, and what it starts, to one CPU.
///
/// # Errors
///
/// What the system says.
pub(crate) fn bind(cpu: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// An address of loopback where nobody listens, neither over UDP nor over TCP.
///
/// # Errors
///
/// What the system says.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    for _ in 0..100 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From the start to the first answer.
    pub(crate) started: Duration,
}

impl Server {
    /// Starts `command` on `cpu`, and waits until it answers a question for the A of `name`. What it says goes into
    /// `folder`.
    ///
    /// # Errors
    ///
    /// What the system says, and what the server said where it ended or did not answer.
    pub(crate) fn start(
        mut command: Command,
        folder: &Path,
        address: SocketAddr,
        name: &str,
        cpus: Cpus,
        cpu: usize,
    ) -> Fallible<Self> {
        let said = folder.join("said");
        let file = File::create(&said)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // An interruption on the terminal is ours, so that everything ends in order.
            .process_group(0);
        bind(cpu)?;
        let clock = Clock::start();
        let child = command.spawn();
        bind(cpus.other)?;
        let mut server = Self {
            child: child?,
            address,
            started: Duration::ZERO,
        };
        match server.wait_until_ready(&clock, name) {
            Ok(()) => Ok(server),
            Err(error) => {
                drop(server);
                let said = fs::read(&said).unwrap_or_default();
                let end = &said[said.len().saturating_sub(400)..];
                Err(format!("{error}: {}", String::from_utf8_lossy(end).trim()).into())
            }
        }
    }

    fn wait_until_ready(&mut self, clock: &Clock, name: &str) -> Fallible<()> {
        while clock.elapsed() < PATIENCE {
            stop::check()?;
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("ended before it answered, {status}").into());
            }
            let patience = Duration::from_millis(20);
            let reply = message::ask(self.address, name, RecordType::A, false, patience);
            if reply.is_ok_and(|reply| !reply.ipv4().is_empty()) {
                self.started = clock.elapsed();
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err("does not answer".into())
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or_default()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let family = tally::tree(self.pid());
        if self.runs() {
            let _gone = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
            let clock = Clock::start();
            while clock.elapsed() < GRACE && self.runs() {
                thread::sleep(Duration::from_millis(5));
            }
        }
        for process in family.into_iter().filter(|process| process.is_there()) {
            let _gone = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        let _reaped = self.child.wait();
    }
}
