//! PURE. The bytes of an answer, made once, and told again: with the ID, flags and spelling of another query, TTLs
//! reduced by the time since (RFC 1035 section 3.2.1), and an OPT record only for who sent one.

use super::query::Plain;
use super::{AD, CD, HEADER, RD, TYPE_AND_CLASS, TYPE_OPT, name_length};

/// How long it is since an answer was made, and how long it still holds, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dns) struct Age {
    /// What TTLs have gone down by.
    pub(in crate::dns) age: u32,
    /// What capped TTLs are never above.
    pub(in crate::dns) left: u32,
}

/// How the bytes of a [`Finished`] are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dns) struct Parts {
    /// The question's bytes, after the header.
    question: u16,
    /// Where the OPT record begins, which is the last.
    opt: u16,
    /// Where the message ends; after it, where each TTL stands, two octets each.
    end: u16,
    /// So many TTLs, the last ones, are bounds of ours: they do not go down before less is left.
    capped: u16,
}

/// An answer without a client: ID 0, RD=1, AD as it is for who reads it, an OPT record, not truncated.
#[derive(Clone, Copy, Debug)]
pub(in crate::dns) struct Finished<'a> {
    bytes: &'a [u8],
    parts: Parts,
}

impl<'a> Finished<'a> {
    /// What [`Finished::prepare`] made.
    pub(in crate::dns) fn new(bytes: &'a [u8], parts: Parts) -> Self {
        Self { bytes, parts }
    }

    /// Appends the places of the TTLs to an answer of ours and says how it is divided; `None` where it has another form
    /// than described at [`Finished`]. The TTLs of so many records, the last ones, are capped; of all, where there are fewer.
    pub(in crate::dns) fn prepare(message: &mut Vec<u8>, capped: usize) -> Option<Parts> {
        let header = message.first_chunk::<HEADER>()?;
        let [_, _, _, _, 0, 1, rest @ ..] = *header else {
            return None;
        };
        let counts = rest.as_chunks::<2>().0;
        let count: u32 = counts
            .iter()
            .map(|count| u32::from(u16::from_be_bytes(*count)))
            .sum();
        let question = name_length(message.get(HEADER..)?)? + TYPE_AND_CLASS;
        let mut at = HEADER + question;
        let mut ttls = Vec::new();
        let mut opt = None;
        for _ in 0..count {
            // What follows OPT would not be told without it.
            if opt.is_some() {
                return None;
            }
            let start = at;
            at += owner_length(message.get(at..)?)?;
            let [type0, type1, _, _, _, _, _, _, length0, length1] =
                *message.get(at..)?.first_chunk::<10>()?;
            if [type0, type1] == TYPE_OPT {
                opt = Some(u16::try_from(start).ok()?);
            } else {
                ttls.push(u16::try_from(at + TYPE_AND_CLASS).ok()?);
            }
            at += 10 + usize::from(u16::from_be_bytes([length0, length1]));
        }
        if at != message.len() {
            return None;
        }
        let parts = Parts {
            question: u16::try_from(question).ok()?,
            opt: opt?,
            end: u16::try_from(at).ok()?,
            capped: u16::try_from(capped.min(ttls.len())).ok()?,
        };
        message.extend(ttls.into_iter().flat_map(u16::to_be_bytes));
        Some(parts)
    }

