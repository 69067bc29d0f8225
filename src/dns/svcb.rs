//! PURE. Service bindings (HTTPS and SVCB, RFC 9460) as clients of the gate may see them.
//!
//! Called by `withhold` and `rebind` for names that are told as they are, and by `pipeline` for names that lead to the gate.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::rdata::HTTPS;
use hickory_proto::rr::rdata::svcb::{Alpn, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// What the gate can carry, best first; the first only while it carries QUIC.
const CARRIED: [&str; 3] = ["h3", "h2", DEFAULT];
/// The default protocol of HTTPS records (RFC 9460 section 9.1.1).
const DEFAULT: &str = "http/1.1";
/// Key of `dohpath`, without which `h2` says nothing of a DNS server (RFC 9461 section 5).
const DOH_PATH: u16 = 7;

/// Takes `ipv6hint` out of a service binding. Says whether there was one.
pub(super) fn strip_ipv6_hints(data: &mut RData) -> bool {
    strip_hints(data, |address| address.is_ipv6())
}

/// Takes unwanted addresses out of the hints of a service binding, and hints that are empty then out of it and of its
/// `mandatory` list; the rest, unknown keys too, stays. Says whether anything was taken.
pub(super) fn strip_hints(data: &mut RData, mut unwanted: impl FnMut(IpAddr) -> bool) -> bool {
    let (RData::HTTPS(HTTPS(binding)) | RData::SVCB(binding)) = data else {
        return false;
    };
    let mut changed = false;
    let mut gone = Vec::new();
    binding.svc_params.retain_mut(|(key, value)| {
        let (before, after) = match value {
            SvcParamValue::Ipv4Hint(hint) => {
                let before = hint.0.len();
                hint.0.retain(|address| !unwanted(address.0.into()));
                (before, hint.0.len())
            }
            SvcParamValue::Ipv6Hint(hint) => {
                let before = hint.0.len();
                hint.0.retain(|address| !unwanted(address.0.into()));
                (before, hint.0.len())
            }
            _ => return true,
        };
        changed |= after != before;
        if after == 0 && after != before {
            gone.push(*key);
        }
        after > 0 || before == 0
    });
    binding.svc_params.retain_mut(|(_, value)| match value {
        // A key that is mandatory but missing makes the whole record unusable (section 8), and so does an empty list.
        SvcParamValue::Mandatory(list) if !gone.is_empty() => {
            list.0.retain(|key| !gone.contains(key));
            !list.0.is_empty()
        }
        _ => true,
    });
    changed
}

/// The one record that stands for all of a steered name's, with the protocols that both the truth offers and the gate
/// carries; nothing that leads around the gate (`port`, hints, alias target) or that it could not read past (`ech`).
///
/// It leads to `host`, whose addresses are the gate's: the owner itself, or the name below a port and a scheme. `None`
/// where the truth has no ServiceMode record, or none with such a protocol, or an alias: beside one, ServiceMode
/// records do not count (RFC 9460 section 2.4.1), and what is at its target is not at this name. `quic`: whether the gate
/// carries QUIC.
pub(super) fn synthetic(
    owner: &Name,
    host: &Name,
    record_type: RecordType,
    truth: &[Record],
    longest: Duration,
    quic: bool,
) -> Option<Record> {
    let mut offered: Vec<&str> = Vec::new();
    let mut default = false;
    let mut ttl = u32::try_from(longest.as_secs()).unwrap_or(u32::MAX);
    let mut found = false;
    let mut path = None;
    for record in truth
        .iter()
        .filter(|record| record.record_type() == record_type)
    {
        let (RData::HTTPS(HTTPS(binding)) | RData::SVCB(binding)) = &record.data else {
            continue;
        };
        if binding.svc_priority == 0 {
            return None;
        }
        found = true;
        ttl = ttl.min(record.ttl);
        let mut no_default = record_type != RecordType::HTTPS;
        for (key, value) in &binding.svc_params {
            match value {
                SvcParamValue::Alpn(list) => offered.extend(list.0.iter().map(String::as_str)),
                SvcParamValue::NoDefaultAlpn => no_default = true,
                _ if u16::from(*key) == DOH_PATH => {
                    path = path.or_else(|| Some((*key, value.clone())))
                }
                _ => {}
            }
        }
        default |= !no_default;
    }
    if default {
        offered.push(DEFAULT);
    }
    let carried: Vec<String> = CARRIED
        .into_iter()
        .skip(usize::from(!quic))
        .filter(|protocol| offered.contains(protocol))
        .map(str::to_owned)
        .collect();
    if !found || carried.is_empty() {
        return None;
    }
    let mut parameters = vec![(SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(carried)))];
    if record_type == RecordType::HTTPS && !offered.contains(&DEFAULT) {
        parameters.push((SvcParamKey::NoDefaultAlpn, SvcParamValue::NoDefaultAlpn));
    }
    parameters.extend(path);
    let target = if owner == host {
        Name::root()
    } else {
        host.clone()
    };
    let binding = SVCB::new(1, target, parameters);
    let data = match record_type {
        RecordType::HTTPS => RData::HTTPS(HTTPS(binding)),
        _ => RData::SVCB(binding),
    };
    Some(Record::from_rdata(owner.clone(), ttl, data))
}

