//! PURE. Special names: answered here whatever the rest of the DNS says. Asked by the pipeline before the local zones.
//!
//! | Name | Answer | Why |
//! |---|---|---|
//! | `localhost` and below | 127.0.0.1, ::1 | RFC 6761 section 6.3 |
//! | `invalid`, `test`, `onion`, `local` and below | NXDOMAIN | RFC 6761, 7686, 6762 |
//! | `internal` and below | NXDOMAIN | kept by ICANN for private use, so nobody outside knows it |
//! | `home.arpa`, private reverse zones | NXDOMAIN; SOA and NS at the apex | RFC 8375, 6303, 7793 |
//! | the reverse names of 127.0.0.1 and ::1 | PTR `localhost` | as hosts files and other servers have it |
//! | `ipv4only.arpa` | 192.0.0.170 and .171, no AAAA | RFC 8880: there is no NAT64 here |
//! | `use-application-dns.net`, `mask.icloud.com`, `mask-h2.icloud.com` | NXDOMAIN | canaries: the LAN's DNS is to be used |
//! | `resolver.arpa` and below | NODATA, but for `designated` | RFC 9462 section 6.4 |
//! | `wpad`, `wpad.<domain>` | the gate | the proxy's configuration is found under this name |
//! | `sekisho`, `sekisho.<domain>` | the gate, unless a local zone has the name | the gate's own name |
//!
//! Names that are refused are asked after all where the administrator has named who knows them: a local zone, or
//! servers for the domain (`forwarded`).
//!
//! `local` is NXDOMAIN at the apex too: multicast DNS clients ask for its SOA to find out whether the LAN serves it.
//!
//! Every negative answer carries a SOA, else clients could not cache it (RFC 2308 section 5). Of the empty zones it
//! lives 10800 s, as in RFC 6303 section 3; of canaries, `resolver.arpa` and `wpad` 60 s, so that a change of the
//! set-up is seen soon.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, NS, PTR, SOA},
    },
};

use super::local::{Key, Local, LocalAnswer};

/// How a special name is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Special {
    /// `localhost` and below: the loopback addresses.
    LocalAddress,
    /// A name that is never looked up outside: NXDOMAIN.
    NxDomain,
    /// A zone that is empty unless a local zone serves it: NXDOMAIN below, SOA and NS at its apex.
    EmptyZone,
    /// `ipv4only.arpa`: its two IPv4 addresses; NXDOMAIN below.
    Ipv4Only,
    /// A name that asks whether the LAN wants its own DNS to be used: NXDOMAIN says yes.
    Canary,
    /// `resolver.arpa` and below: no designated resolver, so NODATA.
    NoData,
    /// `wpad`: the gate's own address.
    Gate,
    /// `sekisho`: the gate's own address, unless the administrator gave the name to another.
    Own,
}

/// The label of the gate's own name.
pub(super) const OWN_LABEL: &[u8] = b"sekisho";

impl Special {
    /// Whether a local zone that holds the name is asked instead, or servers that are configured for its domain: so for
    /// the names that are refused, not for those that have a meaning of their own.
    pub(super) fn yields_to_zones(self) -> bool {
        match self {
            Self::NxDomain | Self::EmptyZone => true,
            Self::LocalAddress
            | Self::Ipv4Only
            | Self::Canary
            | Self::NoData
            | Self::Gate
            | Self::Own => false,
        }
    }

    /// Whether local data is asked for this name instead: our own name yields only where a zone has that very name.
    pub(super) fn yields_to(self, name: &Name, record_type: RecordType, local: &Local) -> bool {
        if self == Self::Own {
            let answer = local.zones().answer(name, RecordType::A);
            return answer.is_some_and(|answer| answer.rcode != ResponseCode::NXDomain);
        }
        self.yields_to_zones() && local.owns(name, record_type)
    }

    /// TTL and MINIMUM of the SOA, and the TTL of records, in seconds.
    fn ttl(self) -> u32 {
        match self {
            Self::LocalAddress | Self::NxDomain | Self::EmptyZone | Self::Ipv4Only => LONG,
            Self::Canary | Self::NoData | Self::Gate | Self::Own => SHORT,
        }
    }
}

