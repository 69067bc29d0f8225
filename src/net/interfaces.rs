//! This machine's own addresses, and the interface that holds the IPv4 default route.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nameindex;

/// An address of an interface, with the network it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct InterfaceAddr {
    interface: String,
    /// The address itself, and its prefix length.
    network: IpNet,
}

/// The addresses of this machine, as they were when read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    addresses: Vec<InterfaceAddr>,
    /// The number that the kernel has for each name.
    indexes: Vec<(String, u32)>,
    default_route: Option<String>,
}

/// Why the interfaces could not be read.
#[derive(Debug, thiserror::Error)]
pub enum InterfacesError {
    /// The list of addresses.
    #[error("could not list the addresses of this machine")]
    Addresses(#[source] io::Error),
    /// The list of interfaces.
    #[error("could not list the interfaces of this machine")]
    Names(#[source] io::Error),
    /// The routing table.
    #[error("could not read `/proc/net/route`")]
    Routes(#[source] io::Error),
}

impl Interfaces {
    /// Asks the kernel.
    ///
    /// # Errors
    ///
    /// [`InterfacesError`] when the kernel does not say.
    pub fn read() -> Result<Self, InterfacesError> {
        let listed = getifaddrs().map_err(|errno| InterfacesError::Addresses(errno.into()))?;
        let mut addresses = Vec::new();
        for entry in listed {
            let (Some(address), Some(netmask)) = (entry.address, entry.netmask) else {
                continue;
            };
            let pair = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => netmask
                    .as_sockaddr_in()
                    .map(|mask| (IpAddr::V4(v4.ip()), IpAddr::V4(mask.ip()))),
                (_, Some(v6)) => netmask
                    .as_sockaddr_in6()
                    .map(|mask| (IpAddr::V6(v6.ip()), IpAddr::V6(mask.ip()))),
                _ => None,
            };
            if let Some((address, mask)) = pair
                && let Ok(network) = IpNet::with_netmask(address, mask)
            {
                addresses.push(InterfaceAddr {
                    interface: entry.interface_name,
                    network,
                });
            }
        }
        let routes = match fs::read_to_string("/proc/net/route") {
            Ok(routes) => routes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(InterfacesError::Routes(error)),
        };
        let named = if_nameindex().map_err(|errno| InterfacesError::Names(errno.into()))?;
        let indexes = named
            .iter()
            .map(|one| (one.name().to_string_lossy().into_owned(), one.index()))
            .collect();
        Ok(Self {
            addresses,
            indexes,
            default_route: default_route(&routes),
        })
    }

    /// A machine with these addresses (interface, address and prefix) and this interface for the IPv4 default route;
    /// the index of an interface is the place of its first address, counted from 1.
    ///
    /// # Panics
    ///
    /// When a text is no address with a prefix.
    #[cfg(any(test, fuzzing))]
    pub fn of(addresses: &[(&str, &str)], default_route: Option<&str>) -> Self {
        let mut indexes: Vec<(String, u32)> = Vec::new();
        for (place, (interface, _)) in (1..).zip(addresses) {
            if !indexes.iter().any(|(name, _)| name == interface) {
                indexes.push(((*interface).to_owned(), place));
            }
        }
        Self {
            indexes,
            addresses: addresses
                .iter()
                .map(|(interface, network)| InterfaceAddr {
                    interface: (*interface).to_owned(),
                    network: network.parse().expect("a network"),
                })
                .collect(),
            default_route: default_route.map(str::to_owned),
        }
    }

    /// The index of an interface by its name, or by the index itself, as in the scope of a link-local address
    /// (RFC 4007 section 11).
    pub fn index(&self, scope: &str) -> Option<u32> {
        let number: Option<u32> = scope.parse().ok();
        self.indexes
            .iter()
            .find(|(name, index)| name == scope || Some(*index) == number)
            .map(|(_, index)| *index)
    }

    /// Whether the address is one of ours.
    pub fn owns(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.addresses
            .iter()
            .any(|own| own.network.addr() == address)
    }

    /// The first IPv4 address of the interface with the IPv4 default route, and its prefix.
    pub fn default_ipv4(&self) -> Option<(Ipv4Addr, IpNet)> {
        let interface = self.default_route.as_deref()?;
        self.addresses
            .iter()
            .find_map(|own| match own.network.addr() {
                IpAddr::V4(address) if own.interface == interface => {
                    Some((address, own.network.trunc()))
                }
                _ => None,
            })
    }

    /// The networks, of both families, of the interface that holds `address`; empty where none does.
    pub fn networks_beside(&self, address: IpAddr) -> Vec<IpNet> {
        let holder = self
            .addresses
            .iter()
            .find(|own| own.network.addr() == address);
        let Some(holder) = holder else {
            return Vec::new();
        };
        self.addresses
            .iter()
            .filter(|own| own.interface == holder.interface)
            .map(|own| own.network.trunc())
            .collect()
    }
}

/// The interface of the route to 0.0.0.0/0 with the lowest metric, in the format of `/proc/net/route`.
fn default_route(table: &str) -> Option<String> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let interface = fields.next()?;
            let destination = fields.next()?;
            let metric = fields.nth(4)?.parse::<u32>().ok()?;
            let mask = fields.next()?;
            (destination == "00000000" && mask == "00000000").then_some((metric, interface))
        })
        .min_by_key(|(metric, _)| *metric)
        .map(|(_, interface)| interface.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
        eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
        eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";

    #[test]
    fn the_default_route_is_the_one_with_the_lowest_metric() {
        assert_eq!(default_route(TABLE).as_deref(), Some("eth0"));
        assert_eq!(default_route("Iface\tDestination\n"), None);
        assert_eq!(default_route(""), None);
    }

    #[test]
    fn the_networks_of_one_interface_are_found_by_its_address() {
        let interfaces = Interfaces::of(
            &[
                ("lo", "127.0.0.1/8"),
                ("eth0", "192.168.1.2/24"),
                ("eth0", "2001:db8:1::2/64"),
                ("eth1", "2001:db8:2::2/64"),
            ],
            Some("eth0"),
        );
        assert_eq!(
            interfaces.networks_beside("192.168.1.2".parse().unwrap()),
            [
                "192.168.1.0/24".parse().unwrap(),
                "2001:db8:1::/64".parse().unwrap()
            ]
        );
        assert_eq!(
            interfaces.default_ipv4(),
            Some((
                "192.168.1.2".parse().unwrap(),
                "192.168.1.0/24".parse().unwrap()
            ))
        );
        assert!(interfaces.owns("2001:db8:2::2".parse().unwrap()));
        assert!(!interfaces.owns("2001:db8:2::3".parse().unwrap()));
    }

    #[test]
    fn the_machine_has_a_loopback_address() {
        let interfaces = Interfaces::read().unwrap();
        assert!(interfaces.owns(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let index = interfaces.index("lo").unwrap();
        assert_eq!(interfaces.index(&index.to_string()), Some(index));
        assert_eq!(interfaces.index("none-such"), None);
    }
}
