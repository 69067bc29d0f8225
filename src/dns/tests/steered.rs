//! Names that lead to the gate, and names that do not.

use super::*;

#[tokio::test]
async fn addresses_are_steered_as_the_table_of_the_contract_says() {
    const REAL: bool = false;
    const TO_GATE: bool = true;
    for (mode, names, both, six, four) in [
        (Mode::Off, Names::All, REAL, REAL, REAL),
        (Mode::Ipv6Only, Names::All, REAL, TO_GATE, REAL),
        (Mode::Address, Names::All, TO_GATE, TO_GATE, TO_GATE),
        (Mode::Address, Names::Ipv6, TO_GATE, TO_GATE, REAL),
    ] {
        let handler = handler_of(World::new(ZONE), &config(mode, names), Zones::default());
        for (owner, to_gate, real) in [
            ("both.example.", both, Some("192.0.2.1")),
            ("six.example.", six, None),
            ("four.example.", four, Some("192.0.2.4")),
            ("none.example.", REAL, None),
            ("blocked.example.", REAL, Some("0.0.0.0")),
        ] {
            let answer = ask(&handler, &edns_query(owner, RecordType::A, true)).await;
            let addresses: Vec<String> = answer
                .answers
                .iter()
                .filter(|record| record.record_type() == RecordType::A)
                .map(|record| record.data.to_string())
                .collect();
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
            if to_gate {
                assert_eq!(addresses, [GATE.to_string()], "{mode:?} {owner}");
                assert_eq!(answer.answers.len(), 1);
                assert_eq!(answer.answers[0].ttl, 60);
                assert_eq!(extended_errors(&answer), [4]);
                assert!(!answer.metadata.authentic_data);
            } else {
                assert_eq!(
                    addresses,
                    real.into_iter().collect::<Vec<_>>(),
                    "{mode:?} {owner}"
                );
                assert_eq!(extended_errors(&answer), [0; 0]);
                assert!(answer.metadata.authentic_data);
            }
        }
        let answer = ask(
            &handler,
            &edns_query("nothing.example.", RecordType::A, false),
        )
        .await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    }
}

#[tokio::test]
async fn a_steered_alias_is_the_gate_at_the_name_that_was_asked_for() {
    let answer = ask(
        &handler(Mode::Ipv6Only),
        &query("Alias.Example.", RecordType::A),
    )
    .await;
    assert_eq!(lines(&answer.answers), ["Alias.Example. A 192.168.1.2"]);
}

#[tokio::test]
async fn a_dual_stack_name_costs_no_question_for_aaaa_in_ipv6_only_mode() {
    let world = Arc::new(World::new(ZONE));
    let config = config(Mode::Ipv6Only, Names::All);
    let first = view(&config, Zones::default(), Arc::clone(&world));
    let handler = Handler::new(first, 100, Arc::new(Metrics::new()));
    ask(&handler, &query("both.example.", RecordType::A)).await;
    assert_eq!(world.asked(), [(name("both.example."), RecordType::A)]);
}

#[tokio::test]
async fn a_service_binding_of_a_name_that_is_not_steered_loses_only_its_ipv6_hint() {
    let handler = handler(Mode::Ipv6Only);
    let answer = ask(
        &handler,
        &edns_query("both.example.", RecordType::HTTPS, true),
    )
    .await;
    let text = lines(&answer.answers).join("\n");
    assert!(text.contains("ipv4hint"), "{text}");
    assert!(text.contains("h3"), "{text}");
    assert!(!text.contains("ipv6hint"), "{text}");
    assert!(
        !text.contains("RRSIG"),
        "the signature no longer holds: {text}"
    );
    assert!(!answer.metadata.authentic_data);

    let answer = ask(
        &handler,
        &edns_query("four.example.", RecordType::HTTPS, true),
    )
    .await;
    assert_eq!(answer.answers.len(), 2, "unchanged, so still signed");
    assert!(answer.metadata.authentic_data);
}

#[tokio::test]
async fn a_service_binding_of_a_steered_name_is_one_record_of_what_the_gate_carries() {
    let handler = handler(Mode::Address);
    let answer = ask(
        &handler,
        &edns_query("six.example.", RecordType::HTTPS, true),
    )
    .await;
    assert_eq!(answer.answers.len(), 1);
    assert_eq!(
        answer.answers[0].data,
        record("six.example. HTTPS 1 . alpn=h2,http/1.1").data
    );
    assert!(answer.answers[0].ttl <= 60);
    assert_eq!(extended_errors(&answer), [4]);

    let answer = ask(
        &handler,
        &edns_query("four.example.", RecordType::HTTPS, true),
    )
    .await;
    assert_withheld(&answer, &[]);

    let answer = ask(
        &handler,
        &edns_query("none.example.", RecordType::HTTPS, true),
    )
    .await;
    assert!(answer.answers.is_empty());
    assert!(lines(&answer.authorities)[0].contains("SOA"));
}

#[tokio::test]
async fn rules_and_lists_decide_for_whom_a_name_is_steered() {
    let mut config = config(Mode::Address, Names::All);
    config.rules.push(Rule {
        domains: vec![name("both.example.")],
        clients: None,
        aaaa: None,
        steer: Some(RuleSteer::Never),
    });
    config.steer.never.push(name("four.example."));
    let handler = handler_of(World::new(ZONE), &config, Zones::default());
    for (owner, address) in [
        ("both.example.", "192.0.2.1"),
        ("four.example.", "192.0.2.4"),
        ("six.example.", "192.168.1.2"),
    ] {
        let answer = ask(&handler, &query(owner, RecordType::A)).await;
        assert_eq!(lines(&answer.answers), [format!("{owner} A {address}")]);
    }
}

#[tokio::test]
async fn one_family_that_fails_does_not_take_the_other_with_it() {
    for (owner, broken, mode, names, expected) in [
        (
            "both.example.",
            RecordType::AAAA,
            Mode::Address,
            Names::Ipv6,
            Ok("192.0.2.1"),
        ),
        (
            "both.example.",
            RecordType::AAAA,
            Mode::Address,
            Names::All,
            Ok("192.168.1.2"),
        ),
        (
            "both.example.",
            RecordType::A,
            Mode::Address,
            Names::All,
            Ok("192.168.1.2"),
        ),
        (
            "both.example.",
            RecordType::A,
            Mode::Ipv6Only,
            Names::All,
            Err(()),
        ),
        // Whether there is AAAA is what the answer depends on; "no" would be remembered.
        (
            "six.example.",
            RecordType::AAAA,
            Mode::Ipv6Only,
            Names::All,
            Err(()),
        ),
    ] {
        let world = World::new(ZONE).broken(owner, broken, ResolveError::Timeout);
        let handler = handler_of(world, &config(mode, names), Zones::default());
        let answer = ask(&handler, &query(owner, RecordType::A)).await;
        match expected {
            Ok(address) => assert_eq!(lines(&answer.answers), [format!("{owner} A {address}")]),
            Err(()) => assert_eq!(answer.metadata.response_code, ResponseCode::ServFail),
        }
    }
}
