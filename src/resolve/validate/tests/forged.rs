//! What does not hold, what cannot be known, and what is not to be looked at for long.

use hickory_proto::dnssec::Algorithm;
use hickory_proto::dnssec::rdata::{DNSSECRData, DS, RRSIG};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{RData, Record, RecordType};

use super::super::limits::{Budget, MAX_SIGNATURES};
use super::super::sets::{self, sets};
use super::world::{Chain, NSEC3, Tamper, Zone, address, alias, name, record};
use super::{home_with, question, zones};
use crate::resolve::{Question, ResolveError};

/// Changes the answers to one question.
fn at(
    owner: &str,
    record_type: RecordType,
    change: impl Fn(&mut hickory_proto::op::Message) + Send + Sync + 'static,
) -> Option<Tamper> {
    let owner = name(owner);
    Some(Box::new(move |asked, of, message| {
        if *asked == owner && of == record_type {
            change(message);
        }
    }))
}

fn is(record: &Record, record_type: RecordType) -> bool {
    record.record_type() == record_type
}

#[tokio::test]
async fn a_changed_answer_is_bogus_and_passes_only_with_cd() {
    let tamper = at("www.secure.test.", RecordType::A, |message| {
        message.answers[0].data = RData::A(std::net::Ipv4Addr::new(203, 0, 113, 66).into());
    });
    let home = home_with(zones(Chain::Nsec), tamper, None).await;
    assert_eq!(home.code("www.secure.test.", RecordType::A).await, 6);
    assert_eq!(home.counted("bogus"), 1);
    let unchecked = Question {
        checking_disabled: true,
        ..question("www.secure.test.", RecordType::A)
    };
    let answer = home.resolver.lookup(&unchecked).await.unwrap();
    assert_eq!(
        (answer.rcode, answer.authentic),
        (ResponseCode::NoError, false)
    );
    assert_eq!(
        home.code("www.secure.test.", RecordType::A).await,
        6,
        "cached apart"
    );
}

#[tokio::test]
async fn the_time_of_a_signature_is_its_own_reason() {
    for (times, code) in [((-7200, -3600), 7), ((3600, 7200), 8)] {
        let mut zones = zones(Chain::Nsec);
        zones[2].times = times;
        let home = home_with(zones, None, None).await;
        assert_eq!(home.code("www.secure.test.", RecordType::A).await, code);
    }
}

#[tokio::test]
async fn a_key_that_is_not_the_one_of_the_ds_is_missing() {
    let mut zones = zones(Chain::Nsec);
    zones[2].key = Some(super::world::new_key());
    let home = home_with(zones, None, None).await;
    assert_eq!(home.code("www.secure.test.", RecordType::A).await, 9);
    let tamper = at("secure.test.", RecordType::DNSKEY, |message| {
        message.answers.clear()
    });
    let home = home_with(super::zones(Chain::Nsec), tamper, None).await;
    assert_eq!(home.code("www.secure.test.", RecordType::A).await, 9);
}

#[tokio::test]
async fn what_should_be_signed_and_is_not_is_bogus() {
    let strip = |message: &mut hickory_proto::op::Message| {
        message
            .answers
            .retain(|record| !is(record, RecordType::RRSIG));
        message
            .authorities
            .retain(|record| !is(record, RecordType::RRSIG));
    };
    for chain in [Chain::Nsec, NSEC3] {
        for (owner, record_type, code) in [
            ("www.secure.test.", RecordType::A, 10),
            ("www.secure.test.", RecordType::MX, 10),
            ("missing.secure.test.", RecordType::A, 10),
        ] {
            let home = home_with(zones(chain), at(owner, record_type, strip), None).await;
            assert_eq!(
                home.code(owner, record_type).await,
                code,
                "{chain:?} {owner} {record_type}"
            );
        }
        let bare = |message: &mut hickory_proto::op::Message| {
            message
                .authorities
                .retain(|record| is(record, RecordType::SOA));
        };
        for owner in [
            "missing.secure.test.",
            "nowhere.secure.test.",
            "a.wild.secure.test.",
        ] {
            let home = home_with(zones(chain), at(owner, RecordType::A, bare), None).await;
            assert_eq!(
                home.code(owner, RecordType::A).await,
                12,
                "{chain:?} {owner}"
            );
        }
    }
}

