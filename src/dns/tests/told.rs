//! Local and special names, failures, reload and metrics.

use super::*;

#[tokio::test]
async fn any_is_answered_with_hinfo() {
    let answer = ask(
        &handler(Mode::Address),
        &query("both.example.", RecordType::ANY),
    )
    .await;
    assert_eq!(answer.answers.len(), 1);
    assert_eq!(answer.answers[0].record_type(), RecordType::HINFO);
}

fn local_zones() -> Zones {
    let zone = "$TTL 1h\n@ SOA gate hostmaster 1 1h 15m 1w 1m\n@ NS gate\ngate A 192.168.1.2\n\
                nas A 192.168.1.9\nnas AAAA fd00::1\nout CNAME both.example.\n";
    Zones::from_text(&[("home.arpa", zone)]).expect("a good zone")
}

#[tokio::test]
async fn local_data_is_told_as_it_is_with_aa_and_ra_even_without_rd() {
    let handler = handler_of(
        World::new(ZONE),
        &config(Mode::Address, Names::All),
        local_zones(),
    );
    for recursion_desired in [true, false] {
        let mut message = query("nas.home.arpa.", RecordType::AAAA);
        message.metadata.recursion_desired = recursion_desired;
        let answer = ask(&handler, &message).await;
        assert_eq!(lines(&answer.answers), ["nas.home.arpa. AAAA fd00::1"]);
        assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
        assert_eq!(answer.metadata.recursion_desired, recursion_desired);
    }
    let answer = ask(&handler, &query("nas.home.arpa.", RecordType::A)).await;
    assert_eq!(lines(&answer.answers), ["nas.home.arpa. A 192.168.1.9"]);
}

#[tokio::test]
async fn a_local_alias_to_the_outside_is_followed_through_the_policy() {
    let handler = handler_of(
        World::new(ZONE),
        &config(Mode::Ipv6Only, Names::All),
        local_zones(),
    );
    let answer = ask(&handler, &query("out.home.arpa.", RecordType::A)).await;
    assert_eq!(
        lines(&answer.answers),
        [
            "out.home.arpa. CNAME both.example.",
            "both.example. A 192.0.2.1"
        ]
    );
    assert!(answer.metadata.authoritative);
    let answer = ask(
        &handler,
        &edns_query("out.home.arpa.", RecordType::AAAA, false),
    )
    .await;
    assert_withheld(&answer, &["out.home.arpa. CNAME both.example."]);
    assert_eq!(extended_errors(&answer), [17]);
}

