//! EDNS options, class CH, and what is told to a client that asks too often.

use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};

use super::*;

const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const PADDING: u16 = 12;
const NSID: u16 = 3;
const ECS: u16 = 8;

fn with(message: Message, options: &[(u16, &[u8])]) -> Message {
    let mut message = message;
    let mut edns = message.edns.take().unwrap_or_default();
    for &(code, data) in options {
        let data = data.to_vec();
        edns.options_mut().insert(EdnsOption::Unknown(code, data));
    }
    message.set_edns(edns);
    message
}

fn asking(options: &[(u16, &[u8])]) -> Message {
    with(edns_query("both.example.", RecordType::A, false), options)
}

fn option(answer: &Message, code: u16) -> Option<Vec<u8>> {
    let option = answer.edns.as_ref()?.option(EdnsCode::from(code))?;
    Some(option.try_into().unwrap())
}

fn with_config(change: impl Fn(&mut Config)) -> Handler<World> {
    let mut config = config(Mode::Off, Names::All);
    change(&mut config);
    handler_of(World::new(ZONE), &config, Zones::default())
}

#[tokio::test]
async fn a_client_learns_its_cookie_and_a_wrong_one_costs_it_nothing() {
    let handler = handler(Mode::Off);
    let answer = ask(&handler, &asking(&[(COOKIE, &[7; 8])])).await;
    let learnt = option(&answer, COOKIE).unwrap();
    assert_eq!(
        (learnt.len(), &learnt[..9]),
        (24, &[7, 7, 7, 7, 7, 7, 7, 7, 1][..])
    );
    let answer = ask(&handler, &asking(&[(COOKIE, &learnt)])).await;
    assert_eq!(option(&answer, COOKIE).unwrap(), learnt);
    for length in [16, 24, 40] {
        let answer = ask(&handler, &asking(&[(COOKIE, &vec![7; length])])).await;
        assert_eq!(answer.answers.len(), 1);
        assert_eq!(option(&answer, COOKIE).unwrap().len(), 24);
    }
    for length in [0, 7, 9, 15, 41] {
        let answer = ask(&handler, &asking(&[(COOKIE, &vec![7; length])])).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
        assert!(answer.edns.is_some() && option(&answer, COOKIE).is_none());
    }
}

#[tokio::test]
async fn a_cookie_is_answered_without_a_question() {
    let handler = handler(Mode::Off);
    let ask_with = |cookie: &[u8]| {
        let mut message = asking(&[(COOKIE, cookie)]);
        message.queries.clear();
        message
    };
    let answer = ask(&handler, &ask_with(&[7; 8])).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(answer.queries, []);
    let learnt = option(&answer, COOKIE).unwrap();
    let answer = ask(&handler, &ask_with(&learnt)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    let answer = ask(&handler, &ask_with(&[7; 24])).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::BADCOOKIE);
    assert_eq!(option(&answer, COOKIE).unwrap().len(), 24);
    let mut bare = asking(&[]);
    bare.queries.clear();
    let answer = ask(&handler, &bare).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
}

#[tokio::test]
async fn a_stranger_gets_no_option_but_the_reason() {
    let handler = with_config(|config| config.dns.identity = Some("gate".to_owned()));
    let stranger = ClientAddr::new(SocketAddr::from(([203, 0, 113, 9], 53)));
    let message = asking(&[(COOKIE, &[7; 8]), (NSID, &[])]);
    let packet = message.to_vec().unwrap();
    let answer = handler
        .answer(&packet, stranger, Transport::Udp)
        .await
        .unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.edns.unwrap().options().options.len(), 1);
}

#[tokio::test]
async fn of_another_version_of_edns_nothing_is_read_but_the_number() {
    let handler = handler(Mode::Off);
    let mut message = asking(&[(COOKIE, &[7; 8])]);
    message.edns.as_mut().unwrap().set_version(1);
    let answer = ask(&handler, &message).await;
    // The same number as BADSIG.
    assert_eq!(u16::from(answer.metadata.response_code), 16);
    let edns = answer.edns.unwrap();
    assert_eq!((edns.version(), edns.options().options.len()), (0, 0));
}

#[tokio::test]
async fn options_that_nobody_knows_are_ignored() {
    let handler = handler(Mode::Off);
    let unknown: &[(u16, &[u8])] = &[
        (0, &[]),
        (4, &[1, 2]),
        (ECS, &[0, 1, 24, 0, 192, 0, 2]),
        (100, &[0; 300]),
        (65_001, &[]),
        (u16::MAX, &[9; 9]),
    ];
    let answer = ask(&handler, &asking(unknown)).await;
    assert_eq!(answer.answers.len(), 1);
    assert_eq!(answer.edns.unwrap().options().options.len(), 0);
}