    /// Its question, in lower case.
    pub(in crate::dns) fn question(&self) -> Option<&'a [u8]> {
        let end = HEADER + usize::from(self.parts.question);
        self.bytes.get(HEADER..end)
    }

    /// Appends the answer to a query that has the same key, this many seconds after it was made; `None`, and nothing
    /// appended, where it would be longer than `limit`.
    pub(in crate::dns) fn tell(
        &self,
        query: &Plain<'_>,
        Age { age, left }: Age,
        limit: u16,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let Parts {
            question,
            opt,
            end,
            capped,
        } = self.parts;
        let with_opt = query.edns().is_some();
        let length = if with_opt { end } else { opt };
        let message = self.bytes.get(..usize::from(length))?;
        if length > limit || query.question.len() != usize::from(question) {
            return None;
        }
        let begin = out.len();
        out.extend_from_slice(message);
        let told = out.get_mut(begin..)?;
        let (header, body) = told.split_first_chunk_mut::<HEADER>()?;
        let [id0, id1, high, low, .., arcount] = header;
        [*id0, *id1] = query.id;
        *high |= RD;
        if !query.authentic && !query.dnssec_ok() {
            *low &= !AD;
        }
        if query.checking_disabled {
            *low |= CD;
        }
        if !with_opt {
            // There is one at least, and adding up 256 or more would not be wrong by more than the borrow below.
            let (lower, borrow) = arcount.overflowing_sub(1);
            *arcount = lower;
            if borrow && let Some(higher) = header.get_mut(HEADER - 2) {
                *higher = higher.wrapping_sub(1);
            }
        }
        body.get_mut(..query.question.len())?
            .copy_from_slice(query.question);
        let places = self.bytes.get(usize::from(end)..)?.as_chunks::<2>().0;
        let aging = places.len().checked_sub(usize::from(capped))?;
        let (aging, capped) = places.split_at_checked(aging)?;
        if age > 0 {
            for place in aging {
                change(told, *place, |ttl| ttl.saturating_sub(age));
            }
        }
        for place in capped {
            change(told, *place, |ttl| ttl.min(left));
        }
        Some(())
    }
}

/// Changes the TTL that stands at this place.
fn change(message: &mut [u8], place: [u8; 2], to: impl Fn(u32) -> u32) {
    let at = usize::from(u16::from_be_bytes(place));
    if let Some(ttl) = message.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *ttl = to(u32::from_be_bytes(*ttl)).to_be_bytes();
    }
}

