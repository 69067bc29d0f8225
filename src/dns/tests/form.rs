//! What is no question, and the form of what is told.

use super::*;

#[tokio::test]
async fn a_stranger_is_refused_whatever_it_sends() {
    let handler = handler(Mode::Off);
    let stranger = ClientAddr::new(SocketAddr::from(([203, 0, 113, 9], 53)));
    let packet = edns_query("both.example.", RecordType::A, false)
        .to_vec()
        .unwrap();
    for packet in [&packet[..], &packet[..20]] {
        let answer = handler
            .answer(packet, stranger, Transport::Udp)
            .await
            .unwrap();
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
        assert!(answer.answers.is_empty());
        if packet.len() > 20 {
            assert_eq!(extended_errors(&answer), [18]);
        }
    }
    assert!(!handler.admits(stranger));
}

#[tokio::test]
async fn what_is_no_question_for_a_resolver_is_told_so_by_its_code() {
    let handler = handler(Mode::Off);
    let good = || edns_query("both.example.", RecordType::A, false);
    let mut cases: Vec<(Message, ResponseCode)> = Vec::new();
    let mut none = good();
    none.queries.clear();
    cases.push((none, ResponseCode::FormErr));
    let mut two = good();
    two.add_query(Query::query(name("b.example."), RecordType::A));
    cases.push((two, ResponseCode::FormErr));
    for op_code in [OpCode::Status, OpCode::Notify, OpCode::Update] {
        let mut other = good();
        other.metadata.op_code = op_code;
        cases.push((other, ResponseCode::NotImp));
    }
    let mut class = good();
    class.queries[0].query_class = DNSClass::CH;
    cases.push((class, ResponseCode::Refused));
    for record_type in [RecordType::AXFR, RecordType::IXFR] {
        cases.push((query("both.example.", record_type), ResponseCode::Refused));
    }
    let mut version = good();
    let mut edns = Edns::new();
    edns.set_version(1);
    version.set_edns(edns);
    cases.push((version, ResponseCode::BADVERS));
    for (message, expected) in cases {
        let answer = ask(&handler, &message).await;
        assert_eq!(
            u16::from(answer.metadata.response_code),
            u16::from(expected),
            "{message:?}"
        );
        assert_eq!(answer.metadata.op_code, message.metadata.op_code);
        assert!(answer.answers.is_empty());
        assert_eq!(answer.edns.as_ref().map_or(0, Edns::version), 0);
    }
}

#[tokio::test]
async fn a_response_is_met_with_silence() {
    let mut message = query("both.example.", RecordType::A);
    message.metadata.message_type = MessageType::Response;
    let packet = message.to_vec().unwrap();
    let answer = handler(Mode::Off)
        .answer(&packet, client(), Transport::Udp)
        .await;
    assert_eq!(answer, None);
}

#[tokio::test]
async fn the_question_is_echoed_bit_for_bit_and_the_answer_spells_it_alike() {
    let message = query("bOtH.eXaMpLe.", RecordType::A);
    let packet = message.to_vec().unwrap();
    let answer = handler(Mode::Off)
        .answer(&packet, client(), Transport::Udp)
        .await
        .unwrap();
    assert_eq!(answer[12..packet.len()], packet[12..]);
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(lines(&answer.answers), ["bOtH.eXaMpLe. A 192.0.2.1"]);
}

