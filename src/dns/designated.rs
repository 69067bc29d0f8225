//! PURE. Discovery of designated resolvers (RFC 9462): a client that knows this gate by its address asks
//! `_dns.resolver.arpa` whether it also speaks something encrypted. Called by `pipeline`, where `dns.tls` is set.

use std::net::Ipv4Addr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::message::{Draft, Source};
use super::special::OWN_LABEL;

/// The TTL of what depends on this set-up, in seconds.
const TTL: u32 = 60;

/// The answer about DNS over TLS on this port of the gate; `None` for any other question.
pub(super) fn answer(
    name: &Name,
    record_type: RecordType,
    domain: &Name,
    gate: Ipv4Addr,
    port: u16,
) -> Option<Draft> {
    if record_type != RecordType::SVCB || !is_discovery(name) {
        return None;
    }
    let mut target = Name::from_labels([OWN_LABEL])
        .and_then(|name| name.append_domain(domain))
        .ok()?
        .to_lowercase();
    target.set_fqdn(true);
    // No `mandatory`, and the parameters in the order of their keys (RFC 9460 section 2.2).
    let parameters = vec![
        (
            SvcParamKey::Alpn,
            SvcParamValue::Alpn(Alpn(vec!["dot".to_owned()])),
        ),
        (SvcParamKey::Port, SvcParamValue::Port(port)),
        (
            SvcParamKey::Ipv4Hint,
            SvcParamValue::Ipv4Hint(IpHint(vec![A(gate)])),
        ),
    ];
    let mut draft = Draft::empty(ResponseCode::NoError);
    draft.authoritative = true;
    draft.source = Source::Special;
    let binding = RData::SVCB(SVCB::new(1, target.clone(), parameters));
    draft
        .answers
        .push(Record::from_rdata(name.clone(), TTL, binding));
    draft
        .additionals
        .push(Record::from_rdata(target, TTL, RData::A(A(gate))));
    Some(draft)
}

fn is_discovery(name: &Name) -> bool {
    let labels = [&b"_dns"[..], b"resolver", b"arpa"];
    name.iter().count() == labels.len()
        && name
            .iter()
            .zip(labels)
            .all(|(label, wanted)| label.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{GATE, lines, name};
    use super::*;

    #[test]
    fn the_question_of_rfc_9462_is_answered_and_no_other() {
        let domain = name("home.arpa.");
        let ask = |owner, record_type| answer(&name(owner), record_type, &domain, GATE, 853);
        let draft = ask("_dns.RESOLVER.arpa.", RecordType::SVCB).unwrap();
        assert_eq!(draft.rcode, ResponseCode::NoError);
        let RData::SVCB(binding) = &draft.answers[0].data else {
            panic!("{:?}", draft.answers);
        };
        assert_eq!(binding.svc_priority, 1);
        assert_eq!(
            lines(&draft.answers),
            [
                "_dns.RESOLVER.arpa. SVCB 1 sekisho.home.arpa. alpn=dot, port=853 ipv4hint=192.168.1.2,"
            ]
        );
        assert_eq!(
            lines(&draft.additionals),
            ["sekisho.home.arpa. A 192.168.1.2"]
        );
        for (owner, record_type) in [
            ("_dns.resolver.arpa.", RecordType::A),
            ("_dns.resolver.arpa.", RecordType::HTTPS),
            ("resolver.arpa.", RecordType::SVCB),
            ("x._dns.resolver.arpa.", RecordType::SVCB),
            ("_dns.example.", RecordType::SVCB),
        ] {
            assert!(ask(owner, record_type).is_none(), "{owner}");
        }
        let rootless = answer(
            &name("_dns.resolver.arpa."),
            RecordType::SVCB,
            &Name::root(),
            GATE,
            853,
        );
        assert_eq!(
            lines(&rootless.unwrap().additionals),
            ["sekisho. A 192.168.1.2"]
        );
    }
}
