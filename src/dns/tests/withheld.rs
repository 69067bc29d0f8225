//! AAAA withheld, in every section.

use super::*;

#[tokio::test]
async fn aaaa_is_withheld_in_every_mode_with_the_real_soa_and_the_reason() {
    for mode in [Mode::Off, Mode::Ipv6Only, Mode::Address] {
        for owner in ["both.example.", "six.example."] {
            let handler = handler(mode);
            for transport in [Transport::Udp, Transport::Tcp] {
                let message = edns_query(owner, RecordType::AAAA, false);
                let answer = ask_over(&handler, &message, transport).await;
                assert_withheld(&answer, &[]);
                assert_eq!(answer.authorities[0].name, name("example."));
                assert_eq!(extended_errors(&answer), [17]);
            }
        }
    }
}

#[tokio::test]
async fn the_cname_chain_of_withheld_aaaa_is_kept_in_order() {
    let answer = ask(
        &handler(Mode::Ipv6Only),
        &edns_query("www.example.", RecordType::AAAA, false),
    )
    .await;
    assert_withheld(
        &answer,
        &[
            "www.example. CNAME cdn.example.",
            "cdn.example. CNAME both.example.",
        ],
    );
}

#[test]
fn a_dname_stays_in_the_chain_of_withheld_aaaa() {
    let mut draft = Draft::empty(ResponseCode::NoError);
    draft.answers = vec![
        dname("d.example."),
        record("a.d.example. CNAME a.e.example."),
        record("a.e.example. AAAA 2001:db8::1"),
    ];
    let draft = withhold(draft, record("example. SOA ns. root. 1 2 3 4 5"));
    let kinds: Vec<_> = draft.answers.iter().map(Record::record_type).collect();
    assert_eq!(kinds, [RecordType::DNAME, RecordType::CNAME]);
}

#[tokio::test]
async fn with_do_and_cd_nothing_signed_speaks_of_the_withheld_aaaa() {
    let mut message = edns_query("www.example.", RecordType::AAAA, true);
    message.metadata.checking_disabled = true;
    message.metadata.authentic_data = true;
    let answer = ask(&handler(Mode::Ipv6Only), &message).await;
    assert_withheld(
        &answer,
        &[
            "www.example. CNAME cdn.example.",
            "cdn.example. CNAME both.example.",
        ],
    );
    assert_no_aaaa(&answer);
    assert!(answer.metadata.checking_disabled);
    assert!(answer.edns.as_ref().unwrap().flags().dnssec_ok);
    let kinds: Vec<_> = answer.answers.iter().map(type_covered).collect();
    let signed = [None, Some(RecordType::CNAME)];
    assert_eq!(kinds, [signed, signed].concat());
}

#[tokio::test]
async fn a_name_that_does_not_exist_does_not_exist_for_aaaa_either() {
    let answer = ask(
        &handler(Mode::Ipv6Only),
        &edns_query("nothing.example.", RecordType::AAAA, false),
    )
    .await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(answer.authorities.len(), 1);
    assert_eq!(extended_errors(&answer), [0; 0]);
}

#[tokio::test]
async fn a_name_without_aaaa_is_told_as_it_is_and_always_with_a_soa() {
    let message = edns_query("four.example.", RecordType::AAAA, false);
    let answer = ask(&handler(Mode::Ipv6Only), &message).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(answer.authorities[0].ttl, 300);
    assert_eq!(extended_errors(&answer), [0; 0]);

    let handler = handler_of(
        World::new(ZONE).without_soa(),
        &config(Mode::Off, Names::All),
        Zones::default(),
    );
    let answer = ask(&handler, &message).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(answer.authorities.len(), 1);
    assert_eq!(answer.authorities[0].name, name("example."));
}

#[tokio::test(start_paused = true)]
async fn a_soa_that_fails_or_never_comes_is_replaced_in_time() {
    for world in [
        World::new(ZONE).broken("both.example.", RecordType::SOA, ResolveError::Timeout),
        World::new(ZONE).silent("both.example.", RecordType::SOA),
    ] {
        let handler = handler_of(world, &config(Mode::Off, Names::All), Zones::default());
        let answer = ask(
            &handler,
            &edns_query("both.example.", RecordType::AAAA, false),
        )
        .await;
        assert_withheld(&answer, &[]);
        assert_eq!(answer.authorities[0].name, name("example."));
    }
}

