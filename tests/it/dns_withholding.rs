//! AAAA is withheld: the name exists, the answer is empty, and nothing of IPv6 is left anywhere in it.

use std::net::Ipv6Addr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::svcb::{SvcParamKey, SvcParamValue};
use hickory_proto::rr::{RData, RecordType};

use crate::support::{
    Ask, Gate, PATIENCE, Reply, Setup, Upstream, a, aaaa, cname, ede, exchange_udp, https, mx,
    name, rrsig, soa, soa_of, txt, types,
};

/// RRSIG.
const RRSIG: u16 = 46;

/// A gate before an upstream that knows `www.example` with both families.
fn home() -> (Upstream, Gate) {
    let upstream = Upstream::start();
    upstream
        .addresses("www.example", &["192.0.2.1", "2001:db8::1"])
        .say("example", RecordType::SOA, Reply::of([soa("example", 900)]));
    let gate = Gate::start(&Setup::new(&upstream));
    (upstream, gate)
}

/// Asserts the whole promise of an answer from which AAAA was withheld.
fn assert_withheld(answer: &Message) {
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_free_of_ipv6(answer);
    let (ttl, soa) = soa_of(answer).expect("the SOA that lets the client keep this");
    assert!(ttl <= 60, "TTL {ttl}");
    assert!(soa.minimum <= 60, "MINIMUM {}", soa.minimum);
    assert_eq!(soa.mname, name("ns.example"), "the SOA of the real zone");
    assert!(!answer.metadata.authentic_data, "nobody signed this");
}

fn assert_free_of_ipv6(answer: &Message) {
    let all = types(answer).concat();
    assert!(!all.contains(&RecordType::AAAA), "{all:?}");
    for record in answer.all_sections() {
        if let RData::AAAA(address) = &record.data {
            assert_ne!(address.0, Ipv6Addr::UNSPECIFIED);
        }
    }
}

#[test]
fn aaaa_of_a_dual_stack_name_is_empty_with_the_real_soa_and_says_filtered() {
    let (_upstream, gate) = home();
    // Twice: the second answer may come from a cache.
    for _ in 0..2 {
        for answer in [
            Ask::new("www.example", RecordType::AAAA).udp(&gate),
            Ask::new("www.example", RecordType::AAAA).tcp(&gate),
        ] {
            assert_withheld(&answer);
            assert!(answer.answers.is_empty());
            assert_eq!(ede(&answer), Some(17));
        }
    }
}

#[test]
fn a_client_without_edns_is_told_the_same_without_opt() {
    let (_upstream, gate) = home();
    assert_withheld(&Ask::new("www.example", RecordType::AAAA).plain().udp(&gate));
}

#[test]
fn a_of_the_same_name_is_the_real_one() {
    let (_upstream, gate) = home();
    let answer = Ask::new("www.example", RecordType::A).udp(&gate);
    assert_eq!(answer.answers.len(), 1);
    assert_eq!(answer.answers[0].data, a("www.example", "192.0.2.1").data);
    assert_eq!(ede(&answer), None);
}

#[test]
fn the_chain_of_aliases_is_kept_in_order() {
    let (upstream, gate) = home();
    upstream.say(
        "alias.example",
        RecordType::AAAA,
        Reply::of([
            cname("alias.example", "second.example"),
            cname("second.example", "www.example"),
            aaaa("www.example", "2001:db8::1"),
        ]),
    );
    let answer = Ask::new("alias.example", RecordType::AAAA).udp(&gate);
    assert_withheld(&answer);
    let owners: Vec<_> = answer.answers.iter().map(|r| r.name.clone()).collect();
    assert_eq!(owners, [name("alias.example"), name("second.example")]);
    assert!(
        answer
            .answers
            .iter()
            .all(|r| r.record_type() == RecordType::CNAME)
    );
}

#[test]
fn a_name_that_does_not_exist_stays_so() {
    let (_upstream, gate) = home();
    for record_type in [RecordType::A, RecordType::AAAA] {
        let answer = Ask::new("missing.example", record_type).udp(&gate);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert!(soa_of(&answer).is_some());
    }
}

#[test]
fn a_name_with_ipv4_only_has_an_honest_empty_answer() {
    let (upstream, gate) = home();
    upstream.addresses("old.example", &["192.0.2.9"]);
    let answer = Ask::new("old.example", RecordType::AAAA).udp(&gate);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.answers.is_empty());
    assert!(soa_of(&answer).is_some());
}

#[test]
fn dnssec_clients_get_no_orphan_signature_and_no_ad() {
    let (upstream, gate) = home();
    let signed = || {
        Reply::of([
            aaaa("signed.example", "2001:db8::1"),
            rrsig("signed.example", RecordType::AAAA),
        ])
        .authentic()
    };
    upstream.say("signed.example", RecordType::AAAA, signed());
    for ask in [
        Ask::new("signed.example", RecordType::AAAA).dnssec_ok(),
        Ask::new("signed.example", RecordType::AAAA).checking_disabled(),
        Ask::new("signed.example", RecordType::AAAA)
            .dnssec_ok()
            .checking_disabled(),
    ] {
        for answer in [ask.udp(&gate), ask.tcp(&gate)] {
            assert_withheld(&answer);
            assert!(!types(&answer).concat().contains(&RecordType::from(RRSIG)));
            assert!(answer.answers.is_empty());
        }
    }
}