/// The host that a service binding is about: `_8443._https.a.example` is about `a.example` (RFC 9460 section 2.3).
pub(super) fn host_of(name: &Name) -> Name {
    let attributes = name
        .iter()
        .take_while(|label| label.first() == Some(&b'_'))
        .count();
    name.trim_to(name.iter().count().saturating_sub(attributes))
}

/// In the form of master files (RFC 9460 section 2.1); hickory's own ends lists with a comma and quotes what is not text.
pub(super) fn presentation(binding: &SVCB) -> String {
    let mut text = format!("{} {}", binding.svc_priority, binding.target_name);
    for (key, value) in &binding.svc_params {
        text.push(' ');
        text.push_str(&key_text(*key));
        let value = match value {
            SvcParamValue::Mandatory(keys) => list(keys.0.iter().map(|key| key_text(*key))),
            SvcParamValue::Alpn(protocols) => {
                // A comma within an item is escaped, and that escaped again as a character string (appendix A.1).
                let item = |id: &String| {
                    let id = id.replace('\\', "\\\\").replace(',', "\\,");
                    escaped(id.as_bytes())
                };
                list(protocols.0.iter().map(item))
            }
            SvcParamValue::NoDefaultAlpn => continue,
            SvcParamValue::Port(port) => port.to_string(),
            SvcParamValue::Ipv4Hint(hint) => list(hint.0.iter().map(|a| a.0.to_string())),
            SvcParamValue::Ipv6Hint(hint) => list(hint.0.iter().map(|a| a.0.to_string())),
            SvcParamValue::EchConfigList(ech) => ech.to_string().replace('"', ""),
            SvcParamValue::Unknown(octets) if octets.0.is_empty() => continue,
            SvcParamValue::Unknown(octets) => escaped(&octets.0),
        };
        text.push('=');
        text.push_str(&value);
    }
    text
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}

fn key_text(key: SvcParamKey) -> String {
    match key {
        SvcParamKey::Key(number) | SvcParamKey::Unknown(number) => format!("key{number}"),
        key => key.to_string(),
    }
}

