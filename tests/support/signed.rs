//! A small signed internet on loopback: nsd with zones signed by ldns, an unbound that resolves without validating,
//! as the upstream, and one that validates, as the judge.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{Ask, PATIENCE, clock, exchange_tcp, exchange_udp};

const TOOLS: [&str; 4] = ["ldns-keygen", "ldns-signzone", "nsd", "unbound"];

/// What every zone below `zz.` has. Capital letters in data are part of the test.
const RECORDS: &str = "
@      SOA   ns.zz. host.zz. 1 3600 600 86400 300
@      NS    ns.zz.
@      MX    10 Zebra
@      MX    10 alpha
@      MX    10 Mail
@      TXT   \"apex\"
www    A     192.0.2.1
www    TXT   \"www\"
*.wild TXT   \"wild\"
x.ent  TXT   \"below\"
alias  CNAME www
far    CNAME www.unsigned.zz.
near   CNAME www.rsa.zz.
gone   CNAME missing
old    DNAME nsec.zz.
sub    NS    ns.zz.
";

/// A zone: its name, the algorithm, and how it is signed.
const ZONES: &[(&str, &str, &[&str])] = &[
    ("nsec.zz", "ECDSAP256SHA256", &[]),
    (
        "nsec3.zz",
        "ECDSAP256SHA256",
        &["-n", "-t", "3", "-s", "abcd"],
    ),
    ("optout.zz", "ECDSAP384SHA384", &["-n", "-p"]),
    ("often.zz", "ECDSAP256SHA256", &["-n", "-t", "400"]),
    ("rsa.zz", "RSASHA256", &[]),
    ("ed.zz", "ED25519", &["-n"]),
    ("changed.zz", "ECDSAP256SHA256", &[]),
    ("wrong.zz", "ECDSAP256SHA256", &[]),
    ("bare.zz", "ECDSAP256SHA256", &[]),
    ("unproved.zz", "ECDSAP256SHA256", &[]),
    (
        "expired.zz",
        "ED25519",
        &["-i", "20200101000000", "-e", "20200201000000"],
    ),
    (
        "future.zz",
        "ED25519",
        &["-i", "20800101000000", "-e", "20810101000000"],
    ),
];

/// The running servers.
#[derive(Debug)]
pub(crate) struct Signed {
    _daemons: [Daemon; 3],
    folder: TempDir,
    /// Resolves, and does not validate.
    pub(crate) upstream: SocketAddr,
    /// Validates.
    pub(crate) judge: SocketAddr,
}

#[derive(Debug)]
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // nsd's children end only with a parent that is asked to.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
        self.0.wait().ok();
    }
}

impl Signed {
    /// Signs and starts everything; `None`, said on stderr, where a tool is not installed.
    pub(crate) fn start() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed =
            |tool: &&str| std::env::split_paths(&path).any(|at| at.join(tool).is_file());
        if let Some(tool) = TOOLS.iter().find(|tool| !installed(tool)) {
            let wish = std::env::var("SEKISHO_NETNS").unwrap_or_default();
            assert!(wish != "require", "this needs {tool}");
            eprintln!("skipped: this needs {tool}");
            return None;
        }
        let folder = TempDir::new().expect("a folder");
        let zones = sign_all(folder.path());
        let [authority, upstream, judge] = ports();
        let daemons = [
            nsd(folder.path(), authority, &zones),
            unbound(
                folder.path(),
                "plain",
                authority,
                upstream,
                "module-config: \"iterator\"",
            ),
            unbound(
                folder.path(),
                "judge",
                authority,
                judge,
                "module-config: \"validator iterator\"\n  trust-anchor-file: \"root.anchor\"",
            ),
        ];
        let signed = Self {
            _daemons: daemons,
            folder,
            upstream,
            judge,
        };
        for server in [authority, upstream, judge] {
            signed.wait_for(server);
        }
        Some(signed)
    }

    /// The trust anchor of its root, as a file.
    pub(crate) fn anchor(&self) -> String {
        fs::read_to_string(self.folder.path().join("root.anchor")).expect("the anchor")
    }

    /// What a server says.
    pub(crate) fn asked(&self, server: SocketAddr, ask: &Ask) -> Message {
        let bytes = exchange_tcp(server, &ask.bytes(), PATIENCE).expect("an answer");
        Message::from_vec(&bytes).expect("an answer that parses")
    }

    fn wait_for(&self, server: SocketAddr) {
        let start = clock();
        let ask = Ask::new("www.nsec.zz", RecordType::TXT).bytes();
        let good = || {
            let answer = exchange_udp(server, &ask, Duration::from_millis(50))?;
            let answer = Message::from_vec(&answer).ok()?;
            (answer.metadata.response_code == ResponseCode::NoError).then_some(())
        };
        while good().is_none() {
            let said = ["nsd", "plain", "judge"].map(|name| {
                fs::read_to_string(self.folder.path().join(format!("{name}.log")))
                    .unwrap_or_default()
            });
            assert!(
                start.elapsed() < PATIENCE,
                "{server} does not answer: {}",
                said.concat()
            );
        }
    }
}

