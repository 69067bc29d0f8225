//! The client: a device without IPv6 that knows only what DHCP told it; what dig and curl see on it.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::home::Home;
use crate::namespace::{Namespace, must};

/// What DHCP told the client.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// Option 6.
    pub(crate) dns: String,
    /// Option 252: where its proxy settings are.
    pub(crate) wpad: String,
}

/// Brings the link up and runs a DHCP client until it has an address.
pub(crate) fn ask_for_address(client: &Namespace, folder: &Path) -> Lease {
    let script = folder.join("dhcp-script");
    let told = folder.join("lease");
    let commands = format!(
        "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip addr add $ip/$mask dev $interface\n\
         ip route add default via $router\necho nameserver $dns > {}\necho $ip $dns $wpad > {}\n",
        client.resolv_conf().display(),
        told.display(),
    );
    fs::write(&script, commands).expect("a script for DHCP");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("0755");
    client.ip("link set lan up");
    must(
        client
            .command("udhcpc")
            .args([
                "-f", "-q", "-n", "-t", "10", "-T", "1", "-O", "wpad", "-i", "lan", "-s",
            ])
            .arg(&script),
    );
    let told = fs::read_to_string(told).expect("a lease");
    let mut words = told.split_whitespace();
    let mut word = || {
        words
            .next()
            .expect("address, DNS server, WPAD URL")
            .to_owned()
    };
    Lease {
        address: word().parse().expect("an IPv4 address"),
        dns: word(),
        wpad: word(),
    }
}

/// An answer, as dig prints it.
#[derive(Debug)]
pub(crate) struct Answer(pub(crate) String);

impl Answer {
    /// Whether the line of the status says so.
    pub(crate) fn is(&self, status: &str) -> bool {
        self.0.contains(&format!("status: {status},"))
    }

    /// Whether the header has this flag, as dig writes it.
    pub(crate) fn flag(&self, flag: &str) -> bool {
        let flags = self.0.split_once(";; flags:").map_or("", |(_, rest)| rest);
        let flags = flags.split_once(';').map_or("", |(flags, _)| flags);
        flags.split_whitespace().any(|one| one == flag)
    }

    /// How long dig says that it waited.
    pub(crate) fn time(&self) -> Duration {
        let time = self.0.split_once(";; Query time: ").expect("a time").1;
        let time = time.split_once(" msec").expect("milliseconds").0;
        Duration::from_millis(time.parse().expect("a number"))
    }

    /// The TTL of the first record of the answer.
    pub(crate) fn ttl(&self) -> u32 {
        let records = self.section("ANSWER");
        let ttl = records.first().and_then(|record| record.split(' ').nth(1));
        let ttl = ttl.unwrap_or_else(|| panic!("no record: {}", self.0));
        ttl.parse().expect("a number")
    }

    /// The records of a section (`ANSWER`, `AUTHORITY`, `ADDITIONAL`), each with one space between its fields.
    pub(crate) fn section(&self, section: &str) -> Vec<String> {
        let head = format!(";; {section} SECTION:");
        self.0
            .lines()
            .skip_while(|line| *line != head)
            .skip(1)
            .take_while(|line| !line.is_empty())
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// The type and data of each record of the answer.
    pub(crate) fn data(&self) -> Vec<String> {
        let records = self.section("ANSWER");
        let data = |record: &String| record.split(' ').skip(3).collect::<Vec<_>>().join(" ");
        records.iter().map(data).collect()
    }

    /// Whether a record of this type is in any section.
    pub(crate) fn has(&self, kind: &str) -> bool {
        let records = self.0.lines().filter(|line| !line.starts_with(';'));
        records
            .into_iter()
            .any(|line| line.split_whitespace().nth(3) == Some(kind))
    }
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The status of the last response.
    pub(crate) status: u16,
    /// From the first byte of DNS to the last of the body.
    pub(crate) time: Duration,
    /// Where curl connected to.
    pub(crate) peer: String,
    /// The body's file.
    pub(crate) file: PathBuf,
}

impl Fetched {
    /// The body, where it is text.
    pub(crate) fn text(&self) -> String {
        fs::read_to_string(&self.file).expect("a text")
    }
}

impl Home {
    /// The client asks the server that DHCP named, by its own resolv.conf.
    pub(crate) fn dig(&self, question: &str) -> Answer {
        let mut command = self.client.command("dig");
        command
            .args(["+time=5", "+tries=1"])
            .args(question.split_whitespace());
        Answer(must(&mut command))
    }

    /// The client fetches a URL, by what its resolver says.
    ///
    /// # Errors
    ///
    /// What curl said.
    pub(crate) fn fetch(&self, url: &str, options: &[&str]) -> Result<Fetched, String> {
        self.curl(self.client.command("curl"), url, options)
    }

    /// The client fetches a URL through the forward proxy that its environment names.
    ///
    /// # Errors
    ///
    /// What curl said.
    pub(crate) fn fetch_by_proxy(&self, url: &str, options: &[&str]) -> Result<Fetched, String> {
        let proxy = format!("http://{}:3128", crate::home::GATE);
        let mut command = self.client.command("curl");
        command.env("http_proxy", &proxy).env("https_proxy", &proxy);
        self.curl(command, url, options)
    }

    /// The gate itself fetches a URL, without sekisho.
    ///
    /// # Errors
    ///
    /// What curl said.
    pub(crate) fn fetch_from_gate(&self, url: &str, options: &[&str]) -> Result<Fetched, String> {
        self.curl(self.gate.command("curl"), url, options)
    }

    fn curl(&self, mut command: Command, url: &str, options: &[&str]) -> Result<Fetched, String> {
        let file = self.folder().join("fetched");
        fs::remove_file(&file).ok();
        command
            .args([
                "-q",
                "--silent",
                "--show-error",
                "--max-time",
                "60",
                "--output",
            ])
            .arg(&file)
            .arg("--cacert")
            .arg(&self.internet.authority)
            .args([
                "--write-out",
                "%{http_code} %{time_total} %{remote_ip} %{http_connect}",
            ])
            .args(options)
            .arg(url);
        let output = command.output().expect("curl");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{url}: {}: {said}: {error}", output.status));
        }
        let mut words = said.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        Ok(Fetched {
            status: word().parse().expect("a status"),
            time: Duration::from_secs_f64(word().parse().expect("seconds")),
            peer: word(),
            file,
        })
    }
}
