//! PURE. Why an origin was not reached, and whose fault that is.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;

use crate::config::Families;
use crate::net::{Family, Host, Target};
use crate::resolve::ResolveError;
use crate::telemetry::Side;

use super::guard::Refusal;
use super::via::ViaError;
use super::ways::is_unusable;

/// Why an origin was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Every address of the target that was not tried in vain is closed to clients.
    #[error("{target} is closed to clients: {address} is {why}")]
    Refused {
        /// What was asked for.
        target: Target,
        /// The first address that was refused.
        address: IpAddr,
        /// The rule that refused it.
        why: Refusal,
    },
    /// The rule of the session leaves out the family of the address that was asked for; or the servers answered, and
    /// the name has no address of the family that the rule leaves over.
    #[error("{target} {}, and its rule says `families = \"{}\"`", lack(target, *families), families.as_str())]
    LeftOut {
        /// What was asked for.
        target: Target,
        /// `families` of the rule.
        families: Families,
    },
    /// The servers answered, and the name has no address of either family.
    #[error("{target} has no address")]
    NotFound {
        /// What was asked for.
        target: Target,
    },
    /// No address came of the lookups, and at least one of them failed.
    #[error("could not resolve {}", target.host)]
    Resolve {
        /// What was asked for.
        target: Target,
        /// Why.
        source: ResolveError,
    },
    /// No attempt had succeeded when `egress.connect-timeout` was over.
    #[error("{target} did not answer within {after:?}")]
    Timeout {
        /// What was asked for.
        target: Target,
        /// `egress.connect-timeout`.
        after: Duration,
    },
    /// Every attempt failed.
    #[error("{target} could not be reached{}", list(attempts))]
    Unreachable {
        /// What was asked for.
        target: Target,
        /// Each address tried, in the order of the failures, at most
        /// [`ADDRESSES_PER_FAMILY`](super::happy_eyeballs::ADDRESSES_PER_FAMILY) of each family.
        attempts: Vec<(IpAddr, io::Error)>,
    },
    /// The upstream proxy did not take the session on.
    #[error("{target} was not reached by the upstream proxy {proxy}")]
    Via {
        /// What was asked for.
        target: Target,
        /// The proxy, without credentials.
        proxy: String,
        /// Why.
        #[source]
        why: ViaError,
    },
    /// We have no descriptor or no local port left.
    #[error("no descriptor or local port is left to reach {target}")]
    Descriptors {
        /// What was asked for.
        target: Target,
        /// What the system said.
        source: io::Error,
    },
}

/// What kind of failure it is: the rows of the table that turns it into a protocol's own status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialErrorKind {
    /// Closed to clients.
    Prohibited,
    /// A rule leaves out the only family there is.
    LeftOut,
    /// The name has no address.
    NotFound,
    /// The name could not be resolved.
    ResolveFailed,
    /// The name was not resolved in time.
    ResolveTimeout,
    /// The origin did not answer in time.
    ConnectTimeout,
    /// Every address that there is a route to refused the connection.
    ConnectionRefused,
    /// There is no route to any address.
    Unroutable,
    /// The attempts failed in another way, or in different ones.
    Unreachable,
    /// We lack descriptors or ports.
    Descriptors,
    /// The upstream proxy cannot be used.
    Via,
}

