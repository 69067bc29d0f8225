//! PURE. A finished answer, told again: with the ID, flags and spelling of another query, TTLs reduced by the time since
//! (RFC 1035 section 3.2.1), and an OPT record only for who sent one, with a cookie only for who sent that.

use super::super::options::COOKIE;
use super::query::Plain;
use super::{AD, CD, OPT, RD};
use crate::resolve::wire::{Age, Finished, HEADER};

/// Where an OPT record says how long its options are.
const LENGTH: usize = OPT - 2;

/// Appends the answer to a query that has the same key; `None`, and nothing appended, where it would be longer than `limit`.
/// `cookie` is the data of the option that answers the query's.
pub(in crate::dns) fn tell(
    finished: Finished<'_>,
    query: &Plain<'_>,
    cookie: Option<&[u8]>,
    age: Age,
    limit: u16,
    out: &mut Vec<u8>,
) -> Option<()> {
    let with_opt = query.edns().is_some();
    let message = finished.message(with_opt);
    let option = cookie.filter(|_| with_opt).and_then(option);
    let length = message.len() + option.as_ref().map_or(0, |(option, _)| option.len());
    if length > usize::from(limit) || query.question.len() != finished.question().len() {
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
        let (lower, borrow) = arcount.overflowing_sub(1);
        *arcount = lower;
        if borrow && let Some(higher) = header.get_mut(HEADER - 2) {
            *higher = higher.wrapping_sub(1);
        }
    }
    body.get_mut(..query.question.len())?
        .copy_from_slice(query.question);
    finished.grow_old(told, age);
    if let Some((option, length)) = option {
        let opt = finished.message(false).len();
        let all = told.get_mut(opt + LENGTH..)?.first_chunk_mut::<2>()?;
        *all = u16::from_be_bytes(*all)
            .saturating_add(length)
            .to_be_bytes();
        out.extend_from_slice(&option);
    }
    Some(())
}

/// The option that is a cookie, and its length.
fn option(data: &[u8]) -> Option<(Vec<u8>, u16)> {
    let length = u16::try_from(data.len()).ok()?.to_be_bytes();
    let option = [&COOKIE.to_be_bytes()[..], &length, data].concat();
    let length = u16::try_from(option.len()).ok()?;
    Some((option, length))
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Edns, Message, ResponseCode};
    use hickory_proto::rr::RecordType;
    use hickory_proto::rr::rdata::opt::EdnsOption;

    use super::super::super::testing::{edns_query, query, record};
    use super::*;
    use crate::resolve::wire::Parts;

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
        let finished = Finished::new(&bytes, parts);
        tell(finished, &plain, None, aged(age), u16::MAX, &mut out).expect("it fits");
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
            tell(
                Finished::new(&bytes, parts),
                &plain,
                None,
                age,
                u16::MAX,
                &mut out,
            );
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
        let edns = edns_query("www.example.", RecordType::A, false);
        for (query, with_opt, cookie) in [
            (query("www.example.", RecordType::A), false, None),
            (edns.clone(), true, None),
            (edns, true, Some(&[7; 24][..])),
        ] {
            let packet = query.to_vec().unwrap();
            let plain = Plain::read(&packet).unwrap();
            let length = finished.message(with_opt).len() + cookie.map_or(0, |_| 28);
            let length = u16::try_from(length).unwrap();
            let mut out = Vec::new();
            let mut told = |limit| tell(finished, &plain, cookie, aged(1), limit, &mut out);
            assert_eq!(told(length - 1), None);
            assert_eq!(told(length), Some(()));
            assert_eq!(out.len(), usize::from(length));
        }
    }

    #[test]
    fn a_cookie_comes_after_what_our_opt_record_says_and_only_in_one() {
        let mut answer = answer();
        let reason = EdnsOption::Unknown(15, vec![0, 17, b'x']);
        let cookie = EdnsOption::Unknown(10, vec![7; 24]);
        for reasons in [vec![], vec![reason]] {
            let mut edns = Edns::new();
            for reason in &reasons {
                edns.options_mut().insert(reason.clone());
            }
            answer.set_edns(edns.clone());
            let mut bytes = answer.to_vec().unwrap();
            let parts = Finished::prepare(&mut bytes, 0).unwrap();
            let finished = Finished::new(&bytes, parts);
            for asks in [
                edns_query("www.example.", RecordType::A, false),
                query("www.example.", RecordType::A),
            ] {
                let packet = asks.to_vec().unwrap();
                let plain = Plain::read(&packet).unwrap();
                let mut out = b"before".to_vec();
                tell(
                    finished,
                    &plain,
                    Some(&[7; 24]),
                    aged(0),
                    u16::MAX,
                    &mut out,
                )
                .unwrap();
                let told = Message::from_vec(out.strip_prefix(b"before").unwrap()).unwrap();
                assert_eq!(told.answers, answer.answers);
                assert_eq!(told.additionals, answer.additionals);
                let mut expected = edns.clone();
                expected.options_mut().insert(cookie.clone());
                assert_eq!(told.edns, asks.edns.map(|_| expected));
            }
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
        tell(
            Finished::new(&bytes, parts),
            &plain,
            None,
            aged(0),
            u16::MAX,
            &mut out,
        );
        assert_eq!(Message::from_vec(&out).unwrap().additionals.len(), 255);
    }
}