#[tokio::test(start_paused = true)]
async fn a_soa_takes_no_more_than_what_is_left_of_the_time_of_the_answer() {
    let slow = Duration::from_millis(1700);
    let world = World::new(ZONE)
        .slow("both.example.", RecordType::AAAA, slow)
        .silent("both.example.", RecordType::SOA);
    let handler = handler_of(world, &config(Mode::Off, Names::All), Zones::default());
    let begun = super::super::handler::now();
    let question = edns_query("both.example.", RecordType::AAAA, false);
    assert_withheld(&ask(&handler, &question).await, &[]);
    let taken = super::super::handler::now() - begun;
    assert!(
        taken >= slow && taken <= Duration::from_millis(2010),
        "{taken:?}"
    );
}

#[tokio::test]
async fn a_rule_passes_aaaa_to_its_clients_and_names_only() {
    let mut config = config(Mode::Ipv6Only, Names::All);
    config.rules.push(Rule {
        domains: vec![name("both.example.")],
        aaaa: Some(Aaaa::Pass),
        ..Rule::default()
    });
    let handler = handler_of(World::new(ZONE), &config, Zones::default());
    let answer = ask(
        &handler,
        &edns_query("both.example.", RecordType::AAAA, true),
    )
    .await;
    assert!(lines(&answer.answers).contains(&"both.example. AAAA 2001:db8::1".to_owned()));
    assert!(answer.metadata.authentic_data);
    let answer = ask(
        &handler,
        &edns_query("six.example.", RecordType::AAAA, false),
    )
    .await;
    assert_withheld(&answer, &[]);
}

#[tokio::test]
async fn no_section_of_any_answer_holds_aaaa() {
    for mode in [Mode::Off, Mode::Ipv6Only, Mode::Address] {
        let handler = handler(mode);
        for dnssec_ok in [false, true] {
            let answer = ask(
                &handler,
                &edns_query("mail.example.", RecordType::MX, dnssec_ok),
            )
            .await;
            assert_no_aaaa(&answer);
            assert_eq!(answer.metadata.authentic_data, dnssec_ok);
            let text = lines(&answer.additionals).join("\n");
            assert!(text.contains("both.example. A 192.0.2.1"), "{text}");
        }
    }
}

#[tokio::test]
async fn signatures_over_aaaa_are_not_told_to_who_asks_for_signatures() {
    let signed = [ZONE, &["both.example. TXT hello"]].concat();
    let mut world = World::new(&signed);
    for covered in [RecordType::A, RecordType::AAAA] {
        world = world.with(rrsig("both.example.", covered));
    }
    world = world.with(rrsig("six.example.", RecordType::AAAA));
    let handler = handler_of(world, &config(Mode::Ipv6Only, Names::All), Zones::default());
    for dnssec_ok in [false, true] {
        let message = edns_query("both.example.", RecordType::RRSIG, dnssec_ok);
        let answer = ask(&handler, &message).await;
        assert_no_aaaa(&answer);
        let covered: Vec<_> = answer.answers.iter().map(type_covered).collect();
        assert_eq!(covered, [Some(RecordType::A)]);
        assert!(!answer.metadata.authentic_data);
        let message = edns_query("six.example.", RecordType::RRSIG, dnssec_ok);
        let answer = ask(&handler, &message).await;
        assert_withheld(&answer, &[]);
        assert_no_aaaa(&answer);
        assert_eq!(extended_errors(&answer), [17]);
    }
}

#[tokio::test]
async fn a_rule_that_passes_aaaa_does_not_pass_those_of_other_names_beside_the_answer() {
    let mut config = config(Mode::Ipv6Only, Names::All);
    config.rules.push(Rule {
        domains: vec![name("mail.example.")],
        aaaa: Some(Aaaa::Pass),
        ..Rule::default()
    });
    let handler = handler_of(World::new(ZONE), &config, Zones::default());
    let message = edns_query("mail.example.", RecordType::MX, true);
    let answer = ask(&handler, &message).await;
    assert_no_aaaa(&answer);
    assert!(lines(&answer.additionals).contains(&"both.example. A 192.0.2.1".to_owned()));
}
