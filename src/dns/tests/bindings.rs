//! HTTPS and SVCB (RFC 9460): steered or as they are, byte for byte.

use hickory_proto::rr::rdata::HTTPS;
use hickory_proto::rr::rdata::svcb::{SvcParamKey, SvcParamValue, Unknown};

use super::*;

const BINDINGS: &[&str] = &[
    "example. SOA ns.example. admin.example. 7 3600 600 86400 900",
    "a.example. A 192.0.2.1",
    "a.example. AAAA 2001:db8::1",
    "a.example. HTTPS 0 cdn.example.",
    "b.example. A 192.0.2.2",
    "b.example. AAAA 2001:db8::2",
    "_8443._https.b.example. HTTPS 1 b.example. alpn=h2,h3 port=8443 ipv6hint=2001:db8::2",
    "_dns.b.example. SVCB 1 b.example. alpn=h2,dot key7=x",
    "_dns.b.example. SVCB 2 b.example. alpn=dot",
    "_853._dns.a.example. SVCB 1 a.example. alpn=dot",
];

fn bound(mode: Mode) -> Handler<World> {
    let config = config(mode, Names::All);
    handler_of(World::new(BINDINGS), &config, Zones::default())
}

#[tokio::test]
async fn an_alias_is_told_where_the_name_is_not_steered_and_is_no_data_where_it_is() {
    let message = edns_query("a.example.", RecordType::HTTPS, true);
    let answer = ask(&bound(Mode::Ipv6Only), &message).await;
    let alias = record("a.example. HTTPS 0 cdn.example.").data;
    assert!(answer.answers.iter().any(|record| record.data == alias));
    assert!(answer.metadata.authentic_data);
    let answer = ask(&bound(Mode::Address), &message).await;
    assert_withheld(&answer, &[]);
    assert_eq!(extended_errors(&answer), [4]);
}

#[tokio::test]
async fn below_a_port_and_a_scheme_the_host_decides_and_is_where_the_record_leads() {
    let handler = bound(Mode::Address);
    let message = edns_query("_8443._https.b.example.", RecordType::HTTPS, true);
    let answer = ask(&handler, &message).await;
    assert_eq!(answer.answers.len(), 1);
    assert_eq!(
        answer.answers[0].data,
        record("x. HTTPS 1 b.example. alpn=h3,h2,http/1.1").data
    );
    let answer = ask(
        &handler,
        &edns_query("_dns.b.example.", RecordType::SVCB, true),
    )
    .await;
    assert_eq!(answer.answers.len(), 1);
    // Read from text, the key has another shape in memory.
    let text = |record: &Record| record.data.to_string().replace("unknown", "key");
    assert_eq!(
        text(&answer.answers[0]),
        text(&record("x. SVCB 1 b.example. alpn=h2 key7=x"))
    );
    let message = edns_query("_853._dns.a.example.", RecordType::SVCB, true);
    assert_withheld(&ask(&handler, &message).await, &[]);

    let message = edns_query("_8443._https.b.example.", RecordType::HTTPS, true);
    let answer = ask(&bound(Mode::Off), &message).await;
    let text = lines(&answer.answers).concat();
    assert!(text.contains("port") && text.contains("h3"), "{text}");
    assert!(
        !text.contains("ipv6hint") && !text.contains("RRSIG"),
        "{text}"
    );
}

#[tokio::test]
async fn unknown_keys_come_through_byte_for_byte() {
    let bytes = vec![0, 255, b'"', b'\\', 10, 27];
    let mut binding = record("c.example. HTTPS 1 . alpn=h2 ipv6hint=2001:db8::1");
    let key = SvcParamKey::from(65_400);
    if let RData::HTTPS(HTTPS(binding)) = &mut binding.data {
        let value = SvcParamValue::Unknown(Unknown(bytes.clone()));
        binding.svc_params.push((key, value));
    }
    let world = World::new(BINDINGS).with(binding);
    let config = config(Mode::Off, Names::All);
    let handler = handler_of(world, &config, Zones::default());
    let answer = ask(&handler, &query("c.example.", RecordType::HTTPS)).await;
    let RData::HTTPS(HTTPS(binding)) = &answer.answers[0].data else {
        panic!("{:?}", answer.answers);
    };
    let keys: Vec<u16> = binding
        .svc_params
        .iter()
        .map(|(key, _)| (*key).into())
        .collect();
    assert_eq!(keys, [1, 65_400]);
    assert_eq!(
        binding.svc_params[1].1,
        SvcParamValue::Unknown(Unknown(bytes))
    );
}

#[tokio::test]
async fn a_name_that_does_not_exist_has_no_binding_either() {
    let handler = bound(Mode::Address);
    let message = edns_query("_443._https.gone.example.", RecordType::HTTPS, false);
    let answer = ask(&handler, &message).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    let answer = ask(
        &handler,
        &edns_query("b.example.", RecordType::HTTPS, false),
    )
    .await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.answers.is_empty());
}
