//! PURE. What the query log and `explain` tell of names and answers, as text that nobody can forge: names come from
//! strangers. Called by `handler` and `explain`.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Instant;

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Name, Record};

use super::message::{Draft, Reply};
use crate::telemetry::QueryLine;

/// How many addresses of an answer are told.
const MOST_ADDRESSES: usize = 4;

/// What the query log tells of one query, as it becomes known.
#[derive(Debug)]
pub(super) struct Witness {
    begun: Instant,
    client: IpAddr,
    transport: &'static str,
    query: Option<Query>,
    /// Whether the cache held what upstreams say to this question.
    pub(super) cached: bool,
    done: &'static str,
    extended_errors: Vec<String>,
}

impl Witness {
    /// Of a query that has come in.
    pub(super) fn new(
        begun: Instant,
        client: IpAddr,
        transport: &'static str,
        query: Option<&Query>,
    ) -> Self {
        Self {
            begun,
            client,
            transport,
            query: query.cloned(),
            cached: false,
            done: "",
            extended_errors: Vec::new(),
        }
    }

    /// What the client shall be told.
    pub(super) fn saw(&mut self, draft: &Draft) {
        self.done = draft.done();
        let codes = draft.extended_errors.iter();
        self.extended_errors = codes.map(|error| error.code.to_string()).collect();
    }

    /// The line, once the reply is made.
    pub(super) fn line(self, reply: &Reply, now: Instant) -> QueryLine {
        let query = self.query.as_ref();
        QueryLine {
            client: self.client,
            transport: self.transport,
            name: query.map_or_else(|| "-".to_owned(), |query| shown(&query.name)),
            record_type: query.map_or_else(|| "-".to_owned(), |query| query.query_type.to_string()),
            rcode: rcode(reply.metadata.response_code),
            done: self.done,
            answer: summary(&reply.answers),
            extended_errors: self.extended_errors.join(","),
            cached: self.cached,
            elapsed: now.saturating_duration_since(self.begun),
        }
    }
}

/// A name in presentation format (RFC 1035 section 5.1), without the last dot; what is no plain character stands there
/// as `\DDD`.
pub(super) fn shown(name: &Name) -> String {
    if name.is_root() {
        return ".".to_owned();
    }
    let mut text = String::with_capacity(name.len());
    for (index, label) in name.iter().enumerate() {
        if index > 0 {
            text.push('.');
        }
        for &byte in label {
            if byte.is_ascii_alphanumeric() || b"-_*/+:~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                // Writing into a String cannot fail.
                write!(text, "\\{byte:03}").ok();
            }
        }
    }
    text
}

/// A response code as in zone files and dig.
pub(super) fn rcode(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::BADVERS => "BADVERS".to_owned(),
        ResponseCode::BADCOOKIE => "BADCOOKIE".to_owned(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

/// The first addresses, and how many more; where there are none, how many records.
fn summary(answers: &[Record]) -> String {
    let addresses: Vec<IpAddr> = answers
        .iter()
        .filter_map(|record| record.data.ip_addr())
        .collect();
    if addresses.is_empty() {
        return match answers.len() {
            0 => String::new(),
            1 => "1 record".to_owned(),
            more => format!("{more} records"),
        };
    }
    let mut told: Vec<String> = addresses
        .iter()
        .take(MOST_ADDRESSES)
        .map(ToString::to_string)
        .collect();
    if let Some(more) = addresses.len().checked_sub(MOST_ADDRESSES)
        && more > 0
    {
        told.push(format!("+{more}"));
    }
    told.join(",")
}

#[cfg(test)]
mod tests {
    use super::super::testing::record;
    use super::*;

    #[test]
    fn a_hostile_name_cannot_break_out_of_its_field() {
        let labels: [&[u8]; 3] = [b"a b\n\x1b[31m", b"x\"=\\.", b"example"];
        let name = Name::from_labels(labels).unwrap();
        assert_eq!(
            shown(&name),
            "a\\032b\\010\\027\\09131m.x\\034\\061\\092\\046.example"
        );
        assert_eq!(shown(&Name::root()), ".");
    }

    #[test]
    fn the_first_addresses_are_told_and_the_rest_counted() {
        let many: Vec<Record> = (0..6)
            .map(|number| record(&format!("a.example. A 192.0.2.{number}")))
            .collect();
        assert_eq!(summary(&many), "192.0.2.0,192.0.2.1,192.0.2.2,192.0.2.3,+2");
        assert_eq!(summary(&many[..1]), "192.0.2.0");
        assert_eq!(summary(&[record("a.example. TXT x")]), "1 record");
        assert_eq!(summary(&[]), "");
    }
}