#[tokio::test]
async fn two_opt_records_are_malformed() {
    let mut packet = edns_query("both.example.", RecordType::A, false)
        .to_vec()
        .unwrap();
    let opt = packet[packet.len() - 11..].to_vec();
    packet.extend(opt);
    packet[11] = 2;
    let answer = handler(Mode::Off)
        .answer(&packet, client(), Transport::Udp)
        .await
        .unwrap();
    assert_eq!(answer[3] & 0x0f, 1);
}

#[tokio::test]
async fn the_idle_timeout_is_told_on_connections_to_those_who_ask() {
    let handler = with_config(|config| config.dns.tcp_idle_timeout = Duration::from_secs(12));
    for (transport, expected) in [
        (Transport::Udp, None),
        (Transport::Tcp, Some(vec![0, 120])),
        (Transport::Tls, Some(vec![0, 120])),
    ] {
        let answer = ask_over(&handler, &asking(&[(KEEPALIVE, &[])]), transport).await;
        assert_eq!(option(&answer, KEEPALIVE), expected, "{transport:?}");
        let answer = ask_over(&handler, &asking(&[]), transport).await;
        assert_eq!(option(&answer, KEEPALIVE), None);
        let answer = ask_over(&handler, &asking(&[(KEEPALIVE, &[0, 1])]), transport).await;
        let malformed = answer.metadata.response_code == ResponseCode::FormErr;
        assert_eq!(malformed, transport != Transport::Udp, "{transport:?}");
    }
}

#[tokio::test]
async fn answers_are_padded_to_blocks_over_tls_where_the_query_was() {
    let handler = handler(Mode::Off);
    for owner in ["both.example.", "www.example.", "no.example."] {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            for padded in [false, true] {
                let mut message = edns_query(owner, RecordType::A, true);
                if padded {
                    message = with(message, &[(PADDING, &[0; 20])]);
                }
                let packet = message.to_vec().unwrap();
                let answer = handler.answer(&packet, client(), transport).await.unwrap();
                let expected = padded && transport == Transport::Tls;
                assert_eq!(answer.len() % 468 == 0, expected, "{owner} {transport:?}");
                let answer = Message::from_vec(&answer).unwrap();
                let padding = option(&answer, PADDING);
                assert_eq!(padding.is_some(), expected);
                assert!(padding.unwrap_or_default().iter().all(|octet| *octet == 0));
            }
        }
    }
}

