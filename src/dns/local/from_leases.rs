//! PURE. DHCP leases -> [`HostNames`].
//!
//! A client chooses the host name that stands in its lease, so a name is taken only if it can do no harm: one label of
//! letters, digits and `-`, or such a label in the local domain; no special name and none that machines look for by
//! themselves. Names of zones and hosts files win when they are asked for. Of two leases with one name the newer wins.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hickory_proto::rr::Name;

use super::super::special;
use super::ZoneProblem;
use super::host_names::{HostNames, host_name};
use super::leases::{self, Lease};

/// Names that programs ask for by themselves to find a service, or that stand for this machine: who answers to one of
/// them is trusted with something.
const RESERVED: &[&str] = &[
    "localhost",
    "sekisho",
    "wpad",
    "isatap",
    "autodiscover",
    "autoconfig",
    "localdomain",
    "gateway",
    "_gateway",
    "broadcasthost",
];

/// The leases of all files.
#[derive(Debug, Default)]
pub struct Leases {
    files: Vec<(PathBuf, Vec<Lease>)>,
    strange: usize,
}

/// The names of the leases that are in force.
#[derive(Debug, Default)]
pub struct LeaseNames {
    /// The names.
    pub names: HostNames,
    /// Leases whose name was not taken.
    pub refused: usize,
    /// When the next lease ends, in seconds since 1970.
    pub next_end: Option<u64>,
}

impl Leases {
    /// Reads lease files; a file that no server we know has written is told.
    pub fn read(files: &[(PathBuf, Vec<u8>)]) -> (Self, Vec<ZoneProblem>) {
        let mut all = Self::default();
        let mut problems = Vec::new();
        for (file, bytes) in files {
            match leases::read(bytes) {
                Some(read) => {
                    let leases = read.leases.into_values().collect();
                    all.files.push((file.clone(), leases));
                    all.strange += read.strange;
                }
                None => problems.push(ZoneProblem {
                    file: file.clone(),
                    line: None,
                    what: "no lease file of dnsmasq, Kea or ISC dhcpd".into(),
                    write: "name the file that the DHCP server keeps its leases in, for Kea the CSV file"
                        .into(),
                }),
            }
        }
        (all, problems)
    }

    /// How many lines or blocks were not understood.
    pub fn strange(&self) -> usize {
        self.strange
    }

    /// The names of the leases in force at `now`, in seconds since 1970; `reserved` are further labels that no client
    /// may take.
    pub fn names(&self, now: u64, domain: &Name, reserved: &HashSet<String>) -> LeaseNames {
        let mut made = LeaseNames::default();
        // One address of each family for a name.
        let mut newest: HashMap<(Name, bool), (&Path, &Lease)> = HashMap::new();
        let files = self.files.iter();
        let all = files.flat_map(|(file, leases)| leases.iter().map(move |lease| (file, lease)));
        for (file, lease) in all {
            if let Some(until) = lease.until {
                if until <= now {
                    continue;
                }
                made.next_end = Some(made.next_end.map_or(until, |held| held.min(until)));
            }
            let Some(name) = name(&lease.host, domain, reserved) else {
                made.refused += 1;
                continue;
            };
            newest
                .entry((name, lease.address.is_ipv4()))
                .and_modify(|held| {
                    if lease.since >= held.1.since {
                        *held = (file, lease);
                    }
                })
                .or_insert((file, lease));
        }
        let mut newest: Vec<_> = newest.into_iter().collect();
        // In the order of the files: each is begun once.
        newest.sort_by_key(|(_, (file, _))| *file);
        for ((name, _), (file, lease)) in newest {
            made.names.begin(file);
            if is_of_a_host(lease.address) && made.names.tell(&name, Some(lease.address), domain) {
                made.names.point(lease.address, &name);
            } else {
                made.refused += 1;
            }
        }
        made
    }
}

/// The name that a client gets, if it may have the one that it wants.
fn name(host: &str, domain: &Name, reserved: &HashSet<String>) -> Option<Name> {
    let wanted = host_name(host)?;
    let label = match wanted.num_labels() {
        1 => wanted,
        _ if wanted.base_name() == *domain => wanted,
        _ => return None,
    };
    let bytes = label.iter().next()?;
    let text = std::str::from_utf8(bytes).ok()?;
    let sound = bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        // Programs read a number as an address.
        && !bytes.iter().all(u8::is_ascii_digit);
    if !sound || RESERVED.contains(&text) || reserved.contains(text) {
        return None;
    }
    let alone = Name::from_labels([bytes]).ok()?;
    let whole = alone.clone().append_domain(domain).ok()?;
    let is_special = special::special(&alone, domain).is_some()
        || special::special(&whole, domain).is_some_and(|special| !special.yields_to_zones());
    (!is_special).then_some(whole)
}