/// The TTL of RFC 6303 section 3, in seconds.
const LONG: u32 = 10_800;
/// The TTL of what depends on this set-up, in seconds.
const SHORT: u32 = 60;

/// The names, each with everything below it.
const NAMES: &[(&str, Special)] = &[
    ("localhost.", Special::LocalAddress),
    ("invalid.", Special::NxDomain),
    ("test.", Special::NxDomain),
    ("onion.", Special::NxDomain),
    ("local.", Special::NxDomain),
    ("internal.", Special::NxDomain),
    ("home.arpa.", Special::EmptyZone),
    ("ipv4only.arpa.", Special::Ipv4Only),
    ("use-application-dns.net.", Special::Canary),
    ("mask.icloud.com.", Special::Canary),
    ("mask-h2.icloud.com.", Special::Canary),
    ("resolver.arpa.", Special::NoData),
    // RFC 6303 sections 4.1 and 4.2; 172.16/12 and 100.64/10 are added in code.
    ("10.in-addr.arpa.", Special::EmptyZone),
    ("168.192.in-addr.arpa.", Special::EmptyZone),
    ("0.in-addr.arpa.", Special::EmptyZone),
    ("127.in-addr.arpa.", Special::EmptyZone),
    ("254.169.in-addr.arpa.", Special::EmptyZone),
    ("2.0.192.in-addr.arpa.", Special::EmptyZone),
    ("100.51.198.in-addr.arpa.", Special::EmptyZone),
    ("113.0.203.in-addr.arpa.", Special::EmptyZone),
    ("255.255.255.255.in-addr.arpa.", Special::EmptyZone),
    // RFC 6303 sections 4.3 to 4.6: unspecified, loopback, unique local, link-local, documentation.
    (
        "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
        Special::EmptyZone,
    ),
    (
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
        Special::EmptyZone,
    ),
    ("d.f.ip6.arpa.", Special::EmptyZone),
    ("8.e.f.ip6.arpa.", Special::EmptyZone),
    ("9.e.f.ip6.arpa.", Special::EmptyZone),
    ("a.e.f.ip6.arpa.", Special::EmptyZone),
    ("b.e.f.ip6.arpa.", Special::EmptyZone),
    ("8.b.d.0.1.0.0.2.ip6.arpa.", Special::EmptyZone),
];

/// One row of the table.
#[derive(Debug)]
struct Row {
    apex: Name,
    special: Special,
}

static TABLE: LazyLock<HashMap<Box<[u8]>, Row>> = LazyLock::new(|| {
    let blocks = (16..32)
        .map(|second| format!("{second}.172.in-addr.arpa."))
        .chain((64..128).map(|second| format!("{second}.100.in-addr.arpa.")))
        .map(|name| (name, Special::EmptyZone));
    NAMES
        .iter()
        .map(|&(name, special)| (name.to_owned(), special))
        .chain(blocks)
        .filter_map(|(name, special)| Some((Name::from_ascii(name).ok()?, special)))
        .map(|(apex, special)| (Key::of(&apex).whole().into(), Row { apex, special }))
        .collect()
});

/// The reverse names of the loopback addresses.
static LOOPBACK: LazyLock<[Name; 2]> = LazyLock::new(|| {
    [
        Name::from(IpAddr::from(Ipv4Addr::LOCALHOST)),
        Name::from(IpAddr::from(Ipv6Addr::LOCALHOST)),
    ]
});

/// The row of the closest name at or above, and whether it is the name itself.
fn row(name: &Name) -> Option<(&'static Row, bool)> {
    let key = Key::of(name);
    let table = &*TABLE;
    (1..=key.labels()).rev().find_map(|labels| {
        let row = table.get(key.suffix(labels))?;
        Some((row, labels == key.labels()))
    })
}

