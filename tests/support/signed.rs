//! A small signed internet on loopback: nsd with zones signed by ldns, an unbound that resolves without validating,
//! as the upstream, and one that validates, as the judge.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use tempfile::TempDir;

use super::daemons::{Daemon, installed, nsd, output, ports, unbound, wait_for};
use super::{Ask, PATIENCE, exchange_tcp};

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

impl Signed {
    /// Signs and starts everything; `None`, said on stderr, where a tool is not installed.
    pub(crate) fn start() -> Option<Self> {
        if !installed(&TOOLS) {
            return None;
        }
        let folder = TempDir::new().expect("a folder");
        let files: Vec<(String, String)> = sign_all(folder.path())
            .into_iter()
            .map(|zone| {
                let file = format!("{}.signed", file(&zone));
                (zone, file)
            })
            .collect();
        let [authority, upstream, judge] = ports();
        let daemons = [
            nsd(folder.path(), authority, &files),
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
        let ask = Ask::new("www.nsec.zz", RecordType::TXT);
        for server in [authority, upstream, judge] {
            let folder = signed.folder.path();
            wait_for(folder, server, &ask, &["nsd", "plain", "judge"]);
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

/// The file of a zone; the signed one has `.signed` behind it.
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
pub(crate) fn sign(folder: &Path, zone: &str, algorithm: &str, options: &[&str]) -> String {
    let origin = if zone == "." {
        ".".to_owned()
    } else {
        format!("{zone}.")
    };
    let key = output(
        folder,
        "ldns-keygen",
        &["-a", algorithm, "-b", "2048", "-k", &origin],
    );
    let key = key.trim();
    let signed = format!("{}.signed", file(zone));
    let mut arguments = options.to_vec();
    arguments.extend(["-o", &origin, "-f", &signed, file(zone), key]);
    output(folder, "ldns-signzone", &arguments);
    let ds = fs::read_to_string(folder.join(format!("{key}.ds"))).expect("the DS");
    ds.trim().to_owned()
}

fn edit(folder: &Path, zone: &str, change: impl Fn(&str) -> Option<String>) {
    let path = folder.join(format!("{zone}.signed"));
    let text = fs::read_to_string(&path).expect("a signed zone");
    let lines: Vec<String> = text.lines().filter_map(change).collect();
    fs::write(path, lines.join("\n") + "\n").expect("a signed zone");
}