impl DialError {
    /// Whose fault it is. A name without address is the origin's: the servers that we ask did their part.
    pub fn side(&self) -> Side {
        match self {
            Self::Refused { .. } | Self::LeftOut { .. } => Side::Client,
            Self::Resolve {
                source: ResolveError::Overload(_),
                ..
            } => Side::Sekisho,
            Self::Resolve { .. } => Side::Upstream,
            Self::Unreachable { attempts, .. } if only_unusable(attempts) => Side::Sekisho,
            Self::NotFound { .. } | Self::Timeout { .. } | Self::Unreachable { .. } => Side::Origin,
            Self::Descriptors { .. } => Side::Sekisho,
            Self::Via { why, .. } => match why {
                ViaError::Unreached(error) if error.side() == Side::Sekisho => Side::Sekisho,
                ViaError::Reply { .. } | ViaError::Status(_) => Side::Origin,
                _ => Side::Upstream,
            },
        }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> DialErrorKind {
        match self {
            Self::Refused { .. } => DialErrorKind::Prohibited,
            Self::LeftOut { .. } => DialErrorKind::LeftOut,
            Self::NotFound { .. } => DialErrorKind::NotFound,
            Self::Resolve {
                source: ResolveError::Timeout,
                ..
            } => DialErrorKind::ResolveTimeout,
            Self::Resolve { .. } => DialErrorKind::ResolveFailed,
            Self::Timeout { .. } => DialErrorKind::ConnectTimeout,
            Self::Descriptors { .. } => DialErrorKind::Descriptors,
            Self::Via { why, .. } => kind_by_proxy(why),
            Self::Unreachable { attempts, .. } => {
                // A family that has no way out says nothing about the origin where the other one got there.
                let routed: Vec<&io::Error> = attempts
                    .iter()
                    .map(|(_, error)| error)
                    .filter(|error| !is_unroutable(error))
                    .collect();
                let all = |wanted| routed.iter().all(|error| errno(error) == Some(wanted));
                if routed.is_empty() {
                    DialErrorKind::Unroutable
                } else if all(Errno::ECONNREFUSED) {
                    DialErrorKind::ConnectionRefused
                } else if all(Errno::ETIMEDOUT) {
                    DialErrorKind::ConnectTimeout
                } else {
                    DialErrorKind::Unreachable
                }
            }
        }
    }

    /// The error of attempts that all failed. One that failed for lack of descriptors might have succeeded, so that
    /// is then the reason; a lack of local ports is only believed when every attempt met it, and over IPv4, because the
    /// same error also means that a family is switched off.
    pub(super) fn of_attempts(target: Target, mut attempts: Vec<(IpAddr, io::Error)>) -> Self {
        let ours = |error: &io::Error| matches!(errno(error), Some(Errno::EMFILE | Errno::ENFILE));
        let no_port = attempts.iter().all(|(address, error)| {
            address.is_ipv4() && errno(error) == Some(Errno::EADDRNOTAVAIL)
        });
        let place = attempts
            .iter()
            .position(|(_, error)| no_port || ours(error));
        match place {
            Some(place) => Self::Descriptors {
                target,
                source: attempts.swap_remove(place).1,
            },
            None => Self::Unreachable { target, attempts },
        }
    }
}

/// Whether no attempt left this machine, because of what is configured.
fn only_unusable(attempts: &[(IpAddr, io::Error)]) -> bool {
    !attempts.is_empty() && attempts.iter().all(|(_, error)| is_unusable(error))
}

/// What an upstream proxy says of the origin is taken as if we had found out; all else is about the proxy.
fn kind_by_proxy(why: &ViaError) -> DialErrorKind {
    match why {
        ViaError::Unreached(error) => match error.kind() {
            kind @ (DialErrorKind::Descriptors | DialErrorKind::ConnectTimeout) => kind,
            DialErrorKind::ResolveTimeout => DialErrorKind::ConnectTimeout,
            _ => DialErrorKind::Via,
        },
        ViaError::Timeout | ViaError::Reply { code: 6 } | ViaError::Status(504) => {
            DialErrorKind::ConnectTimeout
        }
        ViaError::Reply { code: 3 } => DialErrorKind::Unroutable,
        ViaError::Reply { code: 4 } | ViaError::Status(502 | 503) => DialErrorKind::Unreachable,
        ViaError::Reply { code: 5 } => DialErrorKind::ConnectionRefused,
        ViaError::Broken(_)
        | ViaError::Credentials
        | ViaError::Reply { .. }
        | ViaError::Status(_) => DialErrorKind::Via,
    }
}

/// Whether there is no way to an address; a family that is switched off has none, nor one that cannot leave as configured.
pub(super) fn is_unroutable(error: &io::Error) -> bool {
    matches!(
        errno(error),
        Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EADDRNOTAVAIL)
    ) || is_unusable(error)
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

/// What there is of a target, beside a rule that leaves out the rest.
fn lack(target: &Target, families: Families) -> &'static str {
    match (&target.host, families.first()) {
        (Host::Addr(address), _) => match Family::of(*address) {
            Family::V4 => "is an IPv4 address",
            Family::V6 => "is an IPv6 address",
        },
        (Host::Name(_), Family::V4) => "has no IPv4 address",
        (Host::Name(_), Family::V6) => "has no IPv6 address",
    }
}