/// How the name is special; `domain` is the domain of the LAN (`lan.domain`).
///
/// Where it [yields](Special::yields_to), the caller asks its local zones first.
pub(super) fn special(name: &Name, domain: &Name) -> Option<Special> {
    let first = name.iter().next().unwrap_or_default();
    let ours = [(&b"wpad"[..], Special::Gate), (OWN_LABEL, Special::Own)];
    if let Some((_, special)) = ours
        .into_iter()
        .find(|(label, _)| first.eq_ignore_ascii_case(label))
    {
        let parent = Key::of(&name.base_name());
        if parent.labels() == 0 || parent.whole() == Key::of(domain).whole() {
            return Some(special);
        }
    }
    row(name).map(|(row, _)| row.special)
}

/// The name of the table at or above a name.
pub(super) fn apex(name: &Name) -> Option<&'static Name> {
    row(name).map(|(row, _)| &row.apex)
}

/// The apex of the empty zone that a name is in.
pub(super) fn empty_zone(name: &Name) -> Option<Name> {
    let (row, _) = row(name)?;
    (row.special == Special::EmptyZone).then(|| row.apex.clone())
}

/// The answer to a question of class IN for a name that [`special`] found; `gate` is our own address on the LAN.
pub(super) fn answer(
    special: Special,
    name: &Name,
    record_type: RecordType,
    gate: Ipv4Addr,
) -> LocalAnswer {
    let mut owner = name.to_lowercase();
    owner.set_fqdn(true);
    let (apex, at_apex) = row(&owner)
        .filter(|(row, _)| row.special == special)
        .map_or_else(
            || (owner.clone(), true),
            |(row, at_apex)| (row.apex.clone(), at_apex),
        );
    let mut answer = LocalAnswer::empty();
    let data = match special {
        Special::LocalAddress => either(
            record_type,
            &[Ipv4Addr::LOCALHOST],
            Some(Ipv6Addr::LOCALHOST),
        ),
        Special::Gate | Special::Own => either(record_type, &[gate], None),
        Special::Ipv4Only if at_apex => either(
            record_type,
            &[Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)],
            None,
        ),
        // Of the two zones that the loopback addresses lie in, one is no more than the name itself.
        Special::EmptyZone if record_type == RecordType::PTR && LOOPBACK.contains(&owner) => {
            vec![RData::PTR(PTR(server()))]
        }
        Special::EmptyZone if !at_apex && LOOPBACK.iter().any(|one| owner.zone_of(one)) => {
            Vec::new()
        }
        Special::EmptyZone if at_apex => match record_type {
            RecordType::SOA | RecordType::ANY => vec![soa(special.ttl())],
            RecordType::NS => vec![RData::NS(NS(server()))],
            _ => Vec::new(),
        },
        Special::NoData => Vec::new(),
        Special::NxDomain | Special::Canary | Special::Ipv4Only | Special::EmptyZone => {
            answer.rcode = ResponseCode::NXDomain;
            Vec::new()
        }
    };
    if data.is_empty() {
        let soa = soa(special.ttl());
        answer
            .authorities
            .push(Record::from_rdata(apex, special.ttl(), soa));
    }
    answer.answers = data
        .into_iter()
        .map(|data| Record::from_rdata(owner.clone(), special.ttl(), data))
        .collect();
    answer
}

/// The addresses of the type asked for; the IPv4 ones for ANY (RFC 8482 section 4.1).
fn either(record_type: RecordType, v4: &[Ipv4Addr], v6: Option<Ipv6Addr>) -> Vec<RData> {
    match record_type {
        RecordType::A | RecordType::ANY => v4.iter().map(|&address| RData::A(A(address))).collect(),
        RecordType::AAAA => v6
            .into_iter()
            .map(|address| RData::AAAA(AAAA(address)))
            .collect(),
        _ => Vec::new(),
    }
}

/// The server named in the SOA and NS of zones that nobody serves.
fn server() -> Name {
    Name::from_ascii("localhost.").unwrap_or_else(|_| Name::root())
}

/// The SOA of a zone that is made up here, with the mailbox and the timers of RFC 6303 section 3.
fn soa(minimum: u32) -> RData {
    let mailbox = Name::from_ascii("nobody.invalid.").unwrap_or_else(|_| Name::root());
    RData::SOA(SOA::new(server(), mailbox, 1, 3600, 1200, 604_800, minimum))
}

#[cfg(test)]
mod tests {
    use super::super::local::Zones;
    use super::*;

