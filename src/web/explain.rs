//! `GET /explain?name=&type=&client=`: what the gate would tell a client of a name, and why, as JSON.
//!
//! It reads only, but makes the gate ask upstreams; so pages in a browser are refused as for what changes something.
//! `app` knows the answer, by [`Control::explain`](super::Control); the admin listener calls this.

use std::net::IpAddr;
use std::pin::Pin;

use hickory_proto::rr::{Name, RecordType};
use http::{Request, StatusCode};

use super::control::{Control, decode, json, name, refuse_page};
use super::{Reply, plain};

const WRITE: &str = "write /explain?name=www.example&type=A&client=192.168.1.50\n";

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// The name.
    pub name: Name,
    /// The type; `None`: A, AAAA and HTTPS.
    pub record_type: Option<RecordType>,
    /// The client; `None`: one of the LAN.
    pub client: Option<IpAddr>,
}

impl Explain {
    /// Reads the query of the URL; the error says what to write.
    fn parse(query: &str) -> Result<Self, String> {
        let (mut owner, mut record_type, mut client) = (None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "name" => owner = Some(name(value)?),
                "type" => {
                    let text = decode(value).to_ascii_uppercase();
                    let known = text.parse().ok().filter(|known| *known != RecordType::ZERO);
                    let wrong =
                        || format!("`{}` is no type of records; {WRITE}", text.escape_debug());
                    record_type = Some(known.ok_or_else(wrong)?);
                }
                "client" => {
                    let text = decode(value);
                    let wrong = |_| format!("`{}` is no address; {WRITE}", text.escape_debug());
                    client = Some(text.parse().map_err(wrong)?);
                }
                _ => return Err(format!("`{key}` means nothing here; {WRITE}")),
            }
        }
        let name = owner.ok_or_else(|| format!("there is no name; {WRITE}"))?;
        Ok(Self {
            name,
            record_type,
            client,
        })
    }
}

/// `/explain`.
pub(super) fn answer<B>(
    control: &dyn Control,
    request: &Request<B>,
) -> Pin<Box<dyn Future<Output = Reply> + Send>> {
    let explained = match refuse_page(request) {
        Some(refusal) => Err(refusal),
        None => Explain::parse(request.uri().query().unwrap_or_default())
            .map(|what| control.explain(what))
            .map_err(|text| plain(StatusCode::BAD_REQUEST, text)),
    };
    Box::pin(async move {
        match explained {
            Ok(explanation) => match explanation.await {
                Ok(value) => json(&value),
                Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            },
            Err(refusal) => refusal,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_what_is_wrong_is_told() {
        assert_eq!(
            Explain::parse("name=www.Example&type=aaaa&client=192.0.2.1"),
            Ok(Explain {
                name: Name::from_ascii("www.example.").unwrap(),
                record_type: Some(RecordType::AAAA),
                client: Some("192.0.2.1".parse().unwrap()),
            })
        );
        let all = Explain::parse("name=%77ww.example").unwrap();
        assert_eq!((all.record_type, all.client), (None, None));
        for query in [
            "",
            "type=A",
            "name=a..b",
            "name=192.0.2.1",
            "name=a&type=XYZZY",
            "name=a&client=x",
            "name=a&nmae=b",
        ] {
            let wrong = Explain::parse(query).unwrap_err();
            assert!(wrong.contains("write "), "{query}: {wrong}");
        }
    }
}
