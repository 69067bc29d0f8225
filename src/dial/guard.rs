//! PURE, apart from `Surroundings`. Where sessions must not go: the LAN, the gate itself, and every address that is
//! no place on the public internet. Judged is the address, never the name that led to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{Egress, Lan};
use crate::net::{Acl, Interfaces, embedded_v4, special_purpose};

/// Own addresses come and go (SLAAC, privacy extensions): a snapshot is used for this long.
const FRESH: Duration = Duration::from_secs(3);

/// Why an address is closed to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// In `egress.deny`.
    #[error("closed by egress.deny")]
    Denied,
    /// In a special-purpose range (RFC 6890); which.
    #[error("a special-purpose address ({0})")]
    Special(&'static str),
    /// In `lan.networks`.
    #[error("on the LAN")]
    Lan,
    /// On a network of the interface that holds `lan.address`.
    #[error("on the same link as the LAN")]
    OnLink,
    /// An address of this machine.
    #[error("an address of the gate itself")]
    Own,
}

/// The rules, as configured.
#[derive(Clone, Debug)]
pub struct Guard {
    allow: Acl,
    deny: Acl,
    lan: Acl,
    lan_address: IpAddr,
    listeners: Vec<SocketAddr>,
}

impl Guard {
    /// The rules of a configuration, and the listeners of this process.
    pub fn new(egress: &Egress, lan: &Lan, listeners: Vec<SocketAddr>) -> Self {
        Self {
            allow: egress.allow.clone(),
            deny: egress.deny.clone(),
            lan: lan.networks.clone(),
            lan_address: IpAddr::V4(lan.address),
            listeners,
        }
    }

    /// The same, open to every address that is no listener of ours: for what the admin named himself.
    pub(super) fn opened(self) -> Self {
        let everywhere = ["0.0.0.0/0", "::/0"];
        Self {
            allow: Acl::new(everywhere.iter().filter_map(|network| network.parse().ok())),
            deny: Acl::default(),
            ..self
        }
    }

    /// Whether a session may go to the address: `egress.deny` closes, then `egress.allow` opens, then the rest closes.
    ///
    /// The IPv4 addresses that an IPv6 address carries (NAT64, 6to4, Teredo, IPv4-compatible) are judged too. Opening an
    /// IPv4 network by `egress.allow` does not open the ways around it; and opening the network of such a way opens only
    /// what it leads to and is open itself.
    ///
    /// # Errors
    ///
    /// [`Refusal`] says why it may not.
    pub fn check(&self, address: IpAddr, near: &Near) -> Result<(), Refusal> {
        let address = address.to_canonical();
        let inner = || carried(address);
        let any = |hits: &dyn Fn(IpAddr) -> bool| hits(address) || inner().any(hits);
        if any(&|address| self.deny.contains(address)) {
            return Err(Refusal::Denied);
        }
        if self.allow.contains(address) {
            return inner().try_for_each(|address| self.check(address, near));
        }
        if any(&|address| address == self.lan_address || near.interfaces.owns(address)) {
            return Err(Refusal::Own);
        }
        if any(&|address| self.lan.contains(address)) {
            return Err(Refusal::Lan);
        }
        if let Some(range) = special_purpose(address) {
            return Err(Refusal::Special(range));
        }
        if any(&|address| near.on_link.contains(address)) {
            return Err(Refusal::OnLink);
        }
        Ok(())
    }

    /// Whether the address is a listener of this process, which `egress.allow` does not open: a session must neither
    /// reach the admin listener nor come back as another session.
    ///
    /// # Errors
    ///
    /// [`Refusal::Own`] where it is.
    pub fn check_listener(&self, address: SocketAddr, near: &Near) -> Result<(), Refusal> {
        let ip = address.ip().to_canonical();
        let is_here = || ip.is_loopback() || near.interfaces.owns(ip);
        let is_listener = self.listeners.iter().any(|listener| {
            listener.port() == address.port()
                && (listener.ip() == ip || listener.ip().is_unspecified() && is_here())
        });
        if is_listener {
            Err(Refusal::Own)
        } else {
            Ok(())
        }
    }

