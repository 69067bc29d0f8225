//! Real name servers on loopback: where they are installed, ports for them, and nsd and unbound running.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Ask, PATIENCE, clock, exchange_udp};

/// A running server; ends when dropped.
#[derive(Debug)]
pub(crate) struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // nsd's children end only with a parent that is asked to.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
        self.0.wait().ok();
    }
}

/// Where a tool is installed. Servers are in folders that are not on every user's path.
fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file())
}

/// Whether all of these are installed. Where one is not, says so on stderr, or fails if that was asked for.
pub(crate) fn installed(tools: &[&str]) -> bool {
    let Some(tool) = tools.iter().find(|tool| find(tool).is_none()) else {
        return true;
    };
    let wish = std::env::var("SEKISHO_NETNS").unwrap_or_default();
    assert!(wish != "require", "this needs {tool}");
    eprintln!("skipped: this needs {tool}");
    false
}

/// What a tool prints that runs to its end.
pub(crate) fn output(folder: &Path, tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(find(tool).expect("installed"))
        .args(arguments)
        .current_dir(folder)
        .output();
    let output = output.expect("the tool runs");
    assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Ports that were free a moment ago: these servers cannot be told to pick one and say which.
pub(crate) fn ports<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let bound = [(); COUNT].map(|()| {
        loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let address = tcp.local_addr().expect("bound");
            if let Ok(udp) = UdpSocket::bind(address) {
                break (tcp, udp, address);
            }
        }
    });
    bound.map(|(_, _, address)| address)
}

/// An nsd that serves these zones: their names and their files.
pub(crate) fn nsd(folder: &Path, at: SocketAddr, zones: &[(String, String)]) -> Daemon {
    let here = folder.display();
    let mut config = format!(
        "server:\n  ip-address: {}@{}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{here}\"\n  database: \"\"\n  \
         pidfile: \"{here}/nsd.pid\"\n  xfrdfile: \"{here}/xfrd.state\"\n  zonelistfile: \"{here}/zone.list\"\n  \
         xfrdir: \"{here}\"\n  rrl-ratelimit: 0\n  server-count: 1\nremote-control:\n  control-enable: no\n",
        at.ip(),
        at.port()
    );
    for (zone, file) in zones {
        writeln!(config, "zone:\n  name: \"{zone}\"\n  zonefile: \"{file}\"").expect("text");
    }
    fs::write(folder.join("nsd.conf"), config).expect("nsd.conf");
    start(folder, "nsd", "nsd", &["-d", "-c", "nsd.conf"])
}

/// An unbound that asks `forward_to`, with these further lines in its `server` section.
pub(crate) fn unbound(
    folder: &Path,
    name: &str,
    forward_to: SocketAddr,
    at: SocketAddr,
    options: &str,
) -> Daemon {
    let here = folder.display();
    let config = format!(
        "server:\n  interface: {}@{}\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  directory: \"{here}\"\n  \
         pidfile: \"{here}/{name}.pid\"\n  use-syslog: no\n  do-not-query-localhost: no\n  qname-minimisation: no\n  \
         aggressive-nsec: no\n  num-threads: 1\n  {options}\nremote-control:\n  control-enable: no\n\
         forward-zone:\n  name: \".\"\n  forward-addr: {}@{}\n",
        at.ip(),
        at.port(),
        forward_to.ip(),
        forward_to.port()
    );
    let file = format!("{name}.conf");
    fs::write(folder.join(&file), config).expect("unbound.conf");
    start(folder, name, "unbound", &["-d", "-c", &file])
}

fn start(folder: &Path, name: &str, program: &str, arguments: &[&str]) -> Daemon {
    let log = File::create(folder.join(format!("{name}.log"))).expect("a log");
    let child = Command::new(find(program).expect("installed"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    Daemon(child.expect("the server starts"))
}

/// Waits until a server answers this with NOERROR; `names` are those of the servers whose logs tell why it does not.
pub(crate) fn wait_for(folder: &Path, server: SocketAddr, ask: &Ask, names: &[&str]) {
    let start = clock();
    let ask = ask.bytes();
    let good = || {
        let answer = exchange_udp(server, &ask, Duration::from_millis(50))?;
        let answer = Message::from_vec(&answer).ok()?;
        (answer.metadata.response_code == ResponseCode::NoError).then_some(())
    };
    while good().is_none() {
        let said: String = names
            .iter()
            .map(|name| fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default())
            .collect();
        assert!(
            start.elapsed() < PATIENCE,
            "{server} does not answer: {said}"
        );
    }
}
