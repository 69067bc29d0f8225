//! PURE. A query in place: one question of class IN, RD=1, and no more of EDNS than its size, DO and a cookie.

use super::super::cookie::Cookie;
use super::super::message::ClientEdns;
use super::super::options::{COOKIE, OPTION_HEAD};
use super::{AD, CD, CLASS_IN, OPT, RD};
use crate::resolve::cache::Key;
use crate::resolve::wire::{HEADER, TYPE_AND_CLASS, TYPE_OPT, name_length};

/// A query as most clients send it. Everything else takes the long way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dns) struct Plain<'p> {
    /// The ID.
    pub(super) id: [u8; 2],
    /// Name, type and class, in the client's own spelling.
    pub(super) question: &'p [u8],
    /// AD of the header: the client reads it (RFC 6840 section 5.7).
    pub(super) authentic: bool,
    /// CD of the header.
    pub(super) checking_disabled: bool,
    /// What its OPT record said, where it sent one.
    edns: Option<ClientEdns>,
    /// Its cookie, where it sent one.
    cookie: Option<Cookie>,
}

impl<'p> Plain<'p> {
    /// Reads a packet; `None` where it is anything but a plain query.
    pub(in crate::dns) fn read(packet: &'p [u8]) -> Option<Self> {
        let (header, rest) = packet.split_first_chunk::<HEADER>()?;
        let [id0, id1, RD, flags, 0, 1, 0, 0, 0, 0, 0, additionals] = *header else {
            return None;
        };
        if flags & !(AD | CD) != 0 {
            return None;
        }
        let (question, rest) = rest.split_at_checked(name_length(rest)? + TYPE_AND_CLASS)?;
        if !question.ends_with(&CLASS_IN) {
            return None;
        }
        let (edns, cookie) = match (additionals, rest) {
            (0, []) => (None, None),
            (1, opt) => {
                let (edns, cookie) = read_opt(opt)?;
                (Some(edns), cookie)
            }
            _ => return None,
        };
        Some(Self {
            id: [id0, id1],
            question,
            authentic: flags & AD != 0,
            checking_disabled: flags & CD != 0,
            edns,
            cookie,
        })
    }

    /// What its OPT record said, where it sent one.
    pub(in crate::dns) fn edns(&self) -> Option<ClientEdns> {
        self.edns
    }

    /// Its cookie, where it sent one.
    pub(in crate::dns) fn cookie(&self) -> Option<Cookie> {
        self.cookie
    }

    /// Name, type and class, in the client's own spelling.
    pub(in crate::dns) fn question(&self) -> &'p [u8] {
        self.question
    }

    /// Whether it asks for signatures, or for what does not hold.
    pub(in crate::dns) fn wants_more(&self) -> bool {
        self.dnssec_ok() || self.checking_disabled
    }

    /// Its type.
    pub(in crate::dns) fn record_type(&self) -> u16 {
        match *self.question {
            [.., high, low, _, _] => u16::from_be_bytes([high, low]),
            _ => 0,
        }
    }

    /// Whether the client wants signatures.
    pub(super) fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// What its answer is found by.
    pub(in crate::dns) fn key(&self) -> Key {
        Key::of_wire(self.question, self.dnssec_ok(), self.checking_disabled)
    }
}

