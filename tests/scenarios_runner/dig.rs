//! PURE. A message as dig would print it, for whoever reads why a replay failed.

use std::fmt::Write as _;

use hickory_proto::op::Message;
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::EdnsOption;

/// The response code as dig prints it.
pub(crate) fn rcode(message: &Message) -> String {
    let code = message.metadata.response_code;
    match u16::from(code) {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        6 => "YXDOMAIN".to_owned(),
        9 => "NOTAUTH".to_owned(),
        16 => "BADVERS".to_owned(),
        23 => "BADCOOKIE".to_owned(),
        other => other.to_string(),
    }
}

/// The flags as dig prints them, less `qr`.
pub(crate) fn flags(message: &Message) -> String {
    let of = &message.metadata;
    let flags = [
        (of.authoritative, "aa"),
        (of.truncation, "tc"),
        (of.recursion_desired, "rd"),
        (of.recursion_available, "ra"),
        (of.authentic_data, "ad"),
        (of.checking_disabled, "cd"),
    ];
    let set: Vec<&str> = flags
        .into_iter()
        .filter_map(|(set, word)| set.then_some(word))
        .collect();
    set.join(" ")
}

/// The EDNS options: code and octets.
pub(crate) fn options(message: &Message) -> Vec<(u16, Vec<u8>)> {
    let options = message
        .edns
        .as_ref()
        .map_or(&[][..], |edns| edns.options().as_ref());
    options
        .iter()
        .map(|(code, option)| {
            let data = match option {
                EdnsOption::Unknown(_, data) => data.clone(),
                other => Vec::try_from(other).unwrap_or_default(),
            };
            (u16::from(*code), data)
        })
        .collect()
}

/// The whole message.
pub(crate) fn text(message: &Message, length: usize) -> String {
    let mut text = format!(
        ";; {}, opcode {:?}, flags: {}; {length} bytes\n",
        rcode(message),
        message.metadata.op_code,
        flags(message),
    );
    if let Some(edns) = &message.edns {
        let dnssec = if edns.flags().dnssec_ok { " do" } else { "" };
        let (version, size) = (edns.version(), edns.max_payload());
        writeln!(text, ";; EDNS version {version}, udp {size}{dnssec}").ok();
        for (code, data) in options(message) {
            match (code, data.split_first_chunk::<2>()) {
                (15, Some((code, words))) => writeln!(
                    text,
                    ";; EDE {}: {}",
                    u16::from_be_bytes(*code),
                    String::from_utf8_lossy(words)
                ),
                _ => writeln!(text, ";; option {code}: {}", hex(&data)),
            }
            .ok();
        }
    }
    for query in &message.queries {
        writeln!(text, ";; question: {query}").ok();
    }
    for (name, section) in [
        ("answer", &message.answers),
        ("authority", &message.authorities),
        ("additional", &message.additionals),
    ] {
        if !section.is_empty() {
            writeln!(text, ";; {name}:\n{}", records(section)).ok();
        }
    }
    text
}

/// One record a line.
pub(crate) fn records(records: &[Record]) -> String {
    let lines: Vec<String> = records.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Octets in hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").ok();
        text
    })
}
