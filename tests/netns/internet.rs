//! The internet: one name server, origins of every kind of reachability, and a stranger's way in.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::home::cable;
use crate::namespace::{Daemon, Namespace, must};
use crate::secure;
use crate::wait::{SOON, until};

/// The provider's name server.
pub(crate) const RESOLVER: &str = "203.0.113.53";
/// Has IPv4 and IPv6.
pub(crate) const DUAL: &str = "dual.origin.net";
/// Has only IPv6.
pub(crate) const SIX: &str = "six.origin.net";
/// Has only IPv4.
pub(crate) const FOUR: &str = "four.origin.net";
/// Has IPv4, and an IPv6 address that never answers.
pub(crate) const DEAD: &str = "dead6.origin.net";
/// The IPv4 and IPv6 addresses of each origin that answer.
pub(crate) const ORIGINS: &[(&str, Option<&str>, Option<&str>)] = &[
    (DUAL, Some(DUAL_IPV4), Some("2001:db8:100::10")),
    (SIX, None, Some("2001:db8:100::20")),
    (FOUR, Some("203.0.113.30"), None),
    (DEAD, Some("203.0.113.40"), None),
];
/// Names, addresses and certificates without a server: tests start their own there. Dual-stack, and IPv6 only.
pub(crate) const OWN: &[(&str, Option<&str>, Option<&str>)] = &[
    (OWN_DUAL, Some("203.0.113.60"), Some(OWN_DUAL_IPV6)),
    (OWN_SIX, None, Some(OWN_SIX_IPV6)),
];
/// Has IPv4 and IPv6, and no server.
pub(crate) const OWN_DUAL: &str = "own.origin.net";
/// The IPv6 address of [`OWN_DUAL`].
pub(crate) const OWN_DUAL_IPV6: &str = "2001:db8:100::60";
/// Has only IPv6, and no server.
pub(crate) const OWN_SIX: &str = "own6.origin.net";
/// The IPv6 address of [`OWN_SIX`].
pub(crate) const OWN_SIX_IPV6: &str = "2001:db8:100::61";
/// The IPv4 address of the dual-stack origin.
pub(crate) const DUAL_IPV4: &str = "203.0.113.10";
/// The IPv6 address of [`DEAD`]: routed, and dropped without a word.
pub(crate) const DEAD_IPV6: &str = "2001:db8:dead::40";
/// The path and size in bytes of a large file that every origin has.
pub(crate) const LARGE: (&str, u64) = ("/large", 30_000_000);

const ROOT_ZONE: &str = "
$ORIGIN .
@           3600 SOA ns.origin.net. hostmaster.origin.net. 1 3600 600 86400 300
@           3600 NS  ns.origin.net.
origin.net. 3600 NS  ns.origin.net.
";

const ZONE: &str = "
$ORIGIN origin.net.
@      3600 SOA   ns hostmaster 1 3600 600 86400 300
@      3600 NS    ns
@      3600 MX    10 dual
ns     3600 A     203.0.113.53
ns     3600 AAAA  2001:db8:100::53
dual   300  A     203.0.113.10
dual   300  AAAA  2001:db8:100::10
dual   300  HTTPS 1 . alpn=h2,h3 ipv4hint=203.0.113.10 ipv6hint=2001:db8:100::10
six    300  AAAA  2001:db8:100::20
six    300  HTTPS 1 . alpn=h2 ipv6hint=2001:db8:100::20
four   300  A     203.0.113.30
dead6  300  A     203.0.113.40
short  1    A     203.0.113.10
short  1    AAAA  2001:db8:100::10
dead6  300  AAAA  2001:db8:dead::40
own    300  A     203.0.113.60
own    300  AAAA  2001:db8:100::60
own6   300  AAAA  2001:db8:100::61
www    300  CNAME edge
edge   300  CNAME dual
0010   10   A     203.0.113.10
; Everything that leads a browser past the gate; the ech is well-formed, for the public name cover.origin.net.
hints  300  A     203.0.113.10
hints  300  AAAA  2001:db8:100::10
hints  300  HTTPS 1 . alpn=h3,h2 ipv4hint=203.0.113.10 ipv6hint=2001:db8:100::10 ech=AEP+DQA/BwAgACAtcRZCtyawRAFifKn7rDL1yFMPsZA8xNsCJYcXkhpIAQAEAAEAAQAQY292ZXIub3JpZ2luLm5ldAAA
hints6 300  AAAA  2001:db8:100::20
hints6 300  HTTPS 1 . alpn=h3,h2 ipv4hint=203.0.113.10 ipv6hint=2001:db8:100::20 ech=AEP+DQA/BwAgACAtcRZCtyawRAFifKn7rDL1yFMPsZA8xNsCJYcXkhpIAQAEAAEAAQAQY292ZXIub3JpZ2luLm5ldAAA
";

