//! PURE. What came against what was expected.

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::Record;

use super::format::{Expect, UpstreamAsked};
use super::{dig, records};

/// What differs, in words; nothing where the answer is as expected. The spelling of owners is looked at with `letters`.
pub(crate) fn differences(
    expect: &Expect,
    letters: bool,
    query: &[u8],
    packet: &[u8],
    fill: &dyn Fn(&str) -> String,
) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    let message = match Message::from_vec(packet) {
        Ok(message) => message,
        Err(error) => {
            return Ok(vec![format!(
                "it cannot be read: {error}: {}",
                dig::hex(packet)
            )]);
        }
    };
    form(query, &message, &mut wrong);
    let mut compare = |what: &str, expected: String, came: String| {
        if expected != came {
            wrong.push(format!("{what}: expected {expected}, came {came}"));
        }
    };
    let expected = records::rcode(expect.rcode.as_deref().unwrap_or("NOERROR"))?;
    if message.metadata.response_code != expected {
        let expected = expect.rcode.as_deref().unwrap_or("NOERROR").to_owned();
        compare("rcode", expected, dig::rcode(&message));
    }
    if let Some(flags) = &expect.flags {
        compare("flags", sorted(flags), sorted(&dig::flags(&message)));
    }
    if let Some(size) = expect.edns {
        let came = message
            .edns
            .as_ref()
            .map(|edns| edns.max_payload().to_string());
        compare(
            "EDNS",
            size.to_string(),
            came.unwrap_or_else(|| "none".to_owned()),
        );
    }
    if let Some(codes) = &expect.ede {
        let mut came: Vec<u16> = dig::options(&message)
            .iter()
            .filter(|(code, _)| *code == 15)
            .filter_map(|(_, data)| Some(u16::from_be_bytes(*data.first_chunk::<2>()?)))
            .collect();
        let mut codes = codes.clone();
        came.sort_unstable();
        codes.sort_unstable();
        compare("EDE", format!("{codes:?}"), format!("{came:?}"));
    }
    for option in &expect.options {
        if !has_option(&message, option)? {
            wrong.push(format!("EDNS options: expected {option}"));
        }
    }
    if let Some(most) = expect.size_at_most.filter(|most| packet.len() > *most) {
        wrong.push(format!("size: at most {most}, came {}", packet.len()));
    }
    if let Some(of) = expect
        .size_multiple
        .filter(|of| !packet.len().is_multiple_of(*of))
    {
        wrong.push(format!("size: a multiple of {of}, came {}", packet.len()));
    }
    for (name, expected, came) in [
        ("answer", &expect.answer, &message.answers),
        ("authority", &expect.authority, &message.authorities),
        ("additional", &expect.additional, &message.additionals),
    ] {
        if expected.trim() != "any"
            && !same(
                &records::patterns(&fill(expected))?,
                came,
                letters,
                expect.any_order,
            )
        {
            let expected = match fill(expected).trim() {
                "" => "no record".to_owned(),
                text => text.to_owned(),
            };
            let came = match dig::records(came) {
                text if text.is_empty() => "no record".to_owned(),
                text => text,
            };
            wrong.push(format!("{name}: expected\n{expected}\n  came\n{came}"));
        }
    }
    if !wrong.is_empty() {
        wrong.push(format!(
            "the whole answer:\n{}",
            dig::text(&message, packet.len())
        ));
    }
    Ok(wrong)
}

/// What holds for every answer: QR, id, opcode, the question to the letter, EDNS where the client has it.
fn form(query: &[u8], message: &Message, wrong: &mut Vec<String>) {
    if message.metadata.message_type != MessageType::Response {
        wrong.push("QR is 0".to_owned());
    }
    let Ok(asked) = Message::from_vec(query) else {
        return;
    };
    if message.metadata.id != asked.metadata.id {
        wrong.push("the id is another".to_owned());
    }
    if message.metadata.op_code != asked.metadata.op_code {
        wrong.push("the opcode is another".to_owned());
    }
    if message.edns.is_some() != asked.edns.is_some() {
        let has = message.edns.is_some();
        wrong.push(format!(
            "EDNS: the client's query has it or not, the answer is {has}"
        ));
    }
    if let ([asked], [echoed]) = (asked.queries.as_slice(), message.queries.as_slice())
        && (!asked.name().eq_case(echoed.name())
            || asked.query_type() != echoed.query_type()
            || asked.query_class() != echoed.query_class())
    {
        wrong.push(format!("the question came back as {echoed}"));
    }
    if let ([asked], [front, ..]) = (asked.queries.as_slice(), message.answers.as_slice())
        && front.name == *asked.name()
        && !front.name.eq_case(asked.name())
    {
        wrong.push(format!("the name at the front came back as {}", front.name));
    }
}

fn same(expected: &[records::Pattern], came: &[Record], letters: bool, any_order: bool) -> bool {
    if expected.len() != came.len() {
        return false;
    }
    if !any_order {
        return expected
            .iter()
            .zip(came)
            .all(|(pattern, record)| pattern.fits(record, letters));
    }
    let mut left: Vec<&Record> = came.iter().collect();
    expected.iter().all(|pattern| {
        let found = left.iter().position(|record| pattern.fits(record, letters));
        found.is_some_and(|index| {
            left.remove(index);
            true
        })
    })
}

fn has_option(message: &Message, expected: &str) -> Result<bool, String> {
    let (absent, text) = match expected.strip_prefix('!') {
        Some(text) => (true, text),
        None => (false, expected),
    };
    let (code, data) = text.split_once(':').unwrap_or((text, "*"));
    let code: u16 = code
        .parse()
        .map_err(|_| format!("`{expected}`: write CODE:HEX"))?;
    let (data, open) = match data.strip_suffix('*') {
        Some(data) => (data, true),
        None => (data, false),
    };
    let data = records::hex(data)?;
    let found = dig::options(message)
        .iter()
        .any(|(found, came)| *found == code && (*came == data || open && came.starts_with(&data)));
    Ok(found != absent)
}

fn sorted(words: &str) -> String {
    let mut words: Vec<&str> = words.split_whitespace().collect();
    words.sort_unstable();
    words.join(" ")
}

/// What differs between what servers were to be asked and what they were asked.
pub(crate) fn asked(expect: &UpstreamAsked, came: &[String]) -> Option<String> {
    let right = match expect {
        UpstreamAsked::Counts(counts) => counts.iter().all(|(server, count)| {
            let to = |line: &&String| line.split(' ').next() == Some(server);
            came.iter().filter(to).count() == *count
        }),
        UpstreamAsked::Questions(questions) => {
            let mut expected: Vec<String> = questions.iter().map(|line| absolute(line)).collect();
            let mut came = came.to_vec();
            expected.sort();
            came.sort();
            expected == came
        }
    };
    (!right).then(|| {
        let expected = match expect {
            UpstreamAsked::Counts(counts) => format!("{counts:?}"),
            UpstreamAsked::Questions(questions) => format!("{questions:?}"),
        };
        format!("servers: expected to be asked {expected}, were asked {came:?}")
    })
}

/// `main www.example A` with the dot that names have in the list.
fn absolute(line: &str) -> String {
    let words: Vec<String> = line
        .split_whitespace()
        .enumerate()
        .map(|(index, word)| match index {
            1 if !word.ends_with('.') => format!("{word}."),
            _ => word.to_owned(),
        })
        .collect();
    words.join(" ")
}