fn list(attempts: &[(IpAddr, io::Error)]) -> String {
    use std::fmt::Write;

    let mut text = String::new();
    for (place, (address, error)) in attempts.iter().enumerate() {
        let lead = if place == 0 { ": " } else { ", " };
        // Writing into a String cannot fail.
        write!(text, "{lead}{address}: {error}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(errnos: &[Errno]) -> DialError {
        let attempts = errnos
            .iter()
            .map(|errno| (IpAddr::from([192, 0, 2, 1]), io::Error::from(*errno)))
            .collect();
        DialError::of_attempts(Target::parse("a.example:443", None).unwrap(), attempts)
    }

    #[test]
    fn failed_attempts_are_told_apart_by_what_they_have_in_common() {
        use DialErrorKind::{
            ConnectTimeout, ConnectionRefused, Descriptors, Unreachable, Unroutable,
        };
        for (errnos, kind, side) in [
            (
                &[Errno::ECONNREFUSED, Errno::ECONNREFUSED][..],
                ConnectionRefused,
                Side::Origin,
            ),
            (
                &[Errno::ENETUNREACH, Errno::EHOSTUNREACH],
                Unroutable,
                Side::Origin,
            ),
            (&[Errno::ETIMEDOUT], ConnectTimeout, Side::Origin),
            (
                &[Errno::ENETUNREACH, Errno::ECONNREFUSED],
                ConnectionRefused,
                Side::Origin,
            ),
            (
                &[Errno::ECONNRESET, Errno::ECONNREFUSED],
                Unreachable,
                Side::Origin,
            ),
            (
                &[Errno::ECONNREFUSED, Errno::EMFILE],
                Descriptors,
                Side::Sekisho,
            ),
            (&[Errno::ENFILE], Descriptors, Side::Sekisho),
            (&[Errno::EADDRNOTAVAIL], Descriptors, Side::Sekisho),
            (
                &[Errno::EADDRNOTAVAIL, Errno::ENETUNREACH],
                Unroutable,
                Side::Origin,
            ),
        ] {
            let error = failed(errnos);
            assert_eq!((error.kind(), error.side()), (kind, side), "{errnos:?}");
        }
    }

    #[test]
    fn ipv6_switched_off_is_no_lack_of_ports() {
        let attempts = vec![(
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
            io::Error::from(Errno::EADDRNOTAVAIL),
        )];
        let target = Target::parse("a.example:443", None).unwrap();
        assert_eq!(
            DialError::of_attempts(target, attempts).kind(),
            DialErrorKind::Unroutable
        );
    }

    #[test]
    fn an_upstream_proxy_is_believed_about_the_origin_and_blamed_for_the_rest() {
        use DialErrorKind::{ConnectTimeout, ConnectionRefused, Unreachable, Unroutable, Via};
        let unreached = ViaError::Unreached(Box::new(failed(&[Errno::ECONNREFUSED])));
        for (why, kind, side) in [
            (unreached, Via, Side::Upstream),
            (ViaError::Timeout, ConnectTimeout, Side::Upstream),
            (ViaError::Credentials, Via, Side::Upstream),
            (ViaError::Reply { code: 1 }, Via, Side::Origin),
            (ViaError::Reply { code: 3 }, Unroutable, Side::Origin),
            (ViaError::Reply { code: 5 }, ConnectionRefused, Side::Origin),
            (ViaError::Status(504), ConnectTimeout, Side::Origin),
            (ViaError::Status(502), Unreachable, Side::Origin),
            (ViaError::Status(403), Via, Side::Origin),
        ] {
            let error = DialError::Via {
                target: Target::parse("a.example:443", None).unwrap(),
                proxy: "http://192.0.2.1:3128".to_owned(),
                why,
            };
            assert_eq!((error.kind(), error.side()), (kind, side), "{error:?}");
        }
    }

    #[test]
    fn the_text_names_the_target_and_each_attempt() {
        let text = failed(&[Errno::ECONNREFUSED, Errno::ENETUNREACH]).to_string();
        assert!(
            text.starts_with("a.example:443 could not be reached: 192.0.2.1: Connection refused"),
            "{text}"
        );
        assert!(
            text.contains(", 192.0.2.1: Network is unreachable"),
            "{text}"
        );
    }
}