/// Octets as a character string (RFC 1035 section 5.1), quoted where it must be.
fn escaped(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for &octet in octets {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(octet)]),
            b' '..=b'~' => text.push(char::from(octet)),
            // Writing into a string does not fail.
            _ => write!(text, "\\{octet:03}").unwrap_or_default(),
        }
    }
    let plain = |octet: &u8| octet.is_ascii_graphic() && !b"();".contains(octet);
    if octets.iter().all(plain) && !octets.is_empty() {
        return text;
    }
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn https(text: &str) -> Record {
        Record::from_rdata(
            Name::from_ascii("a.example.").unwrap(),
            300,
            RData::try_from_str(RecordType::HTTPS, text).unwrap(),
        )
    }

    fn made(truth: &[&str], quic: bool) -> Option<String> {
        let truth: Vec<Record> = truth.iter().map(|text| https(text)).collect();
        let owner = Name::from_ascii("A.example.").unwrap();
        let ours = synthetic(
            &owner,
            &owner,
            RecordType::HTTPS,
            &truth,
            Duration::from_secs(60),
            quic,
        );
        ours.map(|record| {
            assert_eq!(record.ttl, 60);
            record.data.to_string()
        })
    }

    #[test]
    fn the_presentation_is_that_of_master_files() {
        for text in [
            "0 other.example.",
            "1 .",
            "1 . mandatory=alpn,ipv4hint alpn=h2,http/1.1 no-default-alpn port=8443 ipv4hint=192.0.2.1,192.0.2.2 \
             ech=AEX+DQ== ipv6hint=2001:db8::1,2001:db8::2",
            "16 a.example. alpn=h3 key65400=x",
        ] {
            let RData::HTTPS(HTTPS(binding)) = https(text).data else {
                panic!("{text}");
            };
            assert_eq!(presentation(&binding), text);
        }
    }

    #[test]
    fn what_is_no_text_is_escaped() {
        use hickory_proto::rr::rdata::svcb::Unknown;
        let octets = |octets: &[u8]| SvcParamValue::Unknown(Unknown(octets.to_vec()));
        let key = SvcParamKey::Key;
        let params = vec![
            (
                SvcParamKey::Alpn,
                SvcParamValue::Alpn(Alpn(vec!["f\\oo,bar".to_owned(), "h2".to_owned()])),
            ),
            (key(7), octets(b"/dns-query{?dns}")),
            (key(667), octets(b"hello\xd2qoo \"\x1b")),
            (SvcParamKey::Unknown(65_400), octets(b"")),
        ];
        let binding = SVCB::new(1, Name::root(), params);
        // The first is the one of RFC 9460 appendix D.2, figure 10.
        let expected = r#"1 . alpn=f\\\\oo\\,bar,h2 key7=/dns-query{?dns} key667="hello\210qoo \"\027" key65400"#;
        assert_eq!(presentation(&binding), expected);
    }

    #[test]
    fn only_the_ipv6_hint_goes_and_mandatory_stays_consistent() {
        for (before, after) in [
            (
                "1 . mandatory=alpn,ipv6hint alpn=h2,h3 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1 key65400=x",
                "1 . mandatory=alpn alpn=h2,h3 ipv4hint=192.0.2.1 key65400=x",
            ),
            (
                "1 b.example. mandatory=ipv6hint port=8443 ipv6hint=2001:db8::1",
                "1 b.example. port=8443",
            ),
        ] {
            let mut record = https(before);
            assert!(strip_ipv6_hints(&mut record.data));
            assert_eq!(record, https(after));
        }
        let mut record = https("1 . alpn=h2 ipv4hint=192.0.2.1");
        assert!(!strip_ipv6_hints(&mut record.data));
    }

    #[test]
    fn the_record_of_a_steered_name_lists_what_both_sides_can_do() {
        for (truth, expected) in [
            (
                &["1 . alpn=h3,h2 port=8443 ech=AAAA ipv4hint=192.0.2.1"][..],
                Some("1 . alpn=\"h2,http/1.1,\""),
            ),
            (&["1 cdn.example. alpn=h2 no-default-alpn"], Some("h2-only")),
            (&["1 . alpn=h3"], Some("http")),
            (&["1 . alpn=h3 no-default-alpn"], None),
            (&["0 cdn.example."], None),
            (&["0 cdn.example.", "1 . alpn=h2"], None),
            (&[], None),
        ] {
            let made = made(truth, false);
            assert_eq!(made.is_some(), expected.is_some(), "{truth:?}");
            let Some(made) = made else { continue };
            assert!(made.starts_with("1 . alpn="), "{made}");
            assert!(
                !["h3", "port", "ech", "hint"]
                    .iter()
                    .any(|word| made.contains(word)),
                "{made}"
            );
            let two = truth.iter().any(|text| text.contains("h2"));
            assert_eq!(made.contains("h2"), two, "{made}");
            let only_two = truth.iter().any(|text| text.contains("no-default-alpn"));
            assert_eq!(made.contains("http/1.1"), !only_two, "{made}");
            assert_eq!(made.contains("no-default-alpn"), only_two, "{made}");
        }
    }

    #[test]
    fn h3_is_listed_only_while_quic_is_carried() {
        for (truth, with, without) in [
            (
                "1 . alpn=h3,h2",
                Some("h3,h2,http/1.1"),
                Some("h2,http/1.1"),
            ),
            ("1 . alpn=h2", Some("h2,http/1.1"), Some("h2,http/1.1")),
            ("1 . alpn=h3 no-default-alpn", Some("h3"), None),
        ] {
            for (quic, expected) in [(true, with), (false, without)] {
                let alpn = made(&[truth], quic);
                let alpn = alpn.as_deref().and_then(|text| text.split("alpn=").nth(1));
                let alpn = alpn.and_then(|rest| rest.split(' ').next());
                let alpn = alpn.map(|list| list.trim_matches(['"', ',']));
                assert_eq!(alpn, expected, "{truth} {quic}");
            }
        }
    }

    #[test]
    fn the_host_of_a_port_prefixed_name_is_what_stands_below_the_attributes() {
        for (name, host) in [
            ("_8443._https.a.example.", "a.example."),
            ("a.example.", "a.example."),
            ("_dns.", "."),
            (".", "."),
        ] {
            assert_eq!(
                host_of(&Name::from_ascii(name).unwrap()),
                Name::from_ascii(host).unwrap()
            );
        }
    }
}
