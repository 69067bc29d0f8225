//! Addresses inside that a name outside must not carry.

use super::*;

const HOSTILE: &[&str] = &[
    "example. SOA ns.example. admin.example. 7 3600 600 86400 900",
    "evil.example. A 192.168.1.1",
    "evil.example. HTTPS 1 . mandatory=ipv4hint alpn=h2 ipv4hint=192.168.1.1",
    "alias.example. CNAME evil.example.",
    "mixed.example. A 10.0.0.1",
    "mixed.example. A 192.0.2.1",
    "six.example. AAAA fd00::1",
    "half.example. A 192.168.1.1",
    "half.example. AAAA 2001:db8::1",
    "mail.example. MX 10 evil.example.",
    "corp.example. A 10.9.9.9",
    "away.example. CNAME corp.example.",
    "1.example. PTR nas.home.arpa.",
];

fn protected(mode: Mode) -> Handler<World> {
    let mut config = config(mode, Names::All);
    config.dns.rebind_allow.push(name("corp.example."));
    handler_of(World::new(HOSTILE), &config, Zones::default())
}

async fn told(handler: &Handler<World>, owner: &str, record_type: RecordType) -> Message {
    ask(handler, &edns_query(owner, record_type, true)).await
}

#[tokio::test]
async fn what_leads_inside_only_has_no_address_and_says_so() {
    for mode in [Mode::Off, Mode::Ipv6Only, Mode::Address] {
        let handler = protected(mode);
        for (owner, record_type, chain) in [
            ("evil.example.", RecordType::A, &[][..]),
            (
                "alias.example.",
                RecordType::A,
                &["alias.example. CNAME evil.example."],
            ),
            ("six.example.", RecordType::AAAA, &[]),
            ("six.example.", RecordType::A, &[]),
        ] {
            let answer = told(&handler, owner, record_type).await;
            if (owner, record_type) == ("six.example.", RecordType::A) {
                assert!(answer.answers.is_empty(), "not steered: {mode:?}");
                continue;
            }
            assert_withheld(&answer, chain);
            assert_eq!(answer.authorities[0].name, name("example."));
            assert_eq!(extended_errors(&answer), [15], "{mode:?} {owner}");
        }
    }
}

#[tokio::test]
async fn of_a_mixed_answer_the_outside_stays_without_signature() {
    let answer = told(&protected(Mode::Off), "mixed.example.", RecordType::A).await;
    assert_eq!(lines(&answer.answers), ["mixed.example. A 192.0.2.1"]);
    assert!(!answer.metadata.authentic_data);
    assert_eq!(extended_errors(&answer), [15]);
}

#[tokio::test]
async fn hints_and_other_sections_are_cleaned_too() {
    let handler = protected(Mode::Off);
    let answer = told(&handler, "evil.example.", RecordType::HTTPS).await;
    assert_eq!(answer.answers.len(), 1);
    assert_eq!(
        answer.answers[0].data,
        record("evil.example. HTTPS 1 . alpn=h2").data
    );
    let answer = told(&handler, "mail.example.", RecordType::MX).await;
    let kinds: Vec<_> = answer.additionals.iter().map(Record::record_type).collect();
    assert!(!kinds.contains(&RecordType::A), "{kinds:?}");
    assert!(answer.metadata.authentic_data, "the answer itself is whole");
}

#[tokio::test]
async fn an_address_inside_does_not_count_where_it_is_steered() {
    let answer = told(&protected(Mode::Ipv6Only), "half.example.", RecordType::A).await;
    assert_eq!(lines(&answer.answers), ["half.example. A 192.168.1.2"]);
}

#[tokio::test]
async fn allowed_names_keep_their_addresses_and_an_alias_of_one_is_not_allowed() {
    let handler = protected(Mode::Off);
    let answer = told(&handler, "corp.example.", RecordType::A).await;
    assert!(lines(&answer.answers).contains(&"corp.example. A 10.9.9.9".to_owned()));
    assert_eq!(extended_errors(&answer), [0; 0]);
    assert!(answer.metadata.authentic_data);
    let answer = told(&handler, "away.example.", RecordType::A).await;
    assert_withheld(&answer, &["away.example. CNAME corp.example."]);
    let answer = told(&handler, "1.example.", RecordType::PTR).await;
    assert_eq!(extended_errors(&answer), [0; 0]);
    assert!(answer.metadata.authentic_data);
}

#[tokio::test]
async fn a_local_alias_of_what_is_outside_is_outside_too() {
    let zone = "$TTL 1h\n@ SOA gate hostmaster 1 1h 15m 1w 1m\n@ NS gate\ngate A 192.168.1.2\n\
                bad CNAME evil.example.\n";
    let zones = Zones::from_text(&[("home.arpa", zone)]).expect("a good zone");
    let config = config(Mode::Off, Names::All);
    let handler = handler_of(World::new(HOSTILE), &config, zones);
    let answer = told(&handler, "bad.home.arpa.", RecordType::A).await;
    assert_withheld(&answer, &["bad.home.arpa. CNAME evil.example."]);
    assert_eq!(extended_errors(&answer), [15]);
}

#[tokio::test]
async fn the_answer_of_a_filtering_upstream_becomes_an_honest_empty_one() {
    let handler = handler(Mode::Address);
    let answer = told(&handler, "blocked.example.", RecordType::A).await;
    assert_withheld(&answer, &[]);
    assert_eq!(extended_errors(&answer), [15]);
}