    /// Judges a connection that stands: one whose two ends have the same address reached this machine, by an address
    /// that the last snapshot did not know.
    ///
    /// # Errors
    ///
    /// [`Refusal::Own`] unless `egress.allow` opens the address.
    pub fn check_ends(&self, local: IpAddr, peer: IpAddr) -> Result<(), Refusal> {
        let peer = peer.to_canonical();
        if local.to_canonical() == peer && !self.allow.contains(peer) {
            return Err(Refusal::Own);
        }
        Ok(())
    }
}

/// The IPv4 addresses inside an IPv6 address.
fn carried(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let v6 = match address {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    };
    v6.into_iter().flat_map(embedded_v4).map(IpAddr::V4)
}

/// What is around the gate at one moment.
#[derive(Clone, Debug, Default)]
pub struct Near {
    interfaces: Interfaces,
    on_link: Acl,
}

impl Near {
    /// Own addresses, and the networks of both families of the interface that holds `lan_address`.
    pub fn new(interfaces: Interfaces, lan_address: IpAddr) -> Self {
        let on_link = Acl::new(interfaces.networks_beside(lan_address));
        Self {
            interfaces,
            on_link,
        }
    }
}

/// The shell that keeps [`Near`] fresh: the kernel is asked by a dial, and not more often than [`FRESH`].
#[derive(Debug)]
pub(super) struct Surroundings {
    lan_address: IpAddr,
    last: Mutex<(Arc<Near>, Option<Instant>)>,
}

impl Surroundings {
    pub(super) fn new(lan: &Lan) -> Self {
        Self {
            lan_address: IpAddr::V4(lan.address),
            last: Mutex::default(),
        }
    }

    /// The surroundings as of at most [`FRESH`] ago. Where the kernel does not say, the last ones stay: the ranges
    /// and the networks written in the configuration are still judged, and so are the ends of each connection.
    pub(super) fn near(&self, now: Instant) -> Arc<Near> {
        self.near_by(now, || {
            Interfaces::read().map(|interfaces| Near::new(interfaces, self.lan_address))
        })
    }

    fn near_by<E: std::error::Error>(
        &self,
        now: Instant,
        read: impl FnOnce() -> Result<Near, E>,
    ) -> Arc<Near> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (near, read_at) = &mut *last;
        if read_at.is_none_or(|time| now.saturating_duration_since(time) >= FRESH) {
            *read_at = Some(now);
            match read() {
                Ok(fresh) => *near = Arc::new(fresh),
                Err(error) => {
                    tracing::warn!(%error, "own addresses are not known; keeping the last ones");
                }
            }
        }
        Arc::clone(near)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use crate::config::{Outlet, Via};
    use crate::net::Family;

    use super::*;

    fn acl(networks: &[&str]) -> Acl {
        Acl::new(networks.iter().map(|network| network.parse().unwrap()))
    }

    fn guard(allow: &[&str], deny: &[&str]) -> Guard {
        Guard::new(
            &Egress {
                prefer: Family::V6,
                attempt_delay: Duration::from_millis(250),
                connect_timeout: Duration::from_secs(10),
                allow: acl(allow),
                deny: acl(deny),
                via: Via::Direct,
                ipv4: Outlet::default(),
                ipv6: Outlet::default(),
            },
            &lan(),
            vec![
                "127.0.0.1:9053".parse().unwrap(),
                "0.0.0.0:3128".parse().unwrap(),
            ],
        )
    }

    fn lan() -> Lan {
        Lan {
            address: "192.0.2.2".parse().unwrap(),
            networks: acl(&["192.0.2.0/24", "2001:db8:77::/48"]),
            domain: "home.arpa.".parse().unwrap(),
            allow_public: true,
        }
    }

    fn near() -> Near {
        let interfaces = Interfaces::of(
            &[
                ("lan0", "192.0.2.2/24"),
                ("lan0", "2001:db8:1::2/64"),
                ("wan0", "198.51.100.7/24"),
                ("wan0", "2001:db8:2::2/64"),
            ],
            None,
        );
        Near::new(interfaces, "192.0.2.2".parse().unwrap())
    }

    fn check(guard: &Guard, address: &str) -> Result<(), Refusal> {
        guard.check(address.parse().unwrap(), &near())
    }

