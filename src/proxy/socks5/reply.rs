//! PURE. The one table that turns a failure into what a SOCKS client is told (RFC 1928 section 6).

use super::super::respond::Kind;
use crate::dial::DialErrorKind;

/// Done.
pub(super) const SUCCEEDED: u8 = 0;
/// Anything that has no code of its own.
const GENERAL_FAILURE: u8 = 1;
const NOT_ALLOWED: u8 = 2;
const NETWORK_UNREACHABLE: u8 = 3;
const HOST_UNREACHABLE: u8 = 4;
const CONNECTION_REFUSED: u8 = 5;
/// What clients show for a target that is silent; "host unreachable" is said of those that have no address.
const TTL_EXPIRED: u8 = 6;
const COMMAND_NOT_SUPPORTED: u8 = 7;
const ADDRESS_TYPE_NOT_SUPPORTED: u8 = 8;

/// The REP of a failure.
pub(super) fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Dial(DialErrorKind::Prohibited | DialErrorKind::LeftOut)
        | Kind::Login
        | Kind::Logins => NOT_ALLOWED,
        Kind::Dial(DialErrorKind::Unroutable) => NETWORK_UNREACHABLE,
        Kind::Dial(
            DialErrorKind::NotFound
            | DialErrorKind::ResolveFailed
            | DialErrorKind::ResolveTimeout
            | DialErrorKind::Unreachable,
        ) => HOST_UNREACHABLE,
        Kind::Dial(DialErrorKind::ConnectionRefused) => CONNECTION_REFUSED,
        Kind::Dial(DialErrorKind::ConnectTimeout) => TTL_EXPIRED,
        Kind::Command => COMMAND_NOT_SUPPORTED,
        Kind::AddressType => ADDRESS_TYPE_NOT_SUPPORTED,
        _ => GENERAL_FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_codes_hold() {
        for (kind, expected) in [
            (Kind::Dial(DialErrorKind::Prohibited), 2),
            (Kind::Dial(DialErrorKind::LeftOut), 2),
            (Kind::Dial(DialErrorKind::Unroutable), 3),
            (Kind::Dial(DialErrorKind::NotFound), 4),
            (Kind::Dial(DialErrorKind::ResolveFailed), 4),
            (Kind::Dial(DialErrorKind::ResolveTimeout), 4),
            (Kind::Dial(DialErrorKind::Unreachable), 4),
            (Kind::Dial(DialErrorKind::ConnectionRefused), 5),
            (Kind::Dial(DialErrorKind::ConnectTimeout), 6),
            (Kind::Dial(DialErrorKind::Descriptors), 1),
            (Kind::Command, 7),
            (Kind::AddressType, 8),
            (Kind::BadRequest, 1),
            (Kind::Busy, 1),
        ] {
            assert_eq!(code(kind), expected, "{kind:?}");
        }
    }
}
