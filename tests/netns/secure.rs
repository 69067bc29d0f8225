//! A signed zone, and the provider's validating resolver: unbound, over UDP, TCP, TLS and HTTPS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::home::Home;
use crate::internet::RESOLVER;
use crate::namespace::{Daemon, must};
use crate::wait::{SOON, until};

/// Where the validating resolver is.
pub(crate) const VALIDATOR: &str = "203.0.113.54";
/// The name of its certificate.
pub(crate) const VALIDATOR_NAME: &str = "dns.provider.net";

/// `bogus` gets another address once it is signed.
const ZONE: &str = "
$ORIGIN secure.net.
$TTL 300
@      SOA   ns.origin.net. hostmaster 1 3600 600 86400 300
@      NS    ns.origin.net.
www    A     203.0.113.10
www    AAAA  2001:db8:100::10
four   A     203.0.113.30
alias  CNAME four
*.wild A     203.0.113.30
bogus  A     203.0.113.66
many   TXT   one
";

/// Signs the zone with a new key; the key's record is then in `secure.net.anchor`.
pub(crate) fn sign_zone(folder: &Path) {
    let run = |program: &str, arguments: &[&str]| {
        must(Command::new(program).current_dir(folder).args(arguments))
    };
    fs::write(folder.join("secure.net.zone"), ZONE).expect("a zone");
    let key = run(
        "ldns-keygen",
        &["-a", "ECDSAP256SHA256", "-k", "secure.net"],
    );
    let key = key.trim();
    let signed = folder.join("secure.net.signed");
    run(
        "ldns-signzone",
        &["-f", "secure.net.signed", "secure.net.zone", key],
    );
    fs::rename(
        folder.join(format!("{key}.key")),
        folder.join("secure.net.anchor"),
    )
    .expect("the key");
    let text = fs::read_to_string(&signed).expect("the signed zone");
    let text = text.replace("203.0.113.66", "203.0.113.67");
    fs::write(&signed, text).expect("the signed zone");
}

/// A running unbound.
#[derive(Debug)]
pub(crate) struct Validator<'a> {
    home: &'a Home,
    config: PathBuf,
    unbound: Option<Daemon>,
}

impl<'a> Validator<'a> {
    /// Gives it its address and a certificate by the home's test authority, and starts it.
    pub(crate) fn start(home: &'a Home) -> Self {
        let folder = home.folder();
        home.internet
            .machine()
            .ip(&format!("addr add {VALIDATOR} dev lo"));
        let extensions = format!(
            "[req]\ndistinguished_name = name\n[name]\n[leaf]\nsubjectAltName = DNS:{VALIDATOR_NAME}\n"
        );
        fs::write(folder.join("validator.cnf"), extensions).expect("validator.cnf");
        let certify = "req -x509 -config validator.cnf -extensions leaf -key origin.key -days 2 -subj /CN=validator \
             -CA authority.pem -CAkey authority.key -out validator.pem";
        let mut openssl = Command::new("openssl");
        must(openssl.current_dir(folder).args(certify.split(' ')));

        let here = folder.display();
        let config = folder.join("unbound.conf");
        let text = format!(
            "server:\n  interface: {VALIDATOR}@53\n  interface: {VALIDATOR}@853\n  interface: {VALIDATOR}@443\n  \
             tls-port: 853\n  https-port: 443\n  tls-service-key: \"{here}/origin.key\"\n  \
             tls-service-pem: \"{here}/validator.pem\"\n  access-control: 0.0.0.0/0 allow\n  do-daemonize: no\n  \
             username: \"\"\n  chroot: \"\"\n  directory: \"{here}\"\n  pidfile: \"{here}/unbound.pid\"\n  \
             use-syslog: no\n  do-ip6: no\n  qname-minimisation: no\n  num-threads: 1\n  ede: yes\n  \
             module-config: \"validator iterator\"\n  trust-anchor-file: \"{here}/secure.net.anchor\"\n\
             remote-control:\n  control-enable: no\nforward-zone:\n  name: \".\"\n  forward-addr: {RESOLVER}\n"
        );
        fs::write(&config, text).expect("unbound.conf");
        let mut validator = Self {
            home,
            config,
            unbound: None,
        };
        validator.resume();
        validator
    }

    /// Ends it as a crash would: connections are reset, nothing is said.
    pub(crate) fn crash(&mut self) {
        self.unbound = None;
    }

    /// Starts it anew, and returns when it listens.
    pub(crate) fn resume(&mut self) {
        let machine = self.home.internet.machine();
        let mut command = machine.command("unbound");
        command.args(["-d", "-c"]).arg(&self.config);
        let unbound = Daemon::start("unbound", self.home.folder(), &mut command);
        self.unbound = Some(unbound);
        until("unbound listens", SOON, || {
            let tcp = machine.run("ss -Hltn");
            [53, 443, 853]
                .iter()
                .all(|port| tcp.contains(&format!("{VALIDATOR}:{port} ")))
                .then_some(())
        });
    }
}
