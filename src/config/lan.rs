//! PURE. `[lan]`: the LAN, and the gate's place in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::file::Section;
use super::value::{self, Wrong};
use crate::net::{Acl, Interfaces, ListenAddr, special_purpose};

/// The LAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lan {
    /// The gate's own IPv4 address on the LAN: what steered names are answered with.
    pub address: Ipv4Addr,
    /// The networks of the clients, loopback included. Everyone else is refused.
    pub networks: Acl,
    /// The local domain.
    pub domain: Name,
    /// Whether other than private and loopback addresses may be listened on.
    pub allow_public: bool,
}

/// What other sections need to know to read their listen keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listening {
    address: Ipv4Addr,
    allow_public: bool,
}

/// The networks of this machine itself, which is always a client.
const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];

impl Lan {
    /// Reads `[lan]` on a machine with these interfaces. The second part is there even where the first is not, so that
    /// the other sections can be read.
    pub(super) fn read(
        mut section: Section<'_, '_>,
        interfaces: &Interfaces,
    ) -> (Option<Self>, Listening) {
        let allow_public = section.flag("allow-public", false);
        let address = section.text("address", "auto", |text| address(text, interfaces));
        if let Some(address) = address
            && !allow_public
            && !is_inside(IpAddr::V4(address))
        {
            section.report("address", public(&address.to_string()));
        }
        let networks = section.texts("networks", &["auto"], |text| match (text, address) {
            ("auto", Some(address)) => Ok(networks(address, interfaces)),
            ("auto", None) => Ok(Vec::new()),
            (text, _) => {
                let network = value::network(text)?;
                if !allow_public && !is_near(&network) {
                    return Err(Wrong::new(
                        format!("`{text}` holds public addresses, so strangers may be clients"),
                        "write the private network of the LAN, or set lan.allow-public = true if that is what you want",
                    ));
                }
                Ok(vec![network])
            }
        });
        let domain = section.text("domain", "home.arpa", value::name);
        section.finish();
        let listening = Listening {
            address: address.unwrap_or(Ipv4Addr::LOCALHOST),
            allow_public,
        };
        let lan = address.zip(domain).map(|(address, domain)| Self {
            address,
            networks: Acl::new(networks.into_iter().flatten().chain(LOOPBACK)),
            domain,
            allow_public,
        });
        (lan, listening)
    }
}

impl Listening {
    /// Reads a listen key; each address may stand in it once.
    pub(super) fn read(
        self,
        section: &mut Section<'_, '_>,
        key: &'static str,
        defaults: &'static [&'static str],
    ) -> Vec<ListenAddr> {
        let addresses = section.texts(key, defaults, |text| {
            let address = value::listen(text, self.address)?;
            // Of lan.address this was said where it stands.
            let own = address.0.ip() == IpAddr::V4(self.address);
            if !self.allow_public && !own && !is_inside(address.0.ip()) {
                return Err(public(text));
            }
            Ok(address)
        });
        for (index, address) in addresses.iter().enumerate() {
            // Port 0 is a free port, another one each time.
            if address.0.port() != 0
                && addresses
                    .iter()
                    .take(index)
                    .any(|earlier| earlier == address)
            {
                section.report(
                    key,
                    Wrong::new(format!("`{address}` stands in it twice"), "take one out"),
                );
            }
        }
        addresses
    }
}

/// `auto`, or an IPv4 address.
fn address(text: &str, interfaces: &Interfaces) -> Result<Ipv4Addr, Wrong> {
    if text == "auto" {
        return interfaces
            .default_ipv4()
            .map(|(address, _)| address)
            .ok_or_else(|| {
                Wrong::new(
                    "`auto` found no interface with the IPv4 default route",
                    "write the gate's address on the LAN, such as \"192.168.1.2\"",
                )
            });
    }
    let address: Ipv4Addr = text.parse().map_err(|_| {
        Wrong::value(
            text,
            "an IPv4 address",
            "\"auto\" or an address such as \"192.168.1.2\"",
        )
    })?;
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        return Err(Wrong::value(
            text,
            "the address of one machine",
            "the gate's own address on the LAN, such as \"192.168.1.2\"",
        ));
    }
    if !address.is_loopback() && !interfaces.owns(IpAddr::V4(address)) {
        return Err(Wrong::new(
            format!("no interface of this machine has the address {address}"),
            "write one that `ip address` shows, or \"auto\"",
        ));
    }
    Ok(address)
}

/// The IPv4 networks that the address is in on its interface.
fn networks(address: Ipv4Addr, interfaces: &Interfaces) -> Vec<IpNet> {
    let address = IpAddr::V4(address);
    let beside = interfaces.networks_beside(address).into_iter();
    beside
        .filter(|network| network.contains(&address))
        .collect()
}

/// Whether every address of the network is one that no stranger on the internet has: private, loopback, link-local,
/// shared (RFC 6598) or unique local.
fn is_near(network: &IpNet) -> bool {
    [network.network(), network.broadcast()]
        .into_iter()
        .all(|end| {
            matches!(
                special_purpose(end),
                Some("private" | "loopback" | "link-local" | "carrier-grade NAT" | "unique local")
            )
        })
}

/// Whether strangers cannot reach the address: private (RFC 1918) or loopback.
fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_private() || address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback(),
    }
}

fn public(text: &str) -> Wrong {
    Wrong::new(
        format!("`{text}` is neither private IPv4 nor loopback, so strangers may reach it"),
        "write a private address, or set lan.allow-public = true if that is what you want",
    )
}