#[test]
fn https_of_a_name_that_is_not_steered_loses_the_ipv6_hint_only() {
    let (upstream, gate) = home();
    upstream.say(
        "www.example",
        RecordType::HTTPS,
        Reply::of([https("www.example")]),
    );
    let answer = Ask::new("www.example", RecordType::HTTPS).udp(&gate);
    assert_eq!(answer.answers.len(), 1);
    let RData::HTTPS(record) = &answer.answers[0].data else {
        panic!("{:?}", answer.answers);
    };
    let keys: Vec<_> = record.0.svc_params.iter().map(|(key, _)| *key).collect();
    assert!(!keys.contains(&SvcParamKey::Ipv6Hint), "{keys:?}");
    assert!(keys.contains(&SvcParamKey::Alpn) && keys.contains(&SvcParamKey::Ipv4Hint));
    for (_, value) in &record.0.svc_params {
        if let SvcParamValue::Mandatory(mandatory) = value {
            assert_eq!(mandatory.0, [SvcParamKey::Alpn]);
        }
    }
}

#[test]
fn the_additional_section_of_a_mail_exchanger_holds_no_aaaa() {
    let (upstream, gate) = home();
    let reply = Reply::of([mx("example", "mail.example")])
        .additional(a("mail.example", "192.0.2.25"))
        .additional(aaaa("mail.example", "2001:db8::25"));
    upstream.say("example", RecordType::MX, reply);
    for answer in [
        Ask::new("example", RecordType::MX).udp(&gate),
        Ask::new("example", RecordType::MX).tcp(&gate),
    ] {
        assert_free_of_ipv6(&answer);
        assert_eq!(types(&answer)[0], [RecordType::MX]);
    }
}

#[test]
fn any_is_answered_with_hinfo() {
    let (_upstream, gate) = home();
    for answer in [
        Ask::new("www.example", RecordType::ANY).udp(&gate),
        Ask::new("www.example", RecordType::ANY).tcp(&gate),
    ] {
        assert_eq!(types(&answer)[0], [RecordType::HINFO]);
        assert_free_of_ipv6(&answer);
    }
}

#[test]
fn the_case_of_the_question_is_echoed_bit_for_bit() {
    let (_upstream, gate) = home();
    for owner in ["wWw.ExAmPlE", "WWW.EXAMPLE", "www.example"] {
        for record_type in [RecordType::A, RecordType::AAAA] {
            let question = Ask::new(owner, record_type).plain().bytes();
            let answer = exchange_udp(gate.addr("dns-udp"), &question, PATIENCE).unwrap();
            assert_eq!(answer[12..question.len()], question[12..], "{owner}");
        }
    }
}

#[test]
fn a_long_answer_is_cut_over_udp_and_whole_over_tcp() {
    let (upstream, gate) = home();
    let long = (0..20).map(|n| txt("long.example", &format!("{n:0100}")));
    upstream.say("long.example", RecordType::TXT, Reply::of(long));
    for (ask, limit) in [
        (Ask::new("long.example", RecordType::TXT).plain(), 512),
        (
            Ask::new("long.example", RecordType::TXT).payload(4096),
            1232,
        ),
        (Ask::new("long.example", RecordType::TXT).payload(700), 700),
        (Ask::new("long.example", RecordType::TXT).payload(1), 512),
    ] {
        let bytes = exchange_udp(gate.addr("dns-udp"), &ask.bytes(), PATIENCE).unwrap();
        assert!(bytes.len() <= limit, "{} > {limit}", bytes.len());
        assert!(
            Message::from_vec(&bytes).unwrap().metadata.truncation,
            "{limit}"
        );
    }
    let whole = Ask::new("long.example", RecordType::TXT).tcp(&gate);
    assert_eq!(whole.answers.len(), 20);
    assert!(!whole.metadata.truncation);
}

#[test]
fn an_upstream_that_says_the_unspecified_address_is_not_believed() {
    let (upstream, gate) = home();
    upstream.addresses("zero.example", &["::"]);
    for record_type in [RecordType::A, RecordType::AAAA, RecordType::ANY] {
        assert_free_of_ipv6(&Ask::new("zero.example", record_type).udp(&gate));
    }
}

#[test]
fn what_the_upstream_says_about_an_answer_is_passed_on_behind_our_own_words() {
    let (upstream, gate) = home();
    let said = |record| Reply::of([record]).extended_error(1);
    upstream
        .say(
            "old.example",
            RecordType::A,
            said(a("old.example", "192.0.2.9")),
        )
        .say(
            "old.example",
            RecordType::AAAA,
            said(aaaa("old.example", "2001:db8::9")),
        );
    let answer = Ask::new("old.example", RecordType::A).udp(&gate);
    assert_eq!(ede(&answer), Some(1));
    let answer = Ask::new("old.example", RecordType::AAAA).udp(&gate);
    assert_withheld(&answer);
    assert_eq!(ede(&answer), Some(17));
    let options = answer
        .edns
        .as_ref()
        .map(|edns| edns.options().get_all(15.into()));
    assert_eq!(options.map_or(0, |options| options.len()), 2);
}
