//! PURE. The data of a service binding read in place, where it is as most are (RFC 9460 section 2.2): no target of its own,
//! and of its parameters only those that everybody knows. Called by `simple`, and by `dns` for the hints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4_HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6_HINT: u16 = 6;
/// Key and length before the value of a parameter.
const HEAD: usize = 4;

/// Where the hints stand in the data of a service binding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// `ipv4hint`, key and length included.
    pub ipv4: Option<Range<usize>>,
    /// `ipv6hint`, likewise.
    pub ipv6: Option<Range<usize>>,
}

impl Binding {
    /// Reads the data of a record; `None` where it is not as described above, or malformed.
    pub fn read(data: &[u8]) -> Option<Self> {
        // A priority, and the root.
        let [_, _, 0, ..] = data else {
            return None;
        };
        let mut binding = Self::default();
        let (mut at, mut last) = (3, None);
        while at < data.len() {
            let [key0, key1, length0, length1] = *data.get(at..)?.first_chunk::<HEAD>()?;
            let key = u16::from_be_bytes([key0, key1]);
            let end = at + HEAD + usize::from(u16::from_be_bytes([length0, length1]));
            let value = data.get(at + HEAD..end)?;
            if last.is_some_and(|last| key <= last) {
                return None;
            }
            let good = match key {
                ALPN => is_list(value),
                NO_DEFAULT_ALPN => value.is_empty(),
                PORT => value.len() == 2,
                IPV4_HINT => {
                    binding.ipv4 = Some(at..end);
                    !value.is_empty() && value.len().is_multiple_of(4)
                }
                ECH => !value.is_empty(),
                IPV6_HINT => {
                    binding.ipv6 = Some(at..end);
                    !value.is_empty() && value.len().is_multiple_of(16)
                }
                _ => false,
            };
            if !good {
                return None;
            }
            (at, last) = (end, Some(key));
        }
        // An alias has no parameters.
        (last.is_none() || data.first_chunk::<2>() != Some(&[0, 0])).then_some(binding)
    }

    /// The addresses of the hints.
    pub fn hints<'a>(&self, data: &'a [u8]) -> impl Iterator<Item = IpAddr> + use<'a> {
        let value = |range: &Option<Range<usize>>| {
            let range = range.clone().unwrap_or_default();
            data.get(range)
                .and_then(|hint| hint.get(HEAD..))
                .unwrap_or_default()
        };
        let v4 = value(&self.ipv4).as_chunks::<4>().0;
        let v6 = value(&self.ipv6).as_chunks::<16>().0;
        let v4 = v4.iter().map(|octets| Ipv4Addr::from(*octets).into());
        v4.chain(v6.iter().map(|octets| Ipv6Addr::from(*octets).into()))
    }
}

/// Whether it is a list of texts that are not empty, each with its length before it. What is no UTF-8 is read nowhere else.
fn is_list(mut value: &[u8]) -> bool {
    if value.is_empty() {
        return false;
    }
    while let Some((&length, rest)) = value.split_first() {
        match rest.split_at_checked(length.into()) {
            Some((text, rest)) if length > 0 && std::str::from_utf8(text).is_ok() => value = rest,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{RData, RecordType};
    use hickory_proto::serialize::binary::BinEncodable as _;

    use super::*;

    fn data(text: &str) -> Vec<u8> {
        let data = RData::try_from_str(RecordType::HTTPS, text).unwrap();
        data.to_bytes().unwrap()
    }

    #[test]
    fn the_hints_are_found_and_nothing_else_is_taken_for_them() {
        let octets =
            data("1 . alpn=h3,h2 port=8443 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1");
        let binding = Binding::read(&octets).expect("as most are");
        let hints: Vec<String> = binding
            .hints(&octets)
            .map(|hint| hint.to_string())
            .collect();
        assert_eq!(hints, ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        assert_eq!(binding.ipv6, Some(octets.len() - 20..octets.len()));
        for plain in ["1 . alpn=h2", "1 .", "0 ."] {
            assert_eq!(
                Binding::read(&data(plain)),
                Some(Binding::default()),
                "{plain}"
            );
        }
    }

    #[test]
    fn what_has_another_target_or_other_keys_is_not_read_here() {
        for other in [
            "1 a.example. alpn=h2",
            "0 a.example.",
            "1 . key7=/dns-query",
        ] {
            assert_eq!(Binding::read(&data(other)), None, "{other}");
        }
        let mandatory = data("1 . mandatory=ipv6hint ipv6hint=2001:db8::1");
        assert_eq!(Binding::read(&mandatory), None);
    }

    #[test]
    fn no_prefix_is_taken_for_the_whole_but_at_the_end_of_a_parameter() {
        let octets = data("1 . alpn=h2 ipv4hint=192.0.2.1");
        let good: Vec<usize> = (0..=octets.len())
            .filter(|end| Binding::read(&octets[..*end]).is_some())
            .collect();
        assert_eq!(good, [3, 10, 18]);
    }
}