/// The machine with the name server and the origins.
#[derive(Debug)]
pub(crate) struct Internet {
    nginx: Daemon,
    nsd: Daemon,
    /// The certificate that vouches for the origins.
    pub(crate) authority: PathBuf,
    /// The public key of all origins, as browsers want it named: SHA-256 of the SPKI, in base64.
    pub(crate) key_digest: String,
    access_log: PathBuf,
    machine: Namespace,
}

impl Internet {
    /// Starts name server and origins, and waits until they answer.
    pub(crate) fn start(machine: Namespace, folder: &Path) -> Self {
        for (_, ipv4, ipv6) in ORIGINS.iter().chain(OWN) {
            for address in [ipv4, ipv6].into_iter().flatten() {
                machine.ip(&format!("addr add {address} dev lo"));
            }
        }
        machine.ip(&format!("addr add {RESOLVER} dev lo"));
        machine.ip("addr add 2001:db8:100::53 dev lo");
        machine.ip(&format!("-6 route add blackhole {DEAD_IPV6}"));

        let authority = certificates(folder);
        let key_digest = must(Command::new("sh").current_dir(folder).args([
            "-c",
            "openssl pkey -in origin.key -pubout -outform der | openssl dgst -sha256 -binary | openssl base64",
        ]));
        let nsd = nsd(&machine, folder);
        let nginx = nginx(&machine, folder);
        until("the name server and the origins listen", SOON, || {
            let tcp = machine.run("ss -Hltn");
            [":53 ", ":80 ", ":443 "]
                .iter()
                .all(|port| tcp.contains(port))
                .then_some(())
        });
        Self {
            nginx,
            nsd,
            authority,
            key_digest: key_digest.trim().to_owned(),
            access_log: folder.join("access.log"),
            machine,
        }
    }

    /// The address that the origin saw behind a request it was asked for: `mark` is a part of the request's path.
    pub(crate) fn source_of(&self, origin: &str, mark: &str) -> String {
        until(&format!("{origin} logs {mark}"), SOON, || {
            let log = fs::read_to_string(&self.access_log).ok()?;
            let line = log
                .lines()
                .find(|line| line.split(' ').next() == Some(origin) && line.contains(mark))?;
            line.split(' ').nth(1).map(str::to_owned)
        })
    }

    /// Every request that the origin has answered by now: the address it came from, then what was asked for.
    pub(crate) fn requests(&self, origin: &str, mark: &str) -> Vec<(String, String)> {
        let log = fs::read_to_string(&self.access_log).unwrap_or_default();
        let seen = log.lines().filter_map(|line| {
            let (name, rest) = line.split_once(' ')?;
            let (source, request) = rest.split_once(' ')?;
            (name == origin && request.contains(mark))
                .then(|| (source.to_owned(), request.to_owned()))
        });
        seen.collect()
    }

    /// A folder that every origin shows as `/files/`.
    pub(crate) fn files(&self) -> PathBuf {
        self.access_log.with_file_name("files")
    }

    /// What clients have put under `/taken/` at any origin.
    pub(crate) fn taken(&self, name: &str) -> PathBuf {
        self.access_log.with_file_name("taken").join(name)
    }

    /// The server names of all TLS sessions that the origins have seen by now, one for each request.
    pub(crate) fn server_names(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.access_log).unwrap_or_default();
        let names = log.lines().filter_map(|line| line.split(' ').next_back());
        names.map(str::to_owned).collect()
    }

    /// Namespace of the name server and the origins.
    pub(crate) fn machine(&self) -> &Namespace {
        &self.machine
    }

    /// What its servers said.
    pub(crate) fn said(&self) -> String {
        self.nsd.said() + &self.nginx.said()
    }
}

/// The stranger's cable, and the routes between strangers and homes.
pub(crate) fn link_stranger(internet: &Namespace, stranger: &Namespace) {
    for machine in [internet, stranger] {
        machine.sysctl("ipv6/conf/default/accept_dad", "0");
    }
    internet.sysctl("ipv6/conf/all/forwarding", "1");
    internet.sysctl("ipv4/ip_forward", "1");
    cable((internet, "stranger"), (stranger, "wan"));
    internet.ip("addr add 2001:db8:5::1/64 dev stranger");
    internet.ip("link set stranger up");
    stranger.ip("addr add 2001:db8:5::2/64 dev wan");
    stranger.ip("link set wan up");
    stranger.ip("-6 route add default via 2001:db8:5::1");
}