    const GATE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn ask(text: &str, record_type: RecordType) -> Option<LocalAnswer> {
        let name = name(text);
        special(&name, &self::name("lan.example."))
            .map(|special| answer(special, &name, record_type, GATE))
    }

    #[test]
    fn every_special_name_is_answered_as_the_table_says() {
        use RecordType as T;
        let table: &[(&str, T, &str)] = &[
            ("localhost.", T::A, "127.0.0.1"),
            ("a.LOCALHOST.", T::AAAA, "::1"),
            ("localhost.", T::MX, "NODATA localhost. 10800"),
            ("localhost.", T::ANY, "127.0.0.1"),
            ("x.invalid.", T::A, "NXDOMAIN invalid. 10800"),
            ("test.", T::A, "NXDOMAIN test. 10800"),
            ("abc.onion.", T::AAAA, "NXDOMAIN onion. 10800"),
            ("local.", T::SOA, "NXDOMAIN local. 10800"),
            ("nas.local.", T::A, "NXDOMAIN local. 10800"),
            ("home.arpa.", T::A, "NODATA home.arpa. 10800"),
            ("home.arpa.", T::NS, "localhost."),
            ("nas.home.arpa.", T::A, "NXDOMAIN home.arpa. 10800"),
            ("ipv4only.arpa.", T::A, "192.0.0.170 192.0.0.171"),
            ("ipv4only.arpa.", T::AAAA, "NODATA ipv4only.arpa. 10800"),
            ("x.ipv4only.arpa.", T::A, "NXDOMAIN ipv4only.arpa. 10800"),
            (
                "use-application-dns.net.",
                T::A,
                "NXDOMAIN use-application-dns.net. 60",
            ),
            ("mask.icloud.com.", T::A, "NXDOMAIN mask.icloud.com. 60"),
            (
                "mask-H2.icloud.com.",
                T::HTTPS,
                "NXDOMAIN mask-h2.icloud.com. 60",
            ),
            ("resolver.arpa.", T::A, "NODATA resolver.arpa. 60"),
            ("_dns.resolver.arpa.", T::SVCB, "NODATA resolver.arpa. 60"),
            ("wpad.", T::A, "192.168.1.2"),
            ("WPAD.lan.example.", T::A, "192.168.1.2"),
            ("wpad.lan.example.", T::AAAA, "NODATA wpad.lan.example. 60"),
            ("Sekisho.", T::A, "192.168.1.2"),
            ("sekisho.lan.example.", T::ANY, "192.168.1.2"),
            (
                "sekisho.lan.example.",
                T::AAAA,
                "NODATA sekisho.lan.example. 60",
            ),
            ("10.in-addr.arpa.", T::PTR, "NODATA 10.in-addr.arpa. 10800"),
            (
                "1.2.3.10.in-addr.arpa.",
                T::PTR,
                "NXDOMAIN 10.in-addr.arpa. 10800",
            ),
            (
                "1.1.168.192.in-addr.arpa.",
                T::PTR,
                "NXDOMAIN 168.192.in-addr.arpa. 10800",
            ),
            (
                "1.1.31.172.in-addr.arpa.",
                T::PTR,
                "NXDOMAIN 31.172.in-addr.arpa. 10800",
            ),
            (
                "1.1.127.100.in-addr.arpa.",
                T::PTR,
                "NXDOMAIN 127.100.in-addr.arpa. 10800",
            ),
            ("1.0.0.127.in-addr.arpa.", T::PTR, "localhost."),
            (
                "1.0.0.127.in-addr.arpa.",
                T::A,
                "NODATA 127.in-addr.arpa. 10800",
            ),
            (
                "0.127.in-addr.arpa.",
                T::PTR,
                "NODATA 127.in-addr.arpa. 10800",
            ),
            (
                "2.0.0.127.in-addr.arpa.",
                T::PTR,
                "NXDOMAIN 127.in-addr.arpa. 10800",
            ),
            (
                "1.1.0.0.127.in-addr.arpa.",
                T::PTR,
                "NXDOMAIN 127.in-addr.arpa. 10800",
            ),
            (
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
                T::PTR,
                "localhost.",
            ),
            ("nas.internal.", T::A, "NXDOMAIN internal. 10800"),
            ("1.d.f.ip6.arpa.", T::PTR, "NXDOMAIN d.f.ip6.arpa. 10800"),
        ];
        for &(text, record_type, expected) in table {
            let answer = ask(text, record_type).unwrap_or_else(|| panic!("{text} is special"));
            assert!(answer.authoritative, "{text}");
            let said = match answer.authorities.first() {
                Some(soa) => {
                    assert!(answer.answers.is_empty(), "{text}");
                    let RData::SOA(data) = &soa.data else {
                        panic!("{text}: {soa}");
                    };
                    assert_eq!(data.minimum, soa.ttl, "{text}");
                    let code = match answer.rcode {
                        ResponseCode::NXDomain => "NXDOMAIN",
                        _ => "NODATA",
                    };
                    format!("{code} {} {}", soa.name, soa.ttl)
                }
                None => {
                    let data: Vec<String> = answer
                        .answers
                        .iter()
                        .map(|record| {
                            assert_eq!(record.name, name(text).to_lowercase());
                            record.data.to_string()
                        })
                        .collect();
                    data.join(" ")
                }
            };
            assert_eq!(said, expected, "{text} {record_type}");
        }
    }