/// Signs the zones, each below `zz.`, then `zz.`, then the root; gives their names.
fn sign_all(folder: &Path) -> Vec<String> {
    let mut zz = "@ SOA ns.zz. host.zz. 1 3600 600 86400 300\n@ NS ns.zz.\nns A 127.0.0.1\n\
                  unsigned NS ns.zz.\nleaf TXT \"leaf\"\n"
        .to_owned();
    let mut names: Vec<String> = vec![".".into(), "zz".into(), "unsigned.zz".into()];
    write_zone(folder, "unsigned.zz", RECORDS);
    fs::copy(
        folder.join("unsigned.zz"),
        folder.join("unsigned.zz.signed"),
    )
    .expect("a copy");
    for (zone, algorithm, options) in ZONES {
        write_zone(folder, zone, RECORDS);
        let mut ds = sign(folder, zone, algorithm, options);
        match *zone {
            "changed.zz" => edit(folder, zone, |line| {
                Some(line.replace("\"www\"", "\"changed\""))
            }),
            "bare.zz" => edit(folder, zone, |line| {
                (!line.contains("\tRRSIG\tTXT")).then(|| line.to_owned())
            }),
            "unproved.zz" => edit(folder, zone, |line| {
                (!line.contains("\tNSEC\t")).then(|| line.to_owned())
            }),
            "wrong.zz" => {
                ds = ds.replace(
                    |digit: char| digit.is_ascii_lowercase() && digit.is_ascii_hexdigit(),
                    "0",
                )
            }
            _ => {}
        }
        writeln!(zz, "{zone}. NS ns.zz.\n{ds}").expect("text");
        names.push((*zone).to_owned());
    }
    write_zone(folder, "zz", &zz);
    let ds = sign(folder, "zz", "ECDSAP256SHA256", &[]);
    let root = format!(
        "@ SOA ns.zz. host.zz. 1 3600 600 86400 300\n@ NS ns.zz.\nzz NS ns.zz.\nns.zz A 127.0.0.1\n{ds}\n"
    );
    write_zone(folder, ".", &root);
    let anchor = sign(folder, ".", "ECDSAP256SHA256", &[]);
    fs::write(folder.join("root.anchor"), anchor).expect("the anchor");
    names
}

fn file(zone: &str) -> &str {
    match zone {
        "." => "root",
        zone => zone,
    }
}

fn write_zone(folder: &Path, zone: &str, records: &str) {
    let origin = if zone == "." {
        String::new()
    } else {
        zone.to_owned()
    };
    let text = format!("$ORIGIN {origin}.\n$TTL 300\n{records}");
    fs::write(folder.join(file(zone)), text).expect("a zone");
}

/// Signs a zone with a new key and gives its DS.
fn sign(folder: &Path, zone: &str, algorithm: &str, options: &[&str]) -> String {
    let origin = if zone == "." {
        ".".to_owned()
    } else {
        format!("{zone}.")
    };
    let output = run(
        folder,
        "ldns-keygen",
        &["-a", algorithm, "-b", "2048", "-k", &origin],
    );
    let key = output.trim();
    let signed = format!("{}.signed", file(zone));
    let mut arguments = options.to_vec();
    arguments.extend(["-o", &origin, "-f", &signed, file(zone), key]);
    run(folder, "ldns-signzone", &arguments);
    let ds = fs::read_to_string(folder.join(format!("{key}.ds"))).expect("the DS");
    ds.trim().to_owned()
}

fn edit(folder: &Path, zone: &str, change: impl Fn(&str) -> Option<String>) {
    let path = folder.join(format!("{zone}.signed"));
    let text = fs::read_to_string(&path).expect("a signed zone");
    let lines: Vec<String> = text.lines().filter_map(change).collect();
    fs::write(path, lines.join("\n") + "\n").expect("a signed zone");
}

fn run(folder: &Path, tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool)
        .args(arguments)
        .current_dir(folder)
        .output();
    let output = output.expect("the tool runs");
    assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Ports that were free a moment ago: these servers cannot be told to pick one and say which.
fn ports() -> [SocketAddr; 3] {
    let bound = [(); 3].map(|()| {
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

fn nsd(folder: &Path, at: SocketAddr, zones: &[String]) -> Daemon {
    let here = folder.display();
    let mut config = format!(
        "server:\n  ip-address: {}@{}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{here}\"\n  database: \"\"\n  \
         pidfile: \"{here}/nsd.pid\"\n  xfrdfile: \"{here}/xfrd.state\"\n  zonelistfile: \"{here}/zone.list\"\n  \
         xfrdir: \"{here}\"\n  rrl-ratelimit: 0\n  server-count: 1\nremote-control:\n  control-enable: no\n",
        at.ip(),
        at.port()
    );
    for zone in zones {
        let file = file(zone);
        writeln!(
            config,
            "zone:\n  name: \"{zone}\"\n  zonefile: \"{file}.signed\""
        )
        .expect("text");
    }
    fs::write(folder.join("nsd.conf"), config).expect("nsd.conf");
    start(folder, "nsd", "nsd", &["-d", "-c", "nsd.conf"])
}

fn unbound(
    folder: &Path,
    name: &str,
    authority: SocketAddr,
    at: SocketAddr,
    modules: &str,
) -> Daemon {
    let here = folder.display();
    let config = format!(
        "server:\n  interface: {}@{}\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  directory: \"{here}\"\n  \
         pidfile: \"{here}/{name}.pid\"\n  use-syslog: no\n  do-not-query-localhost: no\n  qname-minimisation: no\n  \
         aggressive-nsec: no\n  num-threads: 1\n  {modules}\nremote-control:\n  control-enable: no\n\
         forward-zone:\n  name: \".\"\n  forward-addr: {}@{}\n",
        at.ip(),
        at.port(),
        authority.ip(),
        authority.port()
    );
    let file = format!("{name}.conf");
    fs::write(folder.join(&file), config).expect("unbound.conf");
    start(folder, name, "unbound", &["-d", "-c", &file])
}

fn start(folder: &Path, name: &str, program: &str, arguments: &[&str]) -> Daemon {
    let log = File::create(folder.join(format!("{name}.log"))).expect("a log");
    let child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    Daemon(child.expect("the server starts"))
}