    #[test]
    fn no_allowance_opens_a_listener_of_ours() {
        let guard = guard(&["0.0.0.0/0", "::/0"], &[]);
        for (address, expected) in [
            ("127.0.0.1:9053", Err(Refusal::Own)),
            ("[::ffff:127.0.0.1]:9053", Err(Refusal::Own)),
            ("127.0.0.1:3128", Err(Refusal::Own)),
            ("192.0.2.2:3128", Err(Refusal::Own)),
            ("127.0.0.1:80", Ok(())),
            ("192.0.2.9:3128", Ok(())),
        ] {
            let judged = guard.check_listener(address.parse().unwrap(), &near());
            assert_eq!(judged, expected, "{address}");
        }
    }

    #[test]
    fn clients_reach_the_internet_and_nothing_near() {
        let guard = guard(&[], &[]);
        for (address, expected) in [
            ("203.0.113.1", Ok(())),
            ("2001:db8:9::1", Ok(())),
            // The far side of the link to the internet is not the LAN.
            ("198.51.100.8", Ok(())),
            ("2001:db8:2::3", Ok(())),
            ("192.0.2.9", Err(Refusal::Lan)),
            ("2001:db8:77::1", Err(Refusal::Lan)),
            ("2001:db8:1::9", Err(Refusal::OnLink)),
            ("192.0.2.2", Err(Refusal::Own)),
            ("198.51.100.7", Err(Refusal::Own)),
            ("2001:db8:1::2", Err(Refusal::Own)),
            ("2001:db8:2::2", Err(Refusal::Own)),
            ("127.0.0.1", Err(Refusal::Special("loopback"))),
            ("::1", Err(Refusal::Special("loopback"))),
            ("10.0.0.1", Err(Refusal::Special("private"))),
            ("fe80::1", Err(Refusal::Special("link-local"))),
            ("169.254.169.254", Err(Refusal::Special("link-local"))),
            ("fd00::1", Err(Refusal::Special("unique local"))),
            ("198.18.0.1", Err(Refusal::Special("benchmarking"))),
            ("0.0.0.0", Err(Refusal::Special("this network"))),
            ("255.255.255.255", Err(Refusal::Special("reserved"))),
        ] {
            assert_eq!(check(&guard, address), expected, "{address}");
        }
    }

    #[test]
    fn a_disguised_address_is_judged_by_what_is_inside() {
        let guard = guard(&["10.0.0.0/8"], &["203.0.113.0/24"]);
        for (address, expected) in [
            ("::ffff:192.0.2.9", Err(Refusal::Lan)),
            ("64:ff9b::192.0.2.9", Err(Refusal::Lan)),
            ("64:ff9b::198.51.100.7", Err(Refusal::Own)),
            ("2002:c633:6407::1", Err(Refusal::Own)),
            ("64:ff9b::203.0.113.1", Err(Refusal::Denied)),
            ("::ffff:10.0.0.1", Ok(())),
            ("64:ff9b::10.0.0.1", Err(Refusal::Special("private"))),
            ("64:ff9b::1.1.1.1", Ok(())),
        ] {
            assert_eq!(check(&guard, address), expected, "{address}");
        }
    }

