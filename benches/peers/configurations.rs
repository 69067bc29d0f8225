//! The configuration of each server: one thread, a cache with room for all, nothing logged, AAAA withheld in its own
//! way, everything asked of one upstream.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::data::LOCAL;
use crate::peers::{Part, Place};

pub(crate) fn sekisho(place: &Place<'_>) -> String {
    let (listen, upstream, cache) = (place.listen, place.upstream, place.cache);
    let address = listen.ip();
    let zones = match place.part {
        Part::Local | Part::Zone => place.zones.local_folder.clone(),
        Part::Forward | Part::Steer => place.folder.join("zones"),
    };
    let zones = zones.display();
    // A gate that clients are pointed to must listen there.
    let (steer, gate) = match place.part {
        Part::Steer => ("address", format!("\"{address}:0\"")),
        _ => ("off", String::new()),
    };
    format!(
        r#"user = ""
[lan]
address = "{address}"
networks = ["127.0.0.0/8"]
[dns]
listen = ["{listen}"]
zones = "{zones}"
threads = 1
[dns.upstream]
servers = ["udp://{upstream}"]
[dns.cache]
entries = {cache}
bytes = "4096MiB"
[steer]
mode = "{steer}"
[proxy]
http = []
socks = []
tls = [{gate}]
plain = [{gate}]
quic = []
[web]
listen = []
admin = []
[log]
level = "warn"
"#
    )
}

pub(crate) fn unbound(place: &Place<'_>) -> String {
    let (listen, upstream) = (place.listen, place.upstream);
    let (address, port) = (listen.ip(), listen.port());
    let folder = place.folder.display();
    let more = match place.part {
        Part::Local => format!("include: \"{}\"\n", place.zones.local_data.display()),
        Part::Zone => {
            let file = place.zones.local_zone.display();
            format!(
                r#"auth-zone:
  name: "{LOCAL}"
  zonefile: "{file}"
  for-downstream: yes
  for-upstream: no
"#
            )
        }
        Part::Forward | Part::Steer => String::new(),
    };
    format!(
        r#"server:
  interface: {address}
  port: {port}
  access-control: 127.0.0.0/8 allow
  do-ip6: no
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  verbosity: 0
  num-threads: 1
  module-config: "iterator"
  private-address: ::/0
  local-zone: "home.arpa." nodefault
  do-not-query-localhost: no
  qname-minimisation: no
  msg-cache-size: 128m
  rrset-cache-size: 256m
  outgoing-range: 4096
  num-queries-per-thread: 2048
  incoming-num-tcp: 256
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: {}@{}
{more}"#,
        upstream.ip(),
        upstream.port()
    )
}

pub(crate) fn dnsmasq(place: &Place<'_>) -> String {
    let (listen, upstream, cache) = (place.listen, place.upstream, place.cache);
    let log = place.folder.join("log");
    format!(
        "user=root\ngroup=root\npid-file=\nlog-facility={}\nlisten-address={}\nport={}\nbind-interfaces\nno-resolv\n\
         no-hosts\nno-poll\nserver={}#{}\ncache-size={cache}\ndns-forward-max=2000\ncache-rr=HTTPS\nfilter-AAAA\n",
        log.display(),
        listen.ip(),
        listen.port(),
        upstream.ip(),
        upstream.port()
    )
}

pub(crate) fn bind(place: &Place<'_>) -> String {
    let (listen, upstream) = (place.listen, place.upstream);
    let folder = place.folder.display();
    format!(
        r#"plugin query "filter-aaaa.so" {{ filter-aaaa-on-v4 yes; filter-aaaa-on-v6 yes; }};
options {{
  directory "{folder}";
  managed-keys-directory "{folder}";
  pid-file none;
  session-keyfile none;
  listen-on port {} {{ {}; }};
  listen-on-v6 {{ none; }};
  allow-query {{ 127.0.0.0/8; }};
  recursion yes;
  forward only;
  forwarders {{ {} port {}; }};
  dnssec-validation no;
  empty-zones-enable no;
  minimal-responses yes;
  prefetch 0;
  querylog no;
  max-cache-size 1g;
  recursive-clients 20000;
  tcp-clients 512;
}};
controls {{ }};
logging {{
  category default {{ null; }};
  category unmatched {{ null; }};
  category query-errors {{ null; }};
}};
"#,
        listen.port(),
        listen.ip(),
        upstream.ip(),
        upstream.port()
    )
}