#[tokio::test]
async fn a_question_with_a_compressed_name_is_malformed() {
    // The name points at the header, where the octets of the id make a label.
    let mut packet = vec![1, b'a', 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend([0xc0, 0, 0, 1, 0, 1]);
    let answer = handler(Mode::Off)
        .answer(&packet, client(), Transport::Udp)
        .await
        .unwrap();
    assert_eq!(answer[3] & 0x0f, 1);
}

#[tokio::test]
async fn edns_is_answered_only_where_it_was_asked_and_flags_are_echoed() {
    let handler = handler(Mode::Off);
    let answer = ask(&handler, &query("both.example.", RecordType::AAAA)).await;
    assert_eq!(answer.edns, None);
    assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
    assert!(!answer.metadata.authoritative && !answer.metadata.authentic_data);

    for dnssec_ok in [false, true] {
        let answer = ask(
            &handler,
            &edns_query("both.example.", RecordType::A, dnssec_ok),
        )
        .await;
        let edns = answer.edns.clone().unwrap();
        assert_eq!(edns.max_payload(), 1232);
        assert_eq!(edns.flags().dnssec_ok, dnssec_ok);
        assert_eq!(answer.metadata.authentic_data, dnssec_ok);
        let signed = answer.answers.iter().any(|r| type_covered(r).is_some());
        assert_eq!(signed, dnssec_ok);
    }
    let mut message = query("both.example.", RecordType::A);
    message.metadata.authentic_data = true;
    assert!(ask(&handler, &message).await.metadata.authentic_data);
}

#[tokio::test]
async fn what_is_too_long_for_udp_is_truncated_to_nothing_and_whole_over_tcp() {
    let many: Vec<String> = (0..200)
        .map(|n| format!("big.example. A 192.0.2.{}", n + 1))
        .collect();
    let mut all: Vec<&str> = ZONE.to_vec();
    all.extend(many.iter().map(String::as_str));
    let handler = handler_of(
        World::new(&all),
        &config(Mode::Off, Names::All),
        Zones::default(),
    );
    for message in [
        query("big.example.", RecordType::A),
        edns_query("big.example.", RecordType::A, false),
    ] {
        let answer = ask(&handler, &message).await;
        assert!(answer.metadata.truncation);
        assert_eq!(answer.queries, message.queries);
        assert_eq!(answer.all_sections().count(), 0);
        assert_eq!(answer.edns.is_some(), message.edns.is_some());
        let answer = ask_over(&handler, &message, Transport::Tcp).await;
        assert!(!answer.metadata.truncation);
        assert_eq!(answer.answers.len(), 200);
    }
}

#[tokio::test]
async fn what_is_too_long_for_tcp_is_a_failure_and_never_truncated() {
    let text = "x".repeat(200);
    let all: Vec<String> = (0..400)
        .map(|n| format!("big.example. TXT {n}{text}"))
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let handler = handler_of(
        World::new(&all),
        &config(Mode::Off, Names::All),
        Zones::default(),
    );
    let message = query("big.example.", RecordType::TXT);
    let answer = ask_over(&handler, &message, Transport::Tcp).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(!answer.metadata.truncation && answer.answers.is_empty());
    assert!(ask(&handler, &message).await.metadata.truncation);
}

#[tokio::test]
async fn additional_addresses_give_way_before_the_answer_is_truncated() {
    let mut all = vec!["example. MX 10 mail.example.".to_owned()];
    all.extend((0..40).map(|n| format!("mail.example. A 192.0.2.{}", n + 1)));
    all.push("mail.example. AAAA 2001:db8::1".to_owned());
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let handler = handler_of(
        World::new(&all),
        &config(Mode::Off, Names::All),
        Zones::default(),
    );
    let message = query("example.", RecordType::MX);
    let answer = ask(&handler, &message).await;
    assert!(!answer.metadata.truncation);
    assert_eq!(lines(&answer.answers), ["example. MX 10 mail.example."]);
    assert_eq!(answer.additionals, []);
    let answer = ask_over(&handler, &message, Transport::Tcp).await;
    assert_eq!(answer.additionals.len(), 40);
}

#[tokio::test]
async fn a_udp_packet_is_never_longer_than_the_client_and_1232_allow() {
    // 30 addresses make about 500 bytes, 70 about 1150, 80 about 1310.
    for (addresses, payload, fits) in [
        (28, None, true),
        (34, None, false),
        (34, Some(512), false),
        (34, Some(100), false),
        (34, Some(700), true),
        (70, Some(4096), true),
        (80, Some(4096), false),
    ] {
        let lines: Vec<String> = (0..addresses)
            .map(|n| format!("big.example. A 192.0.2.{}", n + 1))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let handler = handler_of(
            World::new(&lines),
            &config(Mode::Off, Names::All),
            Zones::default(),
        );
        let mut message = query("big.example.", RecordType::A);
        if let Some(payload) = payload {
            message = edns_query("big.example.", RecordType::A, false);
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        let packet = handler
            .answer(&message.to_vec().unwrap(), client(), Transport::Udp)
            .await
            .unwrap();
        assert!(packet.len() <= usize::from(payload.unwrap_or(512).clamp(512, 1232)));
        let answer = Message::from_vec(&packet).unwrap();
        assert_eq!(!answer.metadata.truncation, fits, "{addresses} {payload:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn queries_over_the_bound_are_dropped_and_counted() {
    let world = World::new(ZONE).silent("four.example.", RecordType::A);
    let metrics = Arc::new(Metrics::new());
    let config = config(Mode::Off, Names::All);
    let within = |max_queries, world| {
        let mut view = view(&config, Zones::default(), world);
        view.limits.max_queries = max_queries;
        view
    };
    let handler = Arc::new(Handler::new(within(2, world), Arc::clone(&metrics)));
    let slow = query("four.example.", RecordType::A).to_vec().unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (handler, slow) = (Arc::clone(&handler), slow.clone());
        waiting.spawn(async move { handler.answer(&slow, client(), Transport::Udp).await });
    }
    tokio::task::yield_now().await;
    assert_eq!(metrics.dns_in_flight.get(), 2);
    let quick = query("both.example.", RecordType::A).to_vec().unwrap();
    assert_eq!(handler.answer(&quick, client(), Transport::Udp).await, None);
    assert_eq!(metrics.dns_overload.get(), 1);
    handler.replace(within(3, World::new(ZONE)));
    assert!(
        handler
            .answer(&quick, client(), Transport::Udp)
            .await
            .is_some()
    );
    waiting.shutdown().await;
    assert_eq!(metrics.dns_in_flight.get(), 0);
}

#[tokio::test]
async fn every_prefix_and_every_flipped_bit_of_a_query_is_survived() {
    let handler = handler(Mode::Address);
    let packet = edns_query("www.example.", RecordType::HTTPS, true)
        .to_vec()
        .unwrap();
    for end in 0..packet.len() {
        let answer = handler
            .answer(&packet[..end], client(), Transport::Udp)
            .await;
        match answer {
            None => assert!(end < 12, "{end}"),
            Some(answer) => assert_eq!(answer[3] & 0x0f, 1, "FORMERR at {end}"),
        }
    }
    for bit in 0..packet.len() * 8 {
        let mut broken = packet.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        for transport in [Transport::Udp, Transport::Tcp] {
            if let Some(answer) = handler.answer(&broken, client(), transport).await {
                assert_eq!(answer[..2], broken[..2], "the id is echoed");
                assert!(answer[2] & 0x80 != 0, "QR is set");
            }
        }
    }
}

#[tokio::test]
async fn a_query_that_is_padded_to_the_longest_message_is_answered() {
    let handler = handler(Mode::Off);
    let mut packet = query("both.example.", RecordType::A).to_vec().unwrap();
    packet.resize(65_535, 0);
    assert!(
        handler
            .answer(&packet, client(), Transport::Tcp)
            .await
            .is_some()
    );
    let mut counts = packet.clone();
    counts[4..12].fill(0xff);
    let answer = handler
        .answer(&counts, client(), Transport::Tcp)
        .await
        .unwrap();
    assert_eq!(answer[3] & 0x0f, 1);
}

#[tokio::test]
async fn the_longest_name_is_compressed_before_it_is_found_too_long() {
    let label = "a".repeat(63);
    let owner = format!("{label}.{label}.{label}.{}.", "b".repeat(61));
    let line = format!("{owner} TXT hi");
    let handler = handler_of(
        World::new(&[&line]),
        &config(Mode::Off, Names::All),
        Zones::default(),
    );
    let packet = query(&owner, RecordType::TXT).to_vec().unwrap();
    for _ in 0..2 {
        let answer = handler.answer(&packet, client(), Transport::Udp).await;
        let answer = answer.unwrap();
        assert_eq!(answer.len(), packet.len() + 2 + 10 + 3);
        let answer = Message::from_vec(&answer).unwrap();
        assert!(!answer.metadata.truncation && answer.answers.len() == 1);
    }
}