    #[test]
    fn every_way_to_carry_ipv4_is_closed_and_opened_only_to_what_is_open() {
        let closed = guard(&[], &["203.0.113.0/24"]);
        for (address, expected) in [
            // 6to4 is open by itself.
            ("2002:808:808::1", Ok(())),
            ("2002:c000:209::1", Err(Refusal::Lan)),
            ("2002:a00:1::1", Err(Refusal::Special("private"))),
            ("2002:cb00:7101::1", Err(Refusal::Denied)),
            // Teredo, by its client (turned over) and by its server; it is closed by itself.
            ("2001:0:808:808::3fff:fdf6", Err(Refusal::Lan)),
            ("2001:0:c000:209::f7f7:f7f7", Err(Refusal::Lan)),
            ("2001:0:808:808::34ff:8efe", Err(Refusal::Denied)),
            ("2001:0:808:808::f7f7:f7f7", Err(Refusal::Special("Teredo"))),
            ("::192.0.2.9", Err(Refusal::Lan)),
            ("::8.8.8.8", Err(Refusal::Special("IPv4-compatible"))),
            ("::ffff:203.0.113.1", Err(Refusal::Denied)),
            ("64:ff9b:1::192.0.2.9", Err(Refusal::Lan)),
            ("64:ff9b:1:c000:2:900::", Err(Refusal::Lan)),
            ("64:ff9b:1::203.0.113.1", Err(Refusal::Denied)),
            (
                "64:ff9b:1::8.8.8.8",
                Err(Refusal::Special("local-use NAT64")),
            ),
        ] {
            assert_eq!(check(&closed, address), expected, "{address}");
        }
        let open = guard(&["64:ff9b::/32", "2001::/32", "::/96", "10.0.0.0/8"], &[]);
        for (address, expected) in [
            ("64:ff9b:1::8.8.8.8", Ok(())),
            ("64:ff9b:1::192.0.2.9", Err(Refusal::Lan)),
            ("64:ff9b:1::198.51.100.7", Err(Refusal::Own)),
            (
                "64:ff9b:1::169.254.169.254",
                Err(Refusal::Special("link-local")),
            ),
            ("64:ff9b:1::10.0.0.1", Ok(())),
            ("2001:0:808:808::f7f7:f7f7", Ok(())),
            ("2001:0:808:808::3fff:fdf6", Err(Refusal::Lan)),
            ("::192.0.2.9", Err(Refusal::Lan)),
        ] {
            assert_eq!(check(&open, address), expected, "{address}");
        }
        // What the admin named himself may be anywhere.
        let opened = guard(&[], &[]).opened();
        assert_eq!(check(&opened, "64:ff9b::192.0.2.9"), Ok(()));
    }

    #[test]
    fn allow_opens_and_deny_is_stronger() {
        let guard = guard(
            &["127.0.0.0/8", "192.0.2.0/24", "2001:db8:1::/64"],
            &["127.9.0.0/16", "2001:db8:1::5/128", "203.0.113.0/24"],
        );
        for (address, expected) in [
            ("127.0.0.1", Ok(())),
            ("192.0.2.2", Ok(())),
            ("2001:db8:1::2", Ok(())),
            ("127.9.0.1", Err(Refusal::Denied)),
            ("2001:db8:1::5", Err(Refusal::Denied)),
            ("203.0.113.77", Err(Refusal::Denied)),
            ("::1", Err(Refusal::Special("loopback"))),
        ] {
            assert_eq!(check(&guard, address), expected, "{address}");
        }
    }

    #[test]
    fn a_connection_to_ourselves_is_seen_by_its_ends() {
        let ends = |guard: &Guard, local: &str, peer: &str| {
            guard.check_ends(local.parse().unwrap(), peer.parse().unwrap())
        };
        let closed = guard(&[], &[]);
        assert_eq!(
            ends(&closed, "2001:db8::5", "2001:db8::5"),
            Err(Refusal::Own)
        );
        assert_eq!(ends(&closed, "2001:db8::5", "2001:db8::6"), Ok(()));
        let open = guard(&["2001:db8::/32"], &[]);
        assert_eq!(ends(&open, "2001:db8::5", "2001:db8::5"), Ok(()));
    }

    #[test]
    fn the_surroundings_are_read_seldom_and_kept_when_unreadable() {
        let surroundings = Surroundings::new(&lan());
        let owns = |near: &Near| near.interfaces.owns("192.0.2.2".parse().unwrap());
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant has no other beginning"
        )]
        let start = Instant::now();
        assert!(owns(
            &surroundings.near_by(start, || Ok::<_, io::Error>(near()))
        ));
        let soon = start + FRESH / 2;
        let kept = surroundings.near_by(soon, || -> Result<Near, io::Error> {
            panic!("read again too soon")
        });
        assert!(owns(&kept));
        let later = start + FRESH;
        assert!(owns(&surroundings.near_by(later, || {
            Err(io::Error::from(io::ErrorKind::OutOfMemory))
        })));
        let last = later + FRESH;
        assert!(!owns(
            &surroundings.near_by(last, || { Ok::<_, io::Error>(Near::default()) })
        ));
    }
}