/// Reads an OPT record that ends the packet, of version 0 and without options, or with one cookie.
fn read_opt(opt: &[u8]) -> Option<(ClientEdns, Option<Cookie>)> {
    let (head, options) = opt.split_first_chunk::<OPT>()?;
    let [
        0,
        type0,
        type1,
        payload0,
        payload1,
        0,
        0,
        flags,
        0,
        length0,
        length1,
    ] = *head
    else {
        return None;
    };
    let dnssec_ok = match flags {
        0 => false,
        0x80 => true,
        _ => return None,
    };
    let length = usize::from(u16::from_be_bytes([length0, length1]));
    if [type0, type1] != TYPE_OPT || options.len() != length {
        return None;
    }
    let cookie = match options.split_first_chunk::<OPTION_HEAD>() {
        None if options.is_empty() => None,
        None => return None,
        Some(([code0, code1, length0, length1], data)) => {
            let is_all = data.len() == usize::from(u16::from_be_bytes([*length0, *length1]));
            if u16::from_be_bytes([*code0, *code1]) != COOKIE || !is_all {
                return None;
            }
            Some(Cookie::read(data)?)
        }
    };
    let edns = ClientEdns {
        payload: u16::from_be_bytes([payload0, payload1]),
        dnssec_ok,
    };
    Some((edns, cookie))
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::RecordType;

    use super::super::super::testing::{edns_query, query};
    use super::*;

    fn packets() -> Vec<Vec<u8>> {
        let mut spelled = query("wWw.Example.", RecordType::AAAA);
        spelled.metadata.checking_disabled = true;
        let plain = query("www.example.", RecordType::A);
        let root = query(".", RecordType::NS);
        let edns = edns_query("www.example.", RecordType::A, false);
        let signed = edns_query("www.example.", RecordType::HTTPS, true);
        [plain, spelled, root, edns, signed]
            .iter()
            .map(|message| message.to_vec().unwrap())
            .collect()
    }

    #[test]
    fn plain_queries_are_read_and_no_prefix_of_them_and_nothing_after_them() {
        for packet in packets() {
            let plain = Plain::read(&packet).expect("a plain query");
            assert_eq!(plain.id, 4711_u16.to_be_bytes());
            for end in 0..packet.len() {
                assert_eq!(Plain::read(&packet[..end]), None, "{end}");
            }
            let mut longer = packet;
            longer.push(0);
            assert_eq!(Plain::read(&longer), None);
            longer.resize(1 << 16, 0);
            assert_eq!(Plain::read(&longer), None);
        }
    }

    #[test]
    fn a_header_that_says_more_than_rd_ad_and_cd_is_not_plain() {
        for packet in packets() {
            for at in 2..HEADER {
                for bit in 0..8 {
                    let mut flipped = packet.clone();
                    flipped[at] ^= 1 << bit;
                    let read = Plain::read(&flipped);
                    let harmless = at == 3 && [AD, CD].contains(&(1 << bit));
                    assert_eq!(read.is_some(), harmless, "octet {at} bit {bit}");
                }
            }
        }
    }

    #[test]
    fn options_versions_classes_and_compressed_names_take_the_long_way() {
        let packet = edns_query("www.example.", RecordType::A, false)
            .to_vec()
            .unwrap();
        let opt = packet.len() - OPT;
        for (at, value) in [
            (opt, 1),        // not the root's
            (opt + 2, 42),   // another type
            (opt + 5, 1),    // an extended RCODE
            (opt + 6, 1),    // version 1
            (opt + 7, 0x40), // another flag than DO
            (opt + 8, 1),    // and another
            (opt + 10, 1),   // an option that is not there
            (opt - 1, 3),    // class CH
            (HEADER, 0xc0),  // a pointer
            (HEADER, 0x40),  // a label of no kind
        ] {
            let mut changed = packet.clone();
            changed[at] = value;
            assert_eq!(Plain::read(&changed), None, "{at} {value}");
        }
    }

    #[test]
    fn one_cookie_is_read_and_every_other_option_takes_the_long_way() {
        let with = |options: &[u8]| {
            let mut packet = edns_query("www.example.", RecordType::A, false)
                .to_vec()
                .unwrap();
            let length = u16::try_from(options.len()).unwrap().to_be_bytes();
            let end = packet.len();
            packet[end - 2..].copy_from_slice(&length);
            packet.extend(options);
            packet
        };
        let cookie = |data: &[u8]| {
            let length = u8::try_from(data.len()).unwrap();
            [&[0, 10, 0, length], data].concat()
        };
        for length in 0..=41 {
            let data = vec![7; length];
            let packet = with(&cookie(&data));
            let plain = Plain::read(&packet);
            let is_good = matches!(length, 8 | 16..=40);
            assert_eq!(plain.is_some(), is_good, "{length}");
            let Some(plain) = plain else { continue };
            assert_eq!(plain.cookie(), Cookie::read(&data));
            assert!(plain.edns().is_some());
            for end in 0..packet.len() {
                assert_eq!(Plain::read(&packet[..end]), None, "{length} {end}");
            }
            assert_eq!(Plain::read(&[&packet[..], &[0]].concat()), None);
        }
        let client = cookie(&[7; 8]);
        for options in [
            [&client[..], &client].concat(),
            [&client[..], &[0, 3, 0, 0]].concat(), // NSID
            vec![0, 3, 0, 0],
            vec![0, 8, 0, 4, 0, 1, 0, 0], // a client subnet
            vec![0, 10, 0],
            vec![0, 10, 0, 9, 7, 7, 7, 7, 7, 7, 7, 7], // longer than it is
            vec![0, 10, 1, 8, 7, 7, 7, 7, 7, 7, 7, 7],
        ] {
            assert_eq!(Plain::read(&with(&options)), None, "{options:?}");
        }
    }

    #[test]
    fn a_name_may_have_255_octets_and_no_more() {
        let long = |last: usize| {
            let mut packet = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            for length in [63, 63, 63, last] {
                packet.push(u8::try_from(length).unwrap());
                packet.extend(vec![b'a'; length]);
            }
            packet.extend([0, 0, 1, 0, 1]);
            packet
        };
        let longest = long(61);
        assert!(Plain::read(&longest).is_some());
        assert_eq!(Plain::read(&long(62)), None);
    }
}