/// Whether a DHCP server may have leased the address: else a name would lead somewhere by a damaged file.
fn is_of_a_host(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::super::leases::tests::{DNSMASQ, ISC, KEA};
    use super::*;

    const NOW: u64 = 1_795_000_000;

    fn domain() -> Name {
        Name::from_ascii("home.arpa.").unwrap()
    }

    fn made(text: &str, now: u64) -> LeaseNames {
        let (leases, problems) = Leases::read(&[("leases".into(), text.into())]);
        assert_eq!(problems, []);
        leases.names(now, &domain(), &HashSet::from(["gatebox".to_owned()]))
    }

    fn addresses(made: &LeaseNames, host: &str) -> Vec<String> {
        let name = host_name(&format!("{host}.home.arpa")).unwrap();
        let found = made.names.addresses(&Key::of(&name)).unwrap_or_default();
        let mut found: Vec<String> = found.iter().map(ToString::to_string).collect();
        found.sort();
        found
    }

    #[test]
    fn leases_in_force_have_names_and_those_that_are_over_have_none() {
        for text in [DNSMASQ, KEA, ISC] {
            let made = made(text, NOW);
            assert_eq!(addresses(&made, "laptop")[0], "192.168.1.50");
            assert_eq!(addresses(&made, "old"), [""; 0]);
            let address = "192.168.1.50".parse().unwrap();
            let pointer = made.names.pointer(address).map(ToString::to_string);
            assert_eq!(pointer.as_deref(), Some("laptop.home.arpa."));
        }
    }

    #[test]
    fn the_end_of_the_next_lease_is_known() {
        let made = made(DNSMASQ, 1_500_000_000);
        assert_eq!(made.next_end, Some(1_600_000_000));
        assert_eq!(addresses(&made, "old"), ["192.168.1.52"]);
        let made = self::made(DNSMASQ, 1_600_000_000);
        assert_eq!(addresses(&made, "old"), [""; 0]);
    }

    #[test]
    fn both_families_of_one_client_are_held() {
        assert_eq!(
            addresses(&made(DNSMASQ, NOW), "laptop"),
            ["192.168.1.50", "fd00::50"]
        );
    }

    #[test]
    fn of_two_leases_with_one_name_the_newer_wins_whatever_their_order() {
        let older = "4102440000 52:54:00:12:34:56 192.168.1.50 phone *\n";
        let newer = "4102444800 52:54:00:12:34:57 192.168.1.51 phone *\n";
        for text in [format!("{older}{newer}"), format!("{newer}{older}")] {
            let made = made(&text, NOW);
            assert_eq!(addresses(&made, "phone"), ["192.168.1.51"]);
            assert_eq!(made.names.pointer("192.168.1.50".parse().unwrap()), None);
        }
    }

    #[test]
    fn a_client_cannot_take_a_name_that_can_do_harm() {
        for host in [
            "wpad",
            "WPAD",
            "localhost",
            "sekisho",
            "isatap",
            "gatebox",
            "local",
            "onion",
            "test",
            "invalid",
            "_gateway",
            "a_b",
            "-a",
            "a-",
            "42",
            "*x",
            "x.y",
            "www.example.com",
            "a\\.b",
            "wpad.home.arpa",
            "x.y.home.arpa",
            "home.arpa",
            "b\u{fc}ro",
            "a;b",
            "a'b",
            "<b>",
            "..",
        ] {
            let made = made(
                &format!("4102444800 52:54:00:12:34:56 192.168.1.50 {host} *\n"),
                NOW,
            );
            assert_eq!((made.names.len(), made.refused), (0, 1), "{host}");
        }
        for host in ["phone", "PHONE.", "phone.home.arpa", "Phone.HOME.arpa."] {
            let made = made(
                &format!("4102444800 52:54:00:12:34:56 192.168.1.50 {host} *\n"),
                NOW,
            );
            assert_eq!(addresses(&made, "phone"), ["192.168.1.50"], "{host}");
        }
    }

    #[test]
    fn a_file_of_another_kind_is_told() {
        let (_, problems) = Leases::read(&[("leases.json".into(), b"{}".to_vec())]);
        assert!(
            problems[0]
                .to_string()
                .starts_with("leases.json: no lease file of")
        );
    }
}