    #[test]
    fn other_names_are_not_special() {
        for text in [
            ".",
            "arpa.",
            "example.com.",
            "localhost.example.com.",
            "xlocalhost.",
            "icloud.com.",
            "wpad.example.com.",
            "a.wpad.",
            "a.sekisho.",
            "sekisho.example.com.",
            "1.15.172.in-addr.arpa.",
            "1.32.172.in-addr.arpa.",
            "1.63.100.in-addr.arpa.",
            "1.128.100.in-addr.arpa.",
            "1.192.in-addr.arpa.",
            "0.ip6.arpa.",
        ] {
            assert_eq!(ask(text, RecordType::A), None, "{text}");
        }
    }

    #[test]
    fn the_soa_of_an_empty_zone_is_answered_at_its_apex() {
        let answer = ask("168.192.in-addr.arpa.", RecordType::SOA).unwrap();
        assert_eq!(answer.rcode, ResponseCode::NoError);
        assert_eq!(answer.answers.len(), 1);
        assert!(answer.authorities.is_empty());
    }

    #[test]
    fn local_zones_win_over_refusals_and_over_our_own_name_where_they_have_it() {
        let domain = name("home.arpa.");
        let zone = "$TTL 60\n@ SOA gate hostmaster 1 1 1 1 60\n@ NS gate\ngate A 192.168.1.2\n";
        let with_own = format!("{zone}sekisho A 192.168.1.9\n");
        let yields = |text, zone: &str| {
            let zones: Vec<(&str, &str)> = [
                "home.arpa",
                "test",
                "local",
                "168.192.in-addr.arpa",
                "mask.icloud.com",
                "use-application-dns.net",
                "resolver.arpa",
                "localhost",
                "ipv4only.arpa",
            ]
            .into_iter()
            .map(|origin| (origin, zone))
            .collect();
            let local = Local::from(Zones::from_text(&zones).unwrap());
            let name = name(text);
            let special = special(&name, &domain).unwrap();
            special.yields_to(&name, RecordType::A, &local)
        };
        for text in [
            "nas.home.arpa.",
            "nas.test.",
            "1.1.168.192.in-addr.arpa.",
            "nas.local.",
        ] {
            assert!(yields(text, zone), "{text}");
        }
        for text in [
            "mask.icloud.com.",
            "use-application-dns.net.",
            "_dns.resolver.arpa.",
            "localhost.",
            "wpad.home.arpa.",
            "ipv4only.arpa.",
        ] {
            assert!(!yields(text, zone), "{text}");
        }
        assert!(!yields("sekisho.home.arpa.", zone));
        assert!(yields("sekisho.home.arpa.", &with_own));
        assert!(!yields("sekisho.", &with_own));
    }

    #[test]
    fn the_table_has_every_name_it_is_made_from() {
        assert_eq!(TABLE.len(), NAMES.len() + 16 + 64);
    }
}
