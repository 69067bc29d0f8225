//! PURE. Questions of class CH about the server itself: which one it is (RFC 4892), and what it runs. Called by
//! `handler`; off unless the configuration says what to tell.

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::message::{Draft, Source};

/// The answer, from the texts of `dns.version` and `dns.identity`.
pub(super) fn answer(query: &Query, version: Option<&str>, identity: Option<&str>) -> Draft {
    let text = match labels(&query.name).as_deref() {
        Some("version.bind" | "version.server") => version,
        Some("id.server" | "hostname.bind") => identity,
        _ => None,
    };
    let Some(text) = text else {
        return Draft::empty(ResponseCode::Refused);
    };
    let mut draft = Draft::empty(ResponseCode::NoError);
    draft.authoritative = true;
    draft.source = Source::Special;
    if matches!(query.query_type, RecordType::TXT | RecordType::ANY) {
        let text = RData::TXT(TXT::new(vec![text.to_owned()]));
        // Nobody may remember it: the next answer may come from another server.
        let mut record = Record::from_rdata(query.name.clone(), 0, text);
        record.dns_class = DNSClass::CH;
        draft.answers.push(record);
    }
    draft
}

/// The two labels of a name, lower case; `None` where there are more or fewer.
fn labels(name: &Name) -> Option<String> {
    let labels: Vec<&[u8]> = name.iter().collect();
    let [first, second] = *labels.as_slice() else {
        return None;
    };
    let label = |label: &[u8]| Some(std::str::from_utf8(label).ok()?.to_ascii_lowercase());
    Some(format!("{}.{}", label(first)?, label(second)?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{lines, name};
    use super::*;

    #[test]
    fn what_is_configured_is_told_under_each_of_its_names_and_the_rest_is_refused() {
        let (version, identity) = (Some("sekisho 1"), Some("gate-a"));
        for (owner, record_type, version, identity, expected) in [
            (
                "version.bind.",
                RecordType::TXT,
                version,
                None,
                Some("sekisho 1"),
            ),
            (
                "VERSION.Server.",
                RecordType::ANY,
                version,
                None,
                Some("sekisho 1"),
            ),
            (
                "id.server.",
                RecordType::TXT,
                None,
                identity,
                Some("gate-a"),
            ),
            (
                "hostname.bind.",
                RecordType::TXT,
                None,
                identity,
                Some("gate-a"),
            ),
            ("id.server.", RecordType::A, None, identity, Some("")),
            ("version.bind.", RecordType::TXT, None, identity, None),
            ("id.server.", RecordType::TXT, version, None, None),
            ("authors.bind.", RecordType::TXT, version, identity, None),
            ("bind.", RecordType::TXT, version, identity, None),
            ("x.version.bind.", RecordType::TXT, version, identity, None),
            (".", RecordType::TXT, version, identity, None),
        ] {
            let query = Query::query(name(owner), record_type);
            let draft = answer(&query, version, identity);
            match expected {
                None => assert_eq!(draft.rcode, ResponseCode::Refused, "{owner}"),
                Some("") => assert!(draft.answers.is_empty() && draft.authoritative, "{owner}"),
                Some(text) => {
                    assert_eq!(lines(&draft.answers), [format!("{owner} TXT {text}")]);
                    assert_eq!(draft.answers[0].dns_class, DNSClass::CH);
                }
            }
        }
    }
}
