//! Names that lead to the gate, and names that do not.

use super::*;

#[tokio::test]
async fn addresses_are_steered_as_the_table_of_the_modes_says() {
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
    let handler = Handler::new(first, Arc::new(Metrics::new()));
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
        record("six.example. HTTPS 1 . alpn=h3,h2,http/1.1").data
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
        steer: Some(RuleSteer::Never),
        ..Rule::default()
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

/// Names of a split horizon: what they lead to is near the client, and closed to sessions through the gate.
const NEAR: &[&str] = &[
    "example. SOA ns.example. admin.example. 7 3600 600 86400 900",
    "router.example. A 192.168.1.1",
    "router.example. HTTPS 1 . alpn=h2,h3",
    "nas.example. A 192.168.1.9",
    "nas.example. AAAA fd00::9",
    "www.example. CNAME nas.example.",
    "ula.example. AAAA fd00::9",
    "cloud.example. A 10.0.0.9",
    "cloud.example. AAAA 2001:db8::9",
    "two.example. A 192.168.1.9",
    "two.example. A 192.0.2.9",
];

/// A house whose own names are such.
fn near(mode: Mode, names: Names) -> Config {
    let mut config = config(mode, names);
    config.dns.rebind_allow.push(name("example."));
    config
}

#[tokio::test]
async fn a_name_that_only_the_client_can_reach_is_told_as_it_is() {
    let told = |owner, address| (owner, Some(address));
    for (mode, names, expected) in [
        (
            Mode::Address,
            Names::All,
            [
                told("router.example.", "192.168.1.1"),
                told("nas.example.", "192.168.1.9"),
                told("www.example.", "192.168.1.9"),
                ("ula.example.", None),
                told("cloud.example.", "192.168.1.2"),
                told("two.example.", "192.168.1.2"),
            ],
        ),
        (
            Mode::Address,
            Names::Ipv6,
            [
                told("router.example.", "192.168.1.1"),
                told("nas.example.", "192.168.1.9"),
                told("www.example.", "192.168.1.9"),
                ("ula.example.", None),
                told("cloud.example.", "192.168.1.2"),
                told("two.example.", "192.168.1.9"),
            ],
        ),
        (
            Mode::Ipv6Only,
            Names::All,
            [
                told("router.example.", "192.168.1.1"),
                told("nas.example.", "192.168.1.9"),
                told("www.example.", "192.168.1.9"),
                ("ula.example.", None),
                told("cloud.example.", "10.0.0.9"),
                told("two.example.", "192.168.1.9"),
            ],
        ),
    ] {
        let handler = handler_of(World::new(NEAR), &near(mode, names), Zones::default());
        for (owner, address) in expected {
            let answer = ask(&handler, &query(owner, RecordType::A)).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
            let addresses: Vec<_> = answer
                .answers
                .iter()
                .filter(|record| record.record_type() == RecordType::A)
                .map(|record| record.data.to_string())
                .collect();
            match address {
                Some(address) => assert!(
                    addresses.iter().any(|told| told == address),
                    "{mode:?} {names:?} {owner} {addresses:?}"
                ),
                None => assert_eq!(addresses, [""; 0], "{mode:?} {names:?} {owner}"),
            }
            let answer = ask(&handler, &query(owner, RecordType::AAAA)).await;
            assert_no_aaaa(&answer);
        }
        let answer = ask(&handler, &query("router.example.", RecordType::HTTPS)).await;
        assert!(lines(&answer.answers)[0].contains("h3"), "{mode:?}");
    }
}

#[tokio::test]
async fn a_network_that_is_open_for_sessions_is_steered() {
    let mut config = near(Mode::Address, Names::All);
    config.egress.allow = Acl::new(["192.168.1.0/28".parse().unwrap()]);
    let handler = handler_of(World::new(NEAR), &config, Zones::default());
    let answer = ask(&handler, &query("router.example.", RecordType::A)).await;
    assert_eq!(lines(&answer.answers), ["router.example. A 192.168.1.2"]);
}

#[tokio::test]
async fn a_near_address_is_told_although_the_other_family_fails() {
    let failed = ResolveError::Timeout;
    let world = World::new(NEAR).broken("router.example.", RecordType::AAAA, failed);
    let config = near(Mode::Address, Names::All);
    let handler = handler_of(world, &config, Zones::default());
    let answer = ask(&handler, &query("router.example.", RecordType::A)).await;
    assert_eq!(lines(&answer.answers), ["router.example. A 192.168.1.1"]);
}

#[tokio::test]
async fn a_family_whose_servers_are_silent_does_not_hold_up_the_other() {
    let config = config(Mode::Address, Names::All);
    for silent in [RecordType::A, RecordType::AAAA] {
        let world = World::new(ZONE).silent("both.example.", silent);
        let handler = handler_of(world, &config, Zones::default());
        for record_type in [RecordType::A, RecordType::HTTPS] {
            let question = query("both.example.", record_type);
            let asked = ask(&handler, &question);
            let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
            assert_eq!(answer.unwrap().answers.len(), 1, "{silent} {record_type}");
        }
    }
}

#[tokio::test]
async fn a_service_binding_is_not_told_while_it_is_unknown_where_the_name_leads() {
    let world = World::new(ZONE)
        .broken("both.example.", RecordType::A, ResolveError::Timeout)
        .broken("both.example.", RecordType::AAAA, ResolveError::Timeout);
    let config = config(Mode::Address, Names::All);
    let handler = handler_of(world, &config, Zones::default());
    let answer = ask(&handler, &query("both.example.", RecordType::HTTPS)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

/// For how long an answer may be told again.
async fn lasting(world: World, owner: &str, record_type: RecordType) -> Option<Duration> {
    let view = view(&config(Mode::Ipv6Only, Names::All), Zones::default(), world);
    let mut message = query(owner, record_type);
    let asked = Asked {
        metadata: message.metadata,
        query: message.queries.remove(0),
        edns: None,
    };
    match pipeline::run(&view, client().ip(), &asked).await.lasting {
        Lasting::For(life) => Some(life.told),
        Lasting::Not => None,
        Lasting::Always => Some(Duration::MAX),
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_learnt_first_holds_no_longer_because_something_came_later() {
    let world = World::new(ZONE).slow("both.example.", RecordType::A, Duration::from_secs(100));
    let lasting = lasting(world, "both.example.", RecordType::HTTPS).await;
    assert_eq!(lasting, Some(Duration::from_secs(200)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_lasts_no_longer_than_it_says_whatever_is_in_the_cache_by_then() {
    let mut short = record("short.example. A 192.0.2.8");
    short.ttl = 5;
    let world = || World::new(ZONE).with(short.clone());
    let told = lasting(world(), "short.example.", RecordType::A).await;
    assert_eq!(told, Some(Duration::from_secs(5)));
    let world = world().stale("both.example.", RecordType::A);
    assert_eq!(lasting(world, "both.example.", RecordType::A).await, None);
}
