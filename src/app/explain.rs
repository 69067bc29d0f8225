//! Everything about one name: what `dns` tells of it, and what a session to it would do. Called by `control` for the
//! admin listener; `cli` reads what it tells.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::Name;
use serde::{Deserialize, Serialize};

use crate::dial::Dialer;
use crate::dns::{self, Explanation as Names};
use crate::net::{Family, Host, Target};
use crate::steer::Steering;
use crate::web::Explain;

/// How long all lookups together may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The port of a session that nobody named: that of HTTPS.
const PORT: u16 = 443;

/// What `sekisho explain --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    /// The DNS side.
    #[serde(flatten)]
    pub names: Names,
    /// The session side.
    pub session: Session,
}

/// What a session to the name would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Session {
    /// Host and port.
    pub target: String,
    /// The word of `families`, and what says so.
    pub families: String,
    /// Where the addresses come from, in a sentence.
    pub addresses_from: String,
    /// The addresses in the order of the attempts, if each but the last fails.
    pub attempts: Vec<Attempt>,
    /// Those that the egress guard closes.
    pub refused: Vec<Refused>,
    /// Lookups that failed, in a sentence each.
    pub failures: Vec<String>,
}

/// An address that would be tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attempt {
    /// The address.
    pub address: String,
    /// `ipv4` or `ipv6`.
    pub family: String,
}

/// An address that is closed to clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Refused {
    /// The address.
    pub address: String,
    /// Why.
    pub why: String,
}

/// Explains a name; the error says why that took too long.
pub(super) async fn explain(
    dns: &dns::Handler,
    dialer: &Dialer,
    steering: &Steering,
    what: &Explain,
) -> Result<Explanation, String> {
    let Explain {
        name,
        record_type,
        client,
    } = what;
    let both = async {
        let names = dns.explain(name, *record_type, *client).await;
        let client = names.client.parse().ok();
        let session = session(dialer, steering, client, name).await;
        (names, session)
    };
    let (names, session) = tokio::time::timeout(PATIENCE, Box::pin(both))
        .await
        .map_err(|_| format!("the lookups were not over within {PATIENCE:?}"))?;
    Ok(Explanation { names, session })
}

async fn session(
    dialer: &Dialer,
    steering: &Steering,
    client: Option<IpAddr>,
    name: &Name,
) -> Session {
    let target = Target::new(Host::Name(name.to_lowercase()), PORT);
    let rule = client.and_then(|client| steering.session_rule(client, &target.host));
    let plan = dialer.explain(&target, rule.map(|(_, rule)| rule)).await;
    let families = plan.families.as_str();
    let attempt = |address: IpAddr| Attempt {
        address: address.to_string(),
        family: Family::of(address).as_str().to_owned(),
    };
    Session {
        target: target.to_string(),
        families: match rule {
            Some((number, rule)) if rule.families.is_some() => {
                format!("{families}, as rule {number} says")
            }
            _ => format!("{families}, as egress.prefer says"),
        },
        addresses_from: match plan.local {
            Some(None) => "local data".to_owned(),
            Some(Some(outside)) => format!("upstreams, as the name is a local alias of {outside}"),
            None => "upstreams, unfiltered".to_owned(),
        },
        attempts: plan.attempts.into_iter().map(attempt).collect(),
        refused: plan
            .refused
            .into_iter()
            .map(|(address, why)| Refused {
                address: address.to_string(),
                why: why.to_string(),
            })
            .collect(),
        failures: plan
            .failures
            .into_iter()
            .map(|(family, error)| format!("{family}: {error}"))
            .collect(),
    }
}