#[tokio::test]
async fn padding_never_makes_an_answer_longer_than_a_message_can_be() {
    // Five bytes less than a message can have, the head of the option included; the root is never compressed.
    let all: Vec<String> = (0..286).map(|n| format!(". TXT {n:0>217}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let config = config(Mode::Off, Names::All);
    let handler = handler_of(World::new(&all), &config, Zones::default());
    let message = edns_query(".", RecordType::TXT, false);
    let packet = with(message, &[(PADDING, &[])]).to_vec().unwrap();
    let answer = handler.answer(&packet, client(), Transport::Tls).await;
    let answer = answer.unwrap();
    assert_eq!(answer.len(), 65_535);
    assert_eq!(Message::from_vec(&answer).unwrap().answers.len(), 286);
}

#[tokio::test]
async fn the_identity_is_told_by_nsid_and_in_class_ch_where_it_is_set() {
    let named = with_config(|config| config.dns.identity = Some("gate-a".to_owned()));
    let answer = ask(&named, &asking(&[(NSID, &[])])).await;
    assert_eq!(option(&answer, NSID).unwrap(), b"gate-a");
    assert_eq!(option(&ask(&named, &asking(&[])).await, NSID), None);
    let silent = handler(Mode::Off);
    let answer = ask(&silent, &asking(&[(NSID, &[])])).await;
    assert_eq!(option(&answer, NSID), None);

    let mut question = edns_query("ID.server.", RecordType::TXT, false);
    question.queries[0].query_class = DNSClass::CH;
    let answer = ask(&named, &question).await;
    assert_eq!(lines(&answer.answers), ["ID.server. TXT gate-a"]);
    assert_eq!(answer.answers[0].dns_class, DNSClass::CH);
    assert_eq!(answer.queries, question.queries);
    let answer = ask(&silent, &question).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn an_answer_with_every_option_fits_the_smallest_packet() {
    let label = "x".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}.", "x".repeat(61));
    for identity in [10, 60, 255] {
        let handler = with_config(|config| {
            config.dns.identity = Some("i".repeat(identity));
            config.dns.rate_limit = 1;
        });
        for owner in ["both.example.", longest.as_str()] {
            let mut message = with(
                query(owner, RecordType::A),
                &[(COOKIE, &[7; 8]), (NSID, &[])],
            );
            message.edns.as_mut().unwrap().set_max_payload(512);
            let packet = message.to_vec().unwrap();
            let answer = handler.answer(&packet, client(), Transport::Udp).await;
            let answer = answer.unwrap();
            assert!(answer.len() <= 512);
            let answer = Message::from_vec(&answer).unwrap();
            assert!(option(&answer, COOKIE).is_some(), "{identity} {owner}");
            assert_eq!(answer.queries, message.queries);
        }
    }
}

#[tokio::test]
async fn other_classes_are_refused() {
    let handler = with_config(|config| config.dns.version = Some("sekisho".to_owned()));
    for class in [
        DNSClass::HS,
        DNSClass::NONE,
        DNSClass::ANY,
        DNSClass::Unknown(7),
    ] {
        let mut question = query("version.bind.", RecordType::TXT);
        question.queries[0].query_class = class;
        let answer = ask(&handler, &question).await;
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::Refused,
            "{class}"
        );
    }
}

#[tokio::test]
async fn every_operation_but_a_query_is_not_implemented_and_transfers_are_refused() {
    let handler = handler(Mode::Off);
    for operation in 1..16 {
        let mut packet = query("both.example.", RecordType::A).to_vec().unwrap();
        packet[2] |= operation << 3;
        let answer = handler.answer(&packet, client(), Transport::Udp).await;
        let answer = answer.unwrap();
        assert_eq!(answer[3] & 0x0f, 4, "{operation}");
        assert_eq!(answer[2] >> 3 & 0x0f, operation);
    }
    for record_type in [RecordType::AXFR, RecordType::IXFR] {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            let answer = ask_over(&handler, &query("example.", record_type), transport).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
        }
    }
}

#[tokio::test]
async fn flags_of_a_query_are_echoed_only_where_they_are_the_clients() {
    let handler = handler(Mode::Off);
    // AA, TC, RA and Z of a query mean nothing; AD asks for AD; RD and CD come back.
    let mut packet = query("both.example.", RecordType::A).to_vec().unwrap();
    packet[2] |= 0x06;
    packet[3] |= 0xd0;
    let answer = handler.answer(&packet, client(), Transport::Udp).await;
    let answer = answer.unwrap();
    assert_eq!((answer[2], answer[3] & 0xf0), (0x81, 0x90), "QR RD, RA CD");
}