#[tokio::test]
async fn a_delegation_is_not_insecure_because_somebody_took_its_ds_away() {
    let tamper = at("secure.test.", RecordType::DS, |message| {
        message.answers.clear()
    });
    let home = home_with(zones(Chain::Nsec), tamper, None).await;
    assert_eq!(home.code("www.secure.test.", RecordType::A).await, 12);
    // The proof for a neighbour is none for this one.
    for chain in [Chain::Nsec, NSEC3] {
        let zones = zones(chain);
        let proof = zones[1].negative();
        let tamper = at("secure.test.", RecordType::DS, move |message| {
            message.answers.clear();
            message.authorities.clone_from(&proof);
        });
        let home = home_with(zones, tamper, None).await;
        assert_eq!(home.code("www.secure.test.", RecordType::A).await, 12);
    }
}

#[tokio::test]
async fn a_zone_that_is_not_signed_cannot_deny_names_of_one_that_is() {
    let tamper = at("www.secure.test.", RecordType::A, |message| {
        message.answers.clear();
        message.metadata.response_code = ResponseCode::NXDomain;
        message.authorities = vec![record(
            "insecure.test.",
            RData::NS(hickory_proto::rr::rdata::NS(name("ns.test."))),
        )];
    });
    let home = home_with(zones(Chain::Nsec), tamper, None).await;
    assert_eq!(home.code("www.secure.test.", RecordType::A).await, 12);
    // Nor can what follows a good CNAME be left out.
    let tamper = at("in.secure.test.", RecordType::A, |message| {
        message.answers.truncate(2);
        message.authorities.clear();
    });
    let home = home_with(zones(Chain::Nsec), tamper, None).await;
    assert_eq!(home.code("in.secure.test.", RecordType::A).await, 12);
}

#[tokio::test]
async fn a_name_is_not_denied_by_the_proof_for_another() {
    for chain in [Chain::Nsec, NSEC3] {
        let deny = |message: &mut hickory_proto::op::Message| {
            message.answers.clear();
            message.metadata.response_code = ResponseCode::NXDomain;
        };
        // The whole chain of the zone, as for a name that is not there.
        let zones_with = |tamper| home_with(zones(chain), tamper, None);
        let tamper: Option<Tamper> = Some(Box::new(move |asked, _, message| {
            if *asked == name("www.secure.test.") {
                deny(message);
            }
        }));
        let home = zones_with(tamper).await;
        assert_eq!(
            home.code("www.secure.test.", RecordType::MX).await,
            12,
            "{chain:?}"
        );
        let home = zones_with(at("missing.secure.test.", RecordType::A, |message| {
            message.metadata.response_code = ResponseCode::NoError;
        }))
        .await;
        assert_eq!(
            home.code("missing.secure.test.", RecordType::A).await,
            12,
            "{chain:?}"
        );
    }
}

#[tokio::test]
async fn a_wildcard_does_not_stand_for_a_name_that_exists() {
    for chain in [Chain::Nsec, NSEC3] {
        let zones = zones(chain);
        let wildcard = name("*.wild.secure.test.");
        let mut made = zones[2].signed(vec![address("*.wild.secure.test.")], &wildcard);
        for record in &mut made {
            record.name = name("here.wild.secure.test.");
        }
        let proof = zones[2].negative();
        let tamper = at("here.wild.secure.test.", RecordType::A, move |message| {
            message.answers.clone_from(&made);
            message.authorities.clone_from(&proof);
        });
        let home = home_with(zones, tamper, None).await;
        let code = home.code("here.wild.secure.test.", RecordType::A).await;
        assert_eq!(code, 12, "{chain:?}");
    }
}

#[tokio::test]
async fn a_zone_signed_by_what_we_do_not_know_counts_as_not_signed() {
    let mut zones = zones(Chain::Nsec);
    for record in &mut zones[1].records {
        if let RData::DNSSEC(DNSSECRData::DS(ds)) = &mut record.data {
            let digest = ds.digest().to_vec();
            *ds = DS::new(
                ds.key_tag(),
                Algorithm::Unknown(200),
                ds.digest_type(),
                digest,
            );
        }
    }
    let home = home_with(zones, None, None).await;
    let answer = home.ask("www.secure.test.", RecordType::A).await.unwrap();
    assert!(!answer.authentic);
}