/// A test authority, and a certificate by it for every origin, all with one key.
fn certificates(folder: &Path) -> PathBuf {
    let openssl = |line: &str| {
        must(
            Command::new("openssl")
                .current_dir(folder)
                .args(line.split_whitespace()),
        )
    };
    let requests = ORIGINS.iter().chain(OWN).map(|(name, ..)| {
        format!("[{name}]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:{name}\n")
    });
    let config = "[req]\ndistinguished_name = name\n[name]\n\
                  [authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n"
        .to_owned()
        + &requests.collect::<String>();
    fs::write(folder.join("openssl.cnf"), config).expect("openssl.cnf");
    for key in ["authority", "origin"] {
        openssl(&format!(
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key}.key"
        ));
    }
    openssl(
        "req -x509 -config openssl.cnf -extensions authority -key authority.key -days 2 \
         -subj /CN=sekisho-test-authority -out authority.pem",
    );
    for (name, ..) in ORIGINS.iter().chain(OWN) {
        openssl(&format!(
            "req -x509 -config openssl.cnf -extensions {name} -key origin.key -days 2 -subj /CN={name} \
             -CA authority.pem -CAkey authority.key -out {name}.pem"
        ));
    }
    folder.join("authority.pem")
}

fn nsd(machine: &Namespace, folder: &Path) -> Daemon {
    let here = folder.display();
    let config = format!(
        "server:\n  ip-address: {RESOLVER}\n  ip-address: 2001:db8:100::53\n  username: \"\"\n  chroot: \"\"\n  \
         zonesdir: \"{here}\"\n  database: \"\"\n  pidfile: \"{here}/nsd.pid\"\n  \
         xfrdfile: \"{here}/xfrd.state\"\n  zonelistfile: \"{here}/zone.list\"\n  xfrdir: \"{here}\"\n  \
         rrl-ratelimit: 0\nremote-control:\n  control-enable: no\n\
         zone:\n  name: \".\"\n  zonefile: root.zone\nzone:\n  name: origin.net\n  zonefile: origin.net.zone\n\
         zone:\n  name: secure.net\n  zonefile: secure.net.signed\n"
    );
    fs::write(folder.join("nsd.conf"), config).expect("nsd.conf");
    fs::write(folder.join("root.zone"), ROOT_ZONE).expect("root.zone");
    fs::write(folder.join("origin.net.zone"), ZONE).expect("origin.net.zone");
    secure::sign_zone(folder);
    let mut command = machine.command("nsd");
    command.args(["-d", "-c"]).arg(folder.join("nsd.conf"));
    Daemon::start("nsd", folder, &mut command)
}

fn nginx(machine: &Namespace, folder: &Path) -> Daemon {
    let here = folder.display();
    let servers = ORIGINS.iter().map(|(name, ipv4, ipv6)| {
        let ipv6 = ipv6.map(|address| format!("[{address}]"));
        let listen = [ipv4.map(str::to_owned), ipv6].into_iter().flatten().map(|address| {
            format!("    listen {address}:80;\n    listen {address}:443 ssl http2;\n")
        });
        format!(
            "  server {{\n    server_name {name};\n{}    ssl_certificate {here}/{name}.pem;\n    \
             ssl_certificate_key {here}/origin.key;\n    \
             location = {} {{ alias {here}/large; }}\n    \
             location /files/ {{ root {here}; }}\n    \
             location /taken/ {{ root {here}; dav_methods PUT; create_full_put_path on; client_max_body_size 0; }}\n    \
             location / {{ return 200 \"<title>{name}</title>\\n<p>{name} was reached by $scheme from $remote_addr</p>\\n\"; }}\n  }}\n",
            listen.collect::<String>(),
            LARGE.0,
        )
    });
    let spools = ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"]
        .map(|spool| format!("  {spool}_temp_path {here}/{spool};\n"));
    let config = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {here}/nginx.pid;\nerror_log stderr;\nevents {{ }}\n\
         http {{\n  default_type text/html;\n  log_format seen '$server_name $remote_addr $scheme \"$request\" $host $ssl_server_name';\n  \
         access_log {here}/access.log seen;\n{}{}}}\n",
        spools.concat(),
        servers.collect::<String>(),
    );
    fs::write(folder.join("nginx.conf"), config).expect("nginx.conf");
    fs::create_dir(folder.join("files")).expect("a folder");
    // Bytes that a hole or a repeated block in the copy would not match.
    let random = File::open("/dev/urandom").expect("random bytes");
    let mut large = File::create(folder.join("large")).expect("the large file");
    io::copy(&mut random.take(LARGE.1), &mut large).expect("random bytes in it");
    let mut command = machine.command("nginx");
    command
        .arg("-e")
        .arg("stderr")
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"));
    Daemon::start("nginx", folder, &mut command)
}
