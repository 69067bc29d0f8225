//! PURE. The DNS of the demo's internet: the zone `demo.example`, asked as an authoritative server is (RFC 1035), that
//! also says RA so that it can stand in for a recursive one. Called by `internet`.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, HTTPS, NS, SOA, SVCB};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use serde::Serialize;

/// TTL and negative TTL of everything, in seconds.
const TTL: u32 = 300;

/// The largest UDP answer, in bytes (the answers here are far smaller).
const PAYLOAD: u16 = 1232;

/// A name of the demo, by what is special about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Place {
    /// A and AAAA, both good.
    Dual,
    /// AAAA only.
    Six,
    /// A only.
    Four,
    /// A and AAAA, but nothing listens at the AAAA.
    Dead6,
    /// Does not exist.
    Gone,
}

impl Place {
    /// All of them, in the order of the table.
    pub(super) const ALL: [Self; 5] = [Self::Dual, Self::Six, Self::Four, Self::Dead6, Self::Gone];

    /// The host name, without the final dot.
    pub(super) fn host(self) -> &'static str {
        match self {
            Self::Dual => "dual.demo.example",
            Self::Six => "six.demo.example",
            Self::Four => "four.demo.example",
            Self::Dead6 => "dead6.demo.example",
            Self::Gone => "gone.demo.example",
        }
    }

    /// Whether the world has an A record for it.
    pub(super) fn has_ipv4(self) -> bool {
        matches!(self, Self::Dual | Self::Four | Self::Dead6)
    }

    /// Whether the world has an AAAA record for it.
    pub(super) fn has_ipv6(self) -> bool {
        matches!(self, Self::Dual | Self::Six | Self::Dead6)
    }

    /// Whether it exists.
    pub(super) fn exists(self) -> bool {
        self != Self::Gone
    }
}

/// Answers queries about the zone.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    origin: Name,
    ipv4: Ipv4Addr,
}

impl Zone {
    /// The zone whose A records are `ipv4`.
    pub(super) fn new(ipv4: Ipv4Addr) -> Self {
        let labels = [&b"demo"[..], b"example"];
        // Two short labels are always a name; the root would only make the demo refuse nothing.
        let origin = Name::from_labels(labels).unwrap_or_else(|_| Name::root());
        Self { origin, ipv4 }
    }

    /// The answer to a packet; `None` where it deserves none.
    pub(super) fn respond(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let asked = Message::from_vec(packet).ok()?;
        if asked.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
        answer.metadata.recursion_desired = asked.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.add_queries(asked.queries.iter().cloned());
        if asked.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD);
            answer.set_edns(edns);
        }
        answer.metadata.response_code = match (asked.metadata.op_code, asked.queries.as_slice()) {
            (OpCode::Query, [query]) => self.look_up(query, &mut answer),
            (OpCode::Query, _) => ResponseCode::FormErr,
            _ => ResponseCode::NotImp,
        };
        answer.to_vec().ok()
    }

    fn look_up(&self, query: &Query, answer: &mut Message) -> ResponseCode {
        let name = query.name();
        if query.query_class() != DNSClass::IN || !self.origin.zone_of(name) {
            return ResponseCode::Refused;
        }
        answer.metadata.authoritative = true;
        let place = self.place(name);
        let data = match (query.query_type(), place) {
            (RecordType::SOA, None) if *name == self.origin => Some(RData::SOA(self.soa())),
            (RecordType::NS, None) if *name == self.origin => {
                Some(RData::NS(NS(self.origin.clone())))
            }
            (RecordType::A, Some(place)) => place.has_ipv4().then_some(RData::A(A(self.ipv4))),
            (RecordType::AAAA, Some(place)) => place
                .has_ipv6()
                .then_some(RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))),
            (RecordType::HTTPS, Some(Place::Dual)) => Some(self.https()),
            _ => None,
        };
        if let Some(data) = data {
            answer.add_answer(Record::from_rdata(name.clone(), TTL, data));
            return ResponseCode::NoError;
        }
        let soa = RData::SOA(self.soa());
        answer.add_authority(Record::from_rdata(self.origin.clone(), TTL, soa));
        if *name == self.origin || place.is_some() {
            ResponseCode::NoError
        } else {
            ResponseCode::NXDomain
        }
    }

    fn place(&self, name: &Name) -> Option<Place> {
        let text = name.to_lowercase().to_ascii();
        let host = text.strip_suffix('.').unwrap_or(&text);
        Place::ALL
            .into_iter()
            .find(|place| place.exists() && place.host() == host)
    }

    fn soa(&self) -> SOA {
        let (server, person) = (self.origin.clone(), self.origin.clone());
        SOA::new(server, person, 1, 3600, 600, 86400, TTL)
    }

    /// Addresses once more, as RFC 9460 allows: a way for IPv6 around the AAAA that is withheld.
    fn https(&self) -> RData {
        RData::HTTPS(HTTPS(SVCB::new(
            1,
            Name::root(),
            vec![
                (
                    SvcParamKey::Alpn,
                    SvcParamValue::Alpn(Alpn(vec!["http/1.1".to_owned()])),
                ),
                (
                    SvcParamKey::Ipv4Hint,
                    SvcParamValue::Ipv4Hint(IpHint(vec![A(self.ipv4)])),
                ),
                (
                    SvcParamKey::Ipv6Hint,
                    SvcParamValue::Ipv6Hint(IpHint(vec![AAAA(Ipv6Addr::LOCALHOST)])),
                ),
            ],
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, record_type: RecordType) -> Message {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
        let answer = Zone::new(Ipv4Addr::LOCALHOST)
            .respond(&query.to_vec().unwrap())
            .unwrap();
        Message::from_vec(&answer).unwrap()
    }

    #[test]
    fn every_place_has_the_records_it_says() {
        for place in Place::ALL {
            for (record_type, there) in [
                (RecordType::A, place.has_ipv4()),
                (RecordType::AAAA, place.has_ipv6()),
                (RecordType::HTTPS, place == Place::Dual),
            ] {
                let answer = ask(&format!("{}.", place.host()), record_type);
                let rcode = if place.exists() {
                    ResponseCode::NoError
                } else {
                    ResponseCode::NXDomain
                };
                assert_eq!(answer.metadata.response_code, rcode, "{place:?}");
                assert_eq!(
                    answer.answers.len(),
                    usize::from(there),
                    "{place:?} {record_type}"
                );
                assert_eq!(
                    answer.authorities.len(),
                    usize::from(!there),
                    "{place:?} {record_type}"
                );
            }
        }
    }

    #[test]
    fn case_is_echoed_and_the_apex_has_its_soa() {
        let answer = ask("DuAl.Demo.Example.", RecordType::A);
        assert_eq!(answer.queries[0].name().to_string(), "DuAl.Demo.Example.");
        assert_eq!(answer.answers.len(), 1);
        assert_eq!(ask("demo.example.", RecordType::SOA).answers.len(), 1);
        assert_eq!(ask("demo.example.", RecordType::A).authorities.len(), 1);
    }

    #[test]
    fn other_zones_are_refused_and_nonsense_is_not_answered() {
        let refused = ask("www.example.", RecordType::A).metadata.response_code;
        assert_eq!(refused, ResponseCode::Refused);
        let zone = Zone::new(Ipv4Addr::LOCALHOST);
        assert_eq!(zone.respond(b""), None);
        assert_eq!(zone.respond(&[0xff; 40]), None);
        let own = Message::response(7, OpCode::Query).to_vec().unwrap();
        assert_eq!(zone.respond(&own), None);
    }
}