#[tokio::test(start_paused = true)]
async fn a_client_over_its_rate_is_refused_with_the_reason_until_time_has_passed() {
    let mut config = config(Mode::Off, Names::All);
    config.dns.rate_limit = 3;
    let metrics = Arc::new(Metrics::new());
    let first = view(&config, Zones::default(), World::new(ZONE));
    let handler = Handler::new(first, Arc::clone(&metrics));
    let question = asking(&[]);
    for _ in 0..3 {
        assert_eq!(ask(&handler, &question).await.answers.len(), 1);
    }
    let answer = ask(&handler, &question).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert_eq!(extended_errors(&answer), [18]);
    let told = option(&answer, 15).unwrap();
    assert_eq!(&told[2..], b"over the query rate limit of 3/s");
    assert_eq!(metrics.dns_rate_limited.get(), 1);

    let other = ClientAddr::new(SocketAddr::from(([192, 168, 1, 51], 5353)));
    let packet = question.to_vec().unwrap();
    let answer = handler.answer(&packet, other, Transport::Udp).await;
    assert_eq!(answer.unwrap()[3] & 0x0f, 0);
    tokio::time::advance(Duration::from_millis(400)).await;
    assert_eq!(ask(&handler, &question).await.answers.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn queries_of_one_client_over_its_bound_are_dropped_and_others_are_answered() {
    let world = World::new(ZONE).silent("four.example.", RecordType::A);
    let metrics = Arc::new(Metrics::new());
    let mut view = view(&config(Mode::Off, Names::All), Zones::default(), world);
    view.limits.max_queries_per_client = 2;
    let handler = Arc::new(Handler::new(view, Arc::clone(&metrics)));
    let slow = query("four.example.", RecordType::A).to_vec().unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (handler, slow) = (Arc::clone(&handler), slow.clone());
        waiting.spawn(async move { handler.answer(&slow, client(), Transport::Udp).await });
    }
    tokio::task::yield_now().await;
    let quick = asking(&[]).to_vec().unwrap();
    assert_eq!(handler.answer(&quick, client(), Transport::Udp).await, None);
    assert_eq!(metrics.dns_client_overload.get(), 1);
    assert_eq!(metrics.dns_overload.get(), 0);
    let other = ClientAddr::new(SocketAddr::from(([192, 168, 1, 51], 5353)));
    assert!(
        handler
            .answer(&quick, other, Transport::Udp)
            .await
            .is_some()
    );
    waiting.shutdown().await;
}

#[tokio::test]
async fn every_prefix_and_every_flipped_bit_of_a_query_with_options_is_survived() {
    let handler = with_config(|config| config.dns.identity = Some("gate".to_owned()));
    let message = asking(&[
        (COOKIE, &[7; 24]),
        (KEEPALIVE, &[]),
        (PADDING, &[0; 9]),
        (NSID, &[]),
        (ECS, &[0, 1, 24, 0, 192, 0, 2]),
    ]);
    let packet = message.to_vec().unwrap();
    for end in 0..packet.len() {
        let answer = handler
            .answer(&packet[..end], client(), Transport::Tls)
            .await;
        match answer {
            None => assert!(end < 12, "{end}"),
            Some(answer) => assert_eq!(answer[3] & 0x0f, 1, "FORMERR at {end}"),
        }
    }
    for bit in 0..packet.len() * 8 {
        let mut broken = packet.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        for transport in [Transport::Udp, Transport::Tls] {
            if let Some(answer) = handler.answer(&broken, client(), transport).await {
                assert_eq!(answer[..2], broken[..2], "the id is echoed");
                assert!(Message::from_vec(&answer).is_ok(), "bit {bit}");
            }
        }
    }
}

#[test]
fn strangers_together_have_no_more_places_than_one_client() {
    let metrics = Arc::new(Metrics::new());
    let mut view = view(
        &config(Mode::Off, Names::All),
        Zones::default(),
        World::new(ZONE),
    );
    view.limits.max_queries = 4;
    view.limits.max_queries_per_client = 2;
    let handler = Handler::new(view, Arc::clone(&metrics));
    let strangers =
        [9, 10, 11].map(|last| ClientAddr::new(SocketAddr::from(([203, 0, 113, last], 53))));
    let places = strangers.map(|stranger| handler.enter(stranger));
    assert_eq!(places.each_ref().map(Option::is_some), [true, true, false]);
    assert_eq!(metrics.dns_client_overload.get(), 1);
    let _own = (
        handler.enter(client()).unwrap(),
        handler.enter(client()).unwrap(),
    );
    assert_eq!(metrics.dns_overload.get(), 0);
}

#[tokio::test]
async fn options_that_do_not_end_with_the_record_are_an_error_of_format() {
    let handler = handler(Mode::Off);
    let with = |options: &[u8]| {
        let mut packet = edns_query("both.example.", RecordType::A, false)
            .to_vec()
            .unwrap();
        let end = packet.len();
        packet[end - 2..].copy_from_slice(&u16::try_from(options.len()).unwrap().to_be_bytes());
        packet.extend(options);
        packet
    };
    let cookie = [&[0, 10, 0, 8][..], &[7; 8]].concat();
    for (options, expected) in [
        (cookie.clone(), ResponseCode::NoError),
        ([&cookie[..], &[0, 3, 0, 0]].concat(), ResponseCode::NoError),
        ([&cookie[..], &[0, 3, 0, 8]].concat(), ResponseCode::FormErr),
        ([&cookie[..], &[0, 3]].concat(), ResponseCode::FormErr),
        (vec![0, 10, 0, 6, 7, 7], ResponseCode::FormErr),
        (vec![0, 3], ResponseCode::FormErr),
        (vec![0, 3, 0], ResponseCode::FormErr),
    ] {
        let packet = with(&options);
        let answer = handler.answer(&packet, client(), Transport::Udp).await;
        let answer = Message::from_vec(&answer.unwrap()).unwrap();
        assert_eq!(answer.metadata.response_code, expected, "{options:?}");
    }
    // Another version says what its options are.
    let mut packet = with(&[0, 3]);
    let version = packet.len() - 2 - 5;
    packet[version] = 1;
    let answer = handler.answer(&packet, client(), Transport::Udp).await;
    let answer = Message::from_vec(&answer.unwrap()).unwrap();
    let code = u16::from(answer.metadata.response_code);
    assert_eq!(code, u16::from(ResponseCode::BADVERS));
}
