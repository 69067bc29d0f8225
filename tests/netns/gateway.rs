//! The home gateway: IPv4 through NAT and a slow link, IPv6 passed straight through, router advertisements and DHCP.

use std::fs;
use std::path::Path;

use crate::home::{GATE, GATEWAY, GATEWAY_IPV6, cable};
use crate::namespace::{Daemon, Namespace};

/// The LAN's IPv6 network.
const LAN_IPV6: &str = "2001:db8:77::/64";
/// What the IPv4 path carries each way.
const IPV4_RATE: &str = "24mbit";

const NAT: &str = "
table ip nat {
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    oifname \"wan4\" masquerade
  }
}
";

/// Two cables to the internet: IPv4 as by PPPoE, slow, and IPv6 as by IPoE.
pub(crate) fn link(gateway: &Namespace, internet: &Namespace) {
    // Addresses are given by hand; looking for duplicates would cost a second each.
    gateway.sysctl("ipv6/conf/default/accept_dad", "0");
    gateway.sysctl("ipv6/conf/all/forwarding", "1");
    gateway.sysctl("ipv4/ip_forward", "1");

    cable((gateway, "wan4"), (internet, "home4"));
    gateway.ip("addr add 192.0.2.2/30 dev wan4");
    internet.ip("addr add 192.0.2.1/30 dev home4");
    cable((gateway, "wan6"), (internet, "home6"));
    gateway.ip("addr add 2001:db8:6::2/64 dev wan6");
    internet.ip("addr add 2001:db8:6::1/64 dev home6");
    for end in ["wan4", "wan6"] {
        gateway.ip(&format!("link set {end} up"));
    }
    for end in ["home4", "home6"] {
        internet.ip(&format!("link set {end} up"));
    }
    gateway.ip("route add default via 192.0.2.1");
    gateway.ip("-6 route add default via 2001:db8:6::1");
    internet.ip(&format!("-6 route add {LAN_IPV6} via 2001:db8:6::2"));

    for (machine, end) in [(gateway, "wan4"), (internet, "home4")] {
        machine.run(&format!(
            "tc qdisc add dev {end} root tbf rate {IPV4_RATE} burst 64kb latency 100ms"
        ));
    }
    gateway.nft(NAT);
}

/// The LAN: a bridge in the gateway, a cable to each machine.
pub(crate) fn lan(gateway: &Namespace, gate: &Namespace, client: &Namespace) {
    gateway.ip("link add lan type bridge forward_delay 0 mcast_snooping 0");
    gateway.ip(&format!("addr add {GATEWAY}/24 dev lan"));
    gateway.ip(&format!("addr add {GATEWAY_IPV6}/64 dev lan"));
    client.sysctl("ipv6/conf/all/disable_ipv6", "1");
    client.sysctl("ipv6/conf/default/disable_ipv6", "1");
    for (machine, port) in [(gate, "port-gate"), (client, "port-client")] {
        cable((gateway, port), (machine, "lan"));
        gateway.ip(&format!("link set {port} master lan up"));
    }
    gateway.ip("link set lan up");
}

/// Router advertisements for the gate, addresses by DHCP for the client: the gate as its DNS server (option 6) and
/// its proxy settings (option 252).
pub(crate) fn start(gateway: &Namespace, folder: &Path) -> Vec<Daemon> {
    let radvd = folder.join("radvd.conf");
    let advertisement = format!(
        "interface lan {{\n  AdvSendAdvert on;\n  MinRtrAdvInterval 3;\n  MaxRtrAdvInterval 4;\n  \
         prefix {LAN_IPV6} {{ }};\n}};\n"
    );
    fs::write(&radvd, advertisement).expect("radvd.conf");
    let mut advertise = gateway.command("radvd");
    advertise.args(["--nodaemon", "--logmethod", "stderr", "--config"]);
    advertise
        .arg(&radvd)
        .arg("--pidfile")
        .arg(folder.join("radvd.pid"));

    let mut lend = gateway.command("dnsmasq");
    lend.args([
        "--keep-in-foreground",
        "--log-facility=-",
        "--conf-file=/dev/null",
        "--user=root",
        "--pid-file=",
        "--port=0",
        "--interface=lan",
        "--no-ping",
        "--dhcp-authoritative",
        "--dhcp-range=192.168.77.100,192.168.77.150,1h",
        &format!("--dhcp-option=option:router,{GATEWAY}"),
        &format!("--dhcp-option=option:dns-server,{GATE}"),
        &format!("--dhcp-option=252,http://{GATE}/wpad.dat"),
        &format!("--dhcp-leasefile={}", folder.join("leases").display()),
    ]);
    vec![
        Daemon::start("radvd", folder, &mut advertise),
        Daemon::start("dnsmasq", folder, &mut lend),
    ]
}