#[tokio::test]
async fn special_names_never_leave_the_house() {
    let world = Arc::new(World::new(ZONE));
    let config = config(Mode::Address, Names::All);
    let first = view(&config, Zones::default(), Arc::clone(&world));
    let handler = Handler::new(first, Arc::new(Metrics::new()));
    let answer = ask(&handler, &query("a.invalid.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn failures_of_the_truth_are_servfail_with_the_reason() {
    let refused = ResolveError::Failed {
        rcode: ResponseCode::Refused,
        extended_errors: vec![],
    };
    for (error, code) in [
        (ResolveError::Timeout, 22),
        (ResolveError::Unreachable("no route".to_owned()), 23),
        (ResolveError::Overload("too many questions".to_owned()), 0),
        (refused, 22),
    ] {
        let world = World::new(ZONE)
            .broken("both.example.", RecordType::A, error.clone())
            .broken("both.example.", RecordType::AAAA, error.clone())
            .broken("both.example.", RecordType::HTTPS, error.clone())
            .broken("both.example.", RecordType::TXT, error);
        let handler = handler_of(world, &config(Mode::Address, Names::All), Zones::default());
        for record_type in [
            RecordType::A,
            RecordType::AAAA,
            RecordType::HTTPS,
            RecordType::TXT,
        ] {
            let answer = ask(&handler, &edns_query("both.example.", record_type, false)).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
            assert_eq!(extended_errors(&answer), [code]);
        }
    }
}

#[tokio::test]
async fn without_recursion_desired_an_outside_name_is_refused_and_nobody_is_asked() {
    let world = Arc::new(World::new(ZONE));
    let config = config(Mode::Off, Names::All);
    let first = view(&config, Zones::default(), Arc::clone(&world));
    let handler = Handler::new(first, Arc::new(Metrics::new()));
    let mut message = edns_query("both.example.", RecordType::A, false);
    message.metadata.recursion_desired = false;
    let answer = ask(&handler, &message).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert_eq!(extended_errors(&answer), [20]);
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn a_new_view_takes_effect_at_once() {
    let handler = handler(Mode::Off);
    let message = query("both.example.", RecordType::A);
    let before = ask(&handler, &message).await;
    assert_eq!(lines(&before.answers), ["both.example. A 192.0.2.1"]);
    let config = config(Mode::Address, Names::All);
    handler.replace(view(&config, Zones::default(), World::new(ZONE)));
    let after = ask(&handler, &message).await;
    assert_eq!(lines(&after.answers), ["both.example. A 192.168.1.2"]);
}

#[tokio::test]
async fn metrics_tell_what_came_what_went_and_what_was_done() {
    let metrics = Arc::new(Metrics::new());
    let config = config(Mode::Ipv6Only, Names::All);
    let first = view(&config, Zones::default(), World::new(ZONE));
    let handler = Handler::new(first, Arc::clone(&metrics));
    ask(&handler, &query("six.example.", RecordType::A)).await;
    ask(&handler, &query("six.example.", RecordType::AAAA)).await;
    ask(&handler, &query("nothing.example.", RecordType::TXT)).await;
    let text = metrics.encode();
    for line in [
        "sekisho_dns_queries_total{transport=\"udp\",qtype=\"a\"} 1",
        "sekisho_dns_queries_total{transport=\"udp\",qtype=\"aaaa\"} 1",
        "sekisho_dns_queries_total{transport=\"udp\",qtype=\"other\"} 1",
        "sekisho_dns_answers_total{rcode=\"noerror\"} 2",
        "sekisho_dns_answers_total{rcode=\"nxdomain\"} 1",
        "sekisho_dns_withheld_total 1",
        "sekisho_dns_steered_total 1",
        "sekisho_dns_in_flight 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn a_zone_of_ours_may_define_a_special_name() {
    let zone = "$TTL 1h\n@ SOA gate hostmaster 1 1h 15m 1w 1m\n@ NS gate\ngate A 192.168.1.2\n";
    let zones = Zones::from_text(&[("test", zone)]).expect("a good zone");
    let config = config(Mode::Address, Names::All);
    let handler = handler_of(World::new(ZONE), &config, zones);
    let answer = ask(&handler, &query("gate.test.", RecordType::A)).await;
    assert_eq!(lines(&answer.answers), ["gate.test. A 192.168.1.2"]);
}

#[tokio::test]
async fn a_special_name_that_has_servers_of_its_own_is_asked_of_them() {
    let world = Arc::new(World::new(&[
        "nas.home.arpa. A 192.168.1.9",
        "9.1.168.192.in-addr.arpa. PTR nas.home.arpa.",
    ]));
    let mut config = config(Mode::Ipv6Only, Names::Ipv6);
    let servers = config.dns.upstream.servers.clone();
    config.dns.upstream.zones = ["home.arpa.", "168.192.in-addr.arpa."]
        .map(|domain| UpstreamZone {
            domain: name(domain),
            servers: servers.clone(),
        })
        .into();
    let first = view(&config, Zones::default(), Arc::clone(&world));
    let handler = Handler::new(first, Arc::new(Metrics::new()));
    let answer = ask(&handler, &query("nas.home.arpa.", RecordType::A)).await;
    assert_eq!(lines(&answer.answers), ["nas.home.arpa. A 192.168.1.9"]);
    let reverse = query("9.1.168.192.in-addr.arpa.", RecordType::PTR);
    let answer = ask(&handler, &reverse).await;
    assert_eq!(answer.answers.len(), 1);

    let before = world.asked().len();
    for (owner, record_type) in [
        ("wpad.home.arpa.", RecordType::A),
        ("9.1.0.10.in-addr.arpa.", RecordType::PTR),
        ("a.invalid.", RecordType::A),
        ("localhost.", RecordType::A),
    ] {
        ask(&handler, &query(owner, record_type)).await;
    }
    assert_eq!(world.asked().len(), before);
}
