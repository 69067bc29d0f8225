//! Records in one line each.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, Mandatory, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, MX, NULL, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// A name, absolute whether or not it ends in a dot.
pub(crate) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap_or_else(|_| panic!("a name: {text}"));
    name.set_fqdn(true);
    name
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(owner), ttl, data)
}

/// An A record with a TTL of 300 s.
pub(crate) fn a(owner: &str, address: &str) -> Record {
    let address: Ipv4Addr = address.parse().expect("an IPv4 address");
    record(owner, 300, RData::A(A(address)))
}

/// An AAAA record with a TTL of 300 s.
pub(crate) fn aaaa(owner: &str, address: &str) -> Record {
    let address: Ipv6Addr = address.parse().expect("an IPv6 address");
    record(owner, 300, RData::AAAA(AAAA(address)))
}

/// A CNAME record.
pub(crate) fn cname(owner: &str, target: &str) -> Record {
    record(owner, 300, RData::CNAME(CNAME(name(target))))
}

/// An MX record.
pub(crate) fn mx(owner: &str, exchange: &str) -> Record {
    record(owner, 300, RData::MX(MX::new(10, name(exchange))))
}

/// A TXT record.
pub(crate) fn txt(owner: &str, text: &str) -> Record {
    record(owner, 300, RData::TXT(TXT::new(vec![text.to_owned()])))
}

/// A SOA record, with one number for its TTL and its MINIMUM.
pub(crate) fn soa(owner: &str, seconds: u32) -> Record {
    let data = SOA::new(
        name("ns.example"),
        name("admin.example"),
        7,
        3600,
        600,
        86400,
        seconds,
    );
    record(owner, seconds, RData::SOA(data))
}

/// An HTTPS record with `alpn`, hints of both families, and a `mandatory` that names `ipv6hint`.
pub(crate) fn https(owner: &str) -> Record {
    let parameters = vec![
        (
            SvcParamKey::Mandatory,
            SvcParamValue::Mandatory(Mandatory(vec![SvcParamKey::Alpn, SvcParamKey::Ipv6Hint])),
        ),
        (
            SvcParamKey::Alpn,
            SvcParamValue::Alpn(Alpn(vec!["h3".to_owned(), "h2".to_owned()])),
        ),
        (
            SvcParamKey::Ipv4Hint,
            SvcParamValue::Ipv4Hint(IpHint(vec![A(Ipv4Addr::new(198, 51, 100, 7))])),
        ),
        (
            SvcParamKey::Ipv6Hint,
            SvcParamValue::Ipv6Hint(IpHint(vec![AAAA(Ipv6Addr::new(
                0x2001, 0xdb8, 0, 0, 0, 0, 0, 7,
            ))])),
        ),
    ];
    let data = HTTPS(SVCB::new(1, Name::root(), parameters));
    record(owner, 300, RData::HTTPS(data))
}

/// An RRSIG over records of type `covered`; its signature is made up.
pub(crate) fn rrsig(owner: &str, covered: RecordType) -> Record {
    let mut data = u16::from(covered).to_be_bytes().to_vec();
    data.extend([13, 2, 0, 0, 1, 44]);
    data.extend([0x70, 0, 0, 0, 0x60, 0, 0, 0, 0, 1]);
    data.extend(b"\x07example\x00");
    data.extend([0x5a; 64]);
    let code = RecordType::from(46);
    let rdata = NULL::with(data);
    record(owner, 300, RData::Unknown { code, rdata })
}
