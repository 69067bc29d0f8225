//! PURE. The first look at a query: who asks, and is it a query at all? (RFC 1035, RFC 6891, RFC 7873, RFC 9619)
//!
//! Called by `handler` before the pipeline; what does not pass is told so with no more than a header, the question
//! and OPT.

use hickory_proto::op::{MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_server::zone_handler::MessageRequest;

use super::message::{Asked, ClientEdns, Draft, ede};
use super::options::{Malformed, Wishes};

/// What the first look found.
#[derive(Debug)]
pub(super) enum Screened {
    /// A question to answer.
    Asked(Box<Asked>),
    /// A question of class CH, about this server.
    Chaos(Box<Query>),
    /// No question, only a cookie to be answered.
    CookieOnly,
    /// A query to refuse.
    Refused(Box<Draft>),
    /// Nothing to answer.
    Silence,
}

/// Looks at a request: its header, how many questions it announces, and where it could be read, the whole and what its
/// options ask for.
///
/// Strangers come first: whatever they send, they learn nothing but that they are strangers.
pub(super) fn screen(
    admitted: bool,
    metadata: &Metadata,
    questions: usize,
    message: Option<&MessageRequest>,
    wishes: Result<Wishes, Malformed>,
) -> Screened {
    let refuse = |rcode| Screened::Refused(Box::new(Draft::empty(rcode)));
    // A response must not be answered, or two servers could be made to talk for ever.
    if metadata.message_type == MessageType::Response {
        return Screened::Silence;
    }
    if !admitted {
        return Screened::Refused(Box::new(
            Draft::empty(ResponseCode::Refused).because(ede::PROHIBITED, "not a client network"),
        ));
    }
    if metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    let Some(message) = message.filter(|_| questions <= 1) else {
        return refuse(ResponseCode::FormErr);
    };
    // The version comes first: all else in OPT may mean something else in another one (RFC 6891 section 6.1.3).
    if message.version() > 0 {
        return refuse(ResponseCode::BADVERS);
    }
    let Ok(wishes) = wishes else {
        return refuse(ResponseCode::FormErr);
    };
    // A client may ask for a cookie and nothing else (RFC 7873 section 5.4).
    if questions == 0 && wishes.cookie.is_some() {
        return Screened::CookieOnly;
    }
    let [lower] = message.queries.queries() else {
        return refuse(ResponseCode::FormErr);
    };
    let query = lower.original();
    // Type and class take four octets. Any other length than this means a compressed name, which would point into a
    // header that is not the reply's.
    let name: usize = query.name.iter().map(|label| 1 + label.len()).sum();
    if message.queries.as_bytes().len() != name + 1 + 4 {
        return refuse(ResponseCode::FormErr);
    }
    match query.query_type {
        RecordType::OPT => return refuse(ResponseCode::FormErr),
        // Transfers, and the types that are no data (RFC 6895 section 3.1): TKEY, TSIG, MAILB, MAILA.
        RecordType::AXFR | RecordType::IXFR | RecordType::TSIG => {
            return refuse(ResponseCode::Refused);
        }
        other if (249..=254).contains(&u16::from(other)) => {
            return refuse(ResponseCode::Refused);
        }
        _ => {}
    }
    match query.query_class {
        DNSClass::IN => {}
        DNSClass::CH => return Screened::Chaos(Box::new(query.clone())),
        _ => return refuse(ResponseCode::Refused),
    }
    Screened::Asked(Box::new(Asked {
        metadata: *metadata,
        query: query.clone(),
        edns: client_edns(message),
    }))
}

/// What the client's OPT record said.
pub(super) fn client_edns(message: &MessageRequest) -> Option<ClientEdns> {
    message.edns.as_ref().map(|edns| ClientEdns {
        payload: edns.max_payload(),
        dnssec_ok: edns.flags().dnssec_ok,
    })
}