pub(crate) fn kresd(place: &Place<'_>) -> String {
    let (listen, upstream) = (place.listen, place.upstream);
    let folder = place.folder.display();
    format!(
        r"net.ipv6 = false
net.listen('{}', {}, {{ kind = 'dns' }})
log_level('crit')
trust_anchors.remove('.')
for _, name in ipairs({{ 'ta_update', 'ta_signal_query', 'priming', 'detect_time_skew' }}) do modules.unload(name) end
cache.open(512 * MB, 'lmdb://{folder}/cache')
local empty = policy.ANSWER({{}}, true)
policy.add(function (_, query) if query.stype == kres.type.AAAA then return empty end end)
policy.add(policy.all(policy.FORWARD({{ '{}@{}' }})))
",
        listen.ip(),
        listen.port(),
        upstream.ip(),
        upstream.port()
    )
}

/// Read by the configuration that [`recursor`] makes.
pub(crate) const RECURSOR_SCRIPT: &str = r#"function preresolve(query)
  if query.qtype ~= pdns.AAAA then return false end
  query:addRecord(pdns.SOA, "withheld. nobody.withheld. 1 3600 900 604800 300", 2, 300, ".")
  query.rcode = pdns.NOERROR
  return true
end
"#;

pub(crate) fn recursor(place: &Place<'_>) -> String {
    let folder = place.folder.display();
    format!(
        r"local-address={}
local-port={}
allow-from=127.0.0.0/8
dont-query=
forward-zones-recurse=.={}
lua-dns-script={folder}/withhold.lua
socket-dir={folder}
daemon=no
disable-syslog=yes
quiet=yes
loglevel=0
dnssec=off
security-poll-suffix=
threads=1
reuseport=yes
pdns-distributes-queries=no
max-cache-entries=1000000
max-packetcache-entries={}
max-mthreads=4096
max-tcp-clients=512
max-tcp-per-client=0
",
        place.listen.ip(),
        place.listen.port(),
        place.upstream,
        place.cache
    )
}

pub(crate) fn dnsdist(place: &Place<'_>) -> String {
    let (listen, upstream, cache) = (place.listen, place.upstream, place.cache);
    format!(
        r"setSecurityPollSuffix('')
setACL({{ '127.0.0.0/8' }})
setLocal('{listen}', {{ reusePort = true }})
setMaxTCPClientThreads(1)
setMaxUDPOutstanding(65535)
setVerboseHealthChecks(false)
newServer({{ address = '{upstream}', sockets = 4, checkName = 'com.', checkType = 'SOA', checkInterval = 5 }})
getPool(''):setCache(newPacketCache({cache}, {{ maxTTL = 86400, minTTL = 0, numberOfShards = 8 }}))
addAction(QTypeRule(DNSQType.AAAA),
  NegativeAndSOAAction(false, '.', 300, 'withheld.', 'nobody.withheld.', 1, 3600, 900, 604800, 300))
"
    )
}

pub(crate) fn smartdns(place: &Place<'_>) -> String {
    let (listen, upstream, cache) = (place.listen, place.upstream, place.cache);
    let log = place.folder.join("log");
    format!(
        "bind {listen}\nbind-tcp {listen}\nserver {upstream}\ncache-size {cache}\ncache-persist no\nprefetch-domain no\n\
         serve-expired no\nspeed-check-mode none\ndualstack-ip-selection no\nforce-AAAA-SOA yes\naudit-enable no\n\
         log-level fatal\nlog-file {}\n",
        log.display()
    )
}

/// An authoritative server with these zones and their files.
pub(crate) fn nsd(folder: &Path, listen: SocketAddr, zones: &[(String, PathBuf)]) -> String {
    let (address, port) = (listen.ip(), listen.port());
    let folder = folder.display();
    let mut text = format!(
        r#"server:
  ip-address: {address}@{port}
  do-ip6: no
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: "{folder}/pid"
  xfrdfile: "{folder}/xfrd"
  xfrdir: "{folder}"
  zonelistfile: "{folder}/zones.list"
  logfile: "{folder}/log"
  server-count: 1
  tcp-count: 512
  rrl-ratelimit: 0
  refuse-any: no
remote-control:
  control-enable: no
"#
    );
    for (name, file) in zones {
        let file = file.display();
        // Writing into a string does not fail.
        let _written = write!(text, "zone:\n  name: \"{name}\"\n  zonefile: \"{file}\"\n");
    }
    text
}