#[tokio::test]
async fn what_upstream_does_not_tell_is_not_bogus() {
    let tamper = at("secure.test.", RecordType::DNSKEY, |message| {
        message.answers.clear();
        message.metadata.response_code = ResponseCode::Refused;
    });
    let home = home_with(zones(Chain::Nsec), tamper, None).await;
    let error = home
        .ask("www.secure.test.", RecordType::A)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ResolveError::Failed { rcode, .. } if *rcode == ResponseCode::Refused),
        "{error:?}"
    );
    assert_eq!(home.counted("bogus"), 0);
}

#[tokio::test]
async fn the_cname_of_a_dname_holds_as_the_dname_does() {
    // "secure.test." on the wire.
    let target = b"\x06secure\x04test\x00".to_vec();
    let dname = RData::Unknown {
        code: RecordType::DNAME,
        rdata: NULL::with(target),
    };
    let build = || {
        let mut zones = zones(Chain::Nsec);
        zones[1].records.push(record("moved.test.", dname.clone()));
        zones
    };
    let dname_of = |zones: &[Zone]| {
        let owner = name("moved.test.");
        zones[1].signed(vec![record("moved.test.", dname.clone())], &owner)
    };
    // The server does not know of the DNAME when it is asked for a DS below it.
    for (to, code) in [("www.secure.test.", None), ("www.insecure.test.", Some(12))] {
        let zones = build();
        let mut answers = dname_of(&zones);
        answers.push(alias("www.moved.test.", to));
        let end = vec![address(to)];
        answers.extend(match code {
            None => zones[2].signed(end, &name(to)),
            Some(_) => end,
        });
        let tamper = at("www.moved.test.", RecordType::A, move |message| {
            message.metadata.response_code = ResponseCode::NoError;
            message.authorities.clear();
            message.answers.clone_from(&answers);
        });
        let home = home_with(zones, tamper, None).await;
        match code {
            None => {
                let answer = home.ask("www.moved.test.", RecordType::A).await.unwrap();
                assert!(answer.authentic);
            }
            Some(code) => assert_eq!(home.code("www.moved.test.", RecordType::A).await, code),
        }
    }
    let zones = build();
    let mut answers = dname_of(&zones);
    answers.push(alias("www.moved.test.", "www.secure.test."));
    let tamper = at("www.moved.test.", RecordType::CNAME, move |message| {
        message.metadata.response_code = ResponseCode::NoError;
        message.authorities.clear();
        message.answers.clone_from(&answers);
    });
    let home = home_with(zones, tamper, None).await;
    let answer = home.ask("www.moved.test.", RecordType::CNAME).await;
    assert!(answer.unwrap().authentic, "asked for the CNAME itself");
}

#[test]
fn the_work_for_one_set_is_bounded() {
    let zone = Zone::new("secure.test.", Chain::Nsec, vec![]);
    let mut records = zone.signed(vec![address("www.secure.test.")], &name("www.secure.test."));
    let RData::DNSSEC(DNSSECRData::RRSIG(good)) = records.pop().unwrap().data else {
        unreachable!()
    };
    for number in 0..200_u8 {
        let wrong = RRSIG::from_sig(good.input().clone(), vec![number; 64]);
        let data = RData::DNSSEC(DNSSECRData::RRSIG(wrong));
        records.push(record("www.secure.test.", data));
    }
    let key = zone.dnskey().unwrap();
    let tag = key.calculate_key_tag().unwrap();
    let zone = sets::Zone {
        apex: name("secure.test."),
        keys: vec![(tag, key); 20],
    };
    let left = |mut budget: Budget| std::iter::from_fn(|| budget.check().ok()).count();
    let mut budget = Budget::default();
    let all = left(budget);
    let time = u32::try_from(super::super::clock()).unwrap();
    let set = &sets(&records)[0];
    assert_eq!(set.check(&zone, time, &mut budget).unwrap_err().code, 6);
    let spent = all - left(budget);
    assert_eq!(spent, MAX_SIGNATURES * super::super::limits::MAX_SAME_TAG);
    // And for one answer.
    let codes: Vec<u16> = (0..20)
        .map(|_| set.check(&zone, time, &mut budget).unwrap_err().code)
        .collect();
    assert_eq!((left(budget), codes.last()), (0, Some(&5)));
}
