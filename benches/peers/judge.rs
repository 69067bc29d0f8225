//! What each server answers, before it is timed: whether it is right, and what it gives away.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Fallible;
use crate::data::Samples;
use crate::message::{self, NO_ERROR, NX_DOMAIN, RecordType, Reply, Section, ask, has_ipv6_hint};

/// What is told of each.
pub(crate) const COLUMNS: [&str; 9] = [
    "A",
    "AAAA withheld",
    "NXDOMAIN",
    "case kept",
    "SOA with NODATA",
    "EDE",
    "HTTPS",
    "ANY",
    "AAAA over TCP",
];

/// Whether the addresses are those of the upstream, by which it may take part, and a text for each of [`COLUMNS`].
pub(crate) fn judge(
    server: SocketAddr,
    upstream: SocketAddr,
    samples: &Samples,
) -> (bool, Vec<String>) {
    let question =
        |name: &str, record_type| ask(server, name, record_type, true, Duration::from_secs(3));
    let right = |name: &str| -> Fallible<bool> {
        let patience = Duration::from_secs(3);
        let wanted = ask(upstream, name, RecordType::A, true, patience)?.ipv4();
        let found = question(name, RecordType::A)?.ipv4();
        Ok(!wanted.is_empty() && found == wanted)
    };
    let plain = right(&samples.plain).unwrap_or(false);
    let alias = right(&samples.alias).unwrap_or(false);
    let address = match (plain, alias) {
        (true, true) => "right",
        (true, false) => "**wrong behind aliases**",
        (false, _) => "**wrong**",
    };
    let [empty, behind, alone, gone] = [
        &samples.plain,
        &samples.alias,
        &samples.ipv6_only,
        &samples.gone,
    ]
    .map(|name| question(name, RecordType::AAAA));
    let leaks: Vec<&str> = [
        ("told", &empty),
        ("told behind aliases", &behind),
        ("told where there is no A", &alone),
    ]
    .into_iter()
    .filter(|(_, reply)| !reply.as_ref().is_ok_and(is_withheld))
    .map(|(text, _)| text)
    .collect();
    let gone_a = question(&samples.gone, RecordType::A);
    let is_gone = |reply: &Fallible<Reply>| reply.as_ref().is_ok_and(|r| r.rcode == NX_DOMAIN);
    let nx_domain = match (is_gone(&gone_a), is_gone(&gone)) {
        (true, true) => "kept",
        (true, false) => "**lost for AAAA**",
        (false, _) => "**lost**",
    };
    let mixed = mixed_case(&samples.plain);
    let mut wanted = Vec::new();
    message::write_question(&mut wanted, &mixed, RecordType::A);
    let kept = question(&mixed, RecordType::A).is_ok_and(|reply| {
        wanted
            .get(12..)
            .is_some_and(|w| w.starts_with(&reply.question))
    });
    let https = question(&samples.plain, RecordType::HTTPS);
    let [both, alone_any] = &samples.any;
    let patience = Duration::from_secs(3);
    let any = [
        message::ask_stream(server, both, RecordType::ANY, patience),
        question(both, RecordType::ANY),
        question(alone_any, RecordType::ANY),
    ];
    let stream = stream_reply(server, &samples.plain).map(|reply| is_withheld(&reply));
    let columns = vec![
        address.to_owned(),
        if leaks.is_empty() {
            "yes".to_owned()
        } else {
            format!("**{}**", leaks.join(", "))
        },
        nx_domain.to_owned(),
        if kept { "yes" } else { "**no**" }.to_owned(),
        empty.as_ref().map_or_else(|error| error.to_string(), soa),
        empty
            .as_ref()
            .ok()
            .and_then(Reply::extended_error)
            .map_or_else(|| "none".to_owned(), |code| code.to_string()),
        https.map_or_else(|error| error.to_string(), |reply| hints(&reply)),
        of_any(&any),
        match stream {
            Ok(true) => "withheld".to_owned(),
            Ok(false) => "**told**".to_owned(),
            Err(error) => error.to_string(),
        },
    ];
    (plain, columns)
}

fn is_withheld(reply: &Reply) -> bool {
    reply.rcode == NO_ERROR && reply.of(RecordType::AAAA).next().is_none()
}

fn soa(reply: &Reply) -> String {
    let text = match reply.of(RecordType::SOA).next().map(|soa| soa.section) {
        Some(Section::Authority) => "yes",
        Some(Section::Answer | Section::Additional) => "**in another section**",
        None => "**no**",
    };
    text.to_owned()
}

fn hints(reply: &Reply) -> String {
    let mut records = reply.of(RecordType::HTTPS).peekable();
    let text = if records.peek().is_none() {
        "**none**"
    } else if records.any(|record| has_ipv6_hint(&record.data)) {
        "**ipv6hint told**"
    } else {
        "no ipv6hint"
    };
    text.to_owned()
}

fn of_any(replies: &[Fallible<Reply>]) -> String {
    let read = || replies.iter().flatten();
    let leaks = read().any(|reply| reply.of(RecordType::AAAA).next().is_some());
    let hints = read()
        .flat_map(|reply| reply.of(RecordType::HTTPS))
        .any(|record| has_ipv6_hint(&record.data));
    match (leaks, hints) {
        (true, true) => "**AAAA and ipv6hint told**".to_owned(),
        (true, false) => "**AAAA told**".to_owned(),
        (false, true) => "**ipv6hint told**".to_owned(),
        (false, false) => match read().map(|reply| reply.rcode).max() {
            Some(NO_ERROR) => "no AAAA".to_owned(),
            Some(rcode) => format!("no AAAA, RCODE {rcode}"),
            None => "no answer".to_owned(),
        },
    }
}

/// Asks for AAAA over TCP.
fn stream_reply(server: SocketAddr, name: &str) -> Fallible<Reply> {
    message::ask_stream(server, name, RecordType::AAAA, Duration::from_secs(3))
}

/// Every other letter large.
fn mixed_case(name: &str) -> String {
    let large = |(place, letter): (usize, char)| match place % 2 {
        0 => letter.to_ascii_uppercase(),
        _ => letter,
    };
    name.chars().enumerate().map(large).collect()
}