/// The length of the owner of a record, which may be compressed.
fn owner_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            label @ 1..=63 => at += 1 + usize::from(label),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Edns, Message, ResponseCode};
    use hickory_proto::rr::RecordType;

    use super::super::super::testing::{edns_query, query, record};
    use super::*;

    /// An answer of ours: two addresses at the end of an alias, and something of each other section.
    fn answer() -> Message {
        let mut message = query("www.example.", RecordType::A);
        message.metadata.id = 0;
        message.metadata.message_type = hickory_proto::op::MessageType::Response;
        message.metadata.recursion_available = true;
        message.metadata.authentic_data = true;
        for line in [
            "www.example. CNAME cdn.example.",
            "cdn.example. A 192.0.2.1",
            "cdn.example. A 192.0.2.2",
        ] {
            message.answers.push(record(line));
        }
        message.authorities.push(record(
            "example. SOA ns.example. admin.example. 7 3600 600 86400 900",
        ));
        message.additionals.push(record("ns.example. A 192.0.2.3"));
        message.set_edns(Edns::new());
        message
    }

    fn aged(age: u32) -> Age {
        Age {
            age,
            left: u32::MAX,
        }
    }

    fn prepared() -> (Vec<u8>, Parts) {
        let mut bytes = answer().to_vec().unwrap();
        let parts = Finished::prepare(&mut bytes, 0).expect("an answer of ours");
        (bytes, parts)
    }

    fn told(query: &Message, age: u32) -> Message {
        let (bytes, parts) = prepared();
        let packet = query.to_vec().unwrap();
        let mut out = b"before".to_vec();
        let plain = Plain::read(&packet).unwrap();
        Finished::new(&bytes, parts)
            .tell(&plain, aged(age), u16::MAX, &mut out)
            .expect("it fits");
        Message::from_vec(out.strip_prefix(b"before").unwrap()).unwrap()
    }

    #[test]
    fn it_is_told_with_the_id_the_flags_and_the_spelling_of_the_query() {
        let mut query = edns_query("wWw.eXample.", RecordType::A, false);
        query.metadata.id = 0xabcd;
        query.metadata.checking_disabled = true;
        let told = told(&query, 0);
        let mut expected = answer();
        expected.metadata.id = 0xabcd;
        expected.metadata.checking_disabled = true;
        expected.metadata.authentic_data = false;
        assert_eq!(told, expected);
        assert_eq!(told.queries[0].name().to_string(), "wWw.eXample.");
        assert_eq!(told.answers[0].name.to_string(), "wWw.eXample.");
    }

    #[test]
    fn who_reads_ad_is_told_and_who_sent_no_opt_gets_none() {
        let mut asks = query("www.example.", RecordType::A);
        let plain = told(&asks, 0);
        assert!(!plain.metadata.authentic_data);
        assert_eq!(plain.edns, None);
        assert_eq!(plain.additionals, answer().additionals);
        asks.metadata.authentic_data = true;
        assert!(told(&asks, 0).metadata.authentic_data);
        let signed = told(&edns_query("www.example.", RecordType::A, true), 0);
        assert!(signed.metadata.authentic_data && signed.edns.is_some());
    }

    #[test]
    fn ttls_go_down_with_time_to_zero_and_those_of_opt_do_not() {
        for age in [1, 299, 300, u32::MAX] {
            let told = told(&edns_query("www.example.", RecordType::A, false), age);
            let sections = [&told.answers, &told.authorities, &told.additionals];
            let ttls: Vec<u32> = sections
                .into_iter()
                .flatten()
                .map(|held| held.ttl)
                .collect();
            assert_eq!(ttls, [300_u32.saturating_sub(age); 5]);
            assert_eq!(told.edns, answer().edns);
        }
    }

    #[test]
    fn capped_ttls_are_the_last_ones_and_no_longer_than_what_is_left() {
        let packet = query("www.example.", RecordType::A).to_vec().unwrap();
        let plain = Plain::read(&packet).unwrap();
        for (capped, expected) in [
            (0, [290; 5]),
            (2, [290, 290, 290, 7, 7]),
            (usize::MAX, [7; 5]),
        ] {
            let mut bytes = answer().to_vec().unwrap();
            let parts = Finished::prepare(&mut bytes, capped).unwrap();
            let mut out = Vec::new();
            let age = Age { age: 10, left: 7 };
            Finished::new(&bytes, parts).tell(&plain, age, u16::MAX, &mut out);
            let told = Message::from_vec(&out).unwrap();
            let sections = [&told.answers, &told.authorities, &told.additionals];
            let ttls: Vec<u32> = sections
                .into_iter()
                .flatten()
                .map(|held| held.ttl)
                .collect();
            assert_eq!(ttls, expected, "{capped}");
        }
    }

    #[test]
    fn what_is_longer_than_the_client_takes_is_not_told() {
        let (bytes, parts) = prepared();
        let finished = Finished::new(&bytes, parts);
        for (query, length) in [
            (query("www.example.", RecordType::A), parts.opt),
            (edns_query("www.example.", RecordType::A, false), parts.end),
        ] {
            let packet = query.to_vec().unwrap();
            let plain = Plain::read(&packet).unwrap();
            let mut out = Vec::new();
            assert_eq!(finished.tell(&plain, aged(1), length - 1, &mut out), None);
            assert!(out.is_empty());
            assert_eq!(finished.tell(&plain, aged(1), length, &mut out), Some(()));
            assert_eq!(out.len(), usize::from(length));
        }
    }

    #[test]
    fn without_opt_at_the_end_or_with_something_missing_or_too_much_nothing_is_kept() {
        let whole = answer().to_vec().unwrap();
        for end in 0..whole.len() {
            assert_eq!(
                Finished::prepare(&mut whole[..end].to_vec(), 0),
                None,
                "{end}"
            );
        }
        let mut longer = [&whole[..], &[0]].concat();
        assert_eq!(Finished::prepare(&mut longer, 0), None);
        let mut without = answer();
        without.edns = None;
        assert_eq!(Finished::prepare(&mut without.to_vec().unwrap(), 0), None);
        let mut refused = answer();
        refused.metadata.response_code = ResponseCode::Refused;
        assert!(Finished::prepare(&mut refused.to_vec().unwrap(), 0).is_some());
    }

    #[test]
    fn a_count_of_256_additional_records_goes_down_to_255() {
        let mut message = answer();
        let more = record("ns.example. A 192.0.2.3");
        message.additionals.resize(255, more);
        let mut bytes = message.to_vec().unwrap();
        let parts = Finished::prepare(&mut bytes, 0).unwrap();
        let packet = query("www.example.", RecordType::A).to_vec().unwrap();
        let mut out = Vec::new();
        let plain = Plain::read(&packet).unwrap();
        Finished::new(&bytes, parts).tell(&plain, aged(0), u16::MAX, &mut out);
        assert_eq!(Message::from_vec(&out).unwrap().additionals.len(), 255);
    }
}
