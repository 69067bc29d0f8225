//! PURE. What becomes of an answer, as one table: the type asked, the rules, and what the name has.
//!
//! The words are those of RPZ. Called by `pipeline`, which fetches what the table needs to know and carries out
//! what it says.

use hickory_proto::rr::RecordType;

use crate::config::Aaaa;
use crate::steer::{Route, When};

/// What is done with the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Told as it is.
    Passthru,
    /// Told as if the type did not exist at this name.
    NoData,
    /// Replaced by our own record, which leads to the gate.
    LocalData,
}

/// Which families of addresses a name has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Has {
    /// It has A.
    pub(super) ipv4: bool,
    /// It has AAAA.
    pub(super) ipv6: bool,
}

/// Which addresses must be known before [`action`] can decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// None.
    Nothing,
    /// A, and AAAA only where there is no A.
    Ipv4ThenIpv6,
    /// AAAA.
    Ipv6,
    /// Both.
    Both,
}

/// Which addresses the table needs for a question of this type.
pub(super) fn needs(record_type: RecordType, when: When) -> Needs {
    match (record_type, when) {
        (_, When::Never) => Needs::Nothing,
        (RecordType::A | RecordType::HTTPS | RecordType::SVCB, When::Ipv6Only) => {
            Needs::Ipv4ThenIpv6
        }
        (RecordType::A | RecordType::HTTPS | RecordType::SVCB, When::Ipv6) => Needs::Ipv6,
        (RecordType::A | RecordType::HTTPS | RecordType::SVCB, When::Any) => Needs::Both,
        _ => Needs::Nothing,
    }
}

/// The table. `has` counts for the types that [`needs`] asks it for, and for AAAA itself.
pub(super) fn action(record_type: RecordType, aaaa: Aaaa, when: When, has: Has) -> Action {
    match record_type {
        RecordType::AAAA if aaaa == Aaaa::Withhold && has.ipv6 => Action::NoData,
        RecordType::A | RecordType::HTTPS | RecordType::SVCB => {
            match when.route(has.ipv4, has.ipv6) {
                Route::Gate => Action::LocalData,
                Route::Direct => Action::Passthru,
            }
        }
        _ => Action::Passthru,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEITHER: Has = Has {
        ipv4: false,
        ipv6: false,
    };
    const IPV4: Has = Has {
        ipv4: true,
        ipv6: false,
    };
    const IPV6: Has = Has {
        ipv4: false,
        ipv6: true,
    };
    const BOTH: Has = Has {
        ipv4: true,
        ipv6: true,
    };

    #[test]
    fn the_table_of_the_contract_holds_for_addresses_and_service_bindings() {
        use Action::{LocalData, Passthru};
        for (when, neither, ipv4, ipv6, both) in [
            (When::Never, Passthru, Passthru, Passthru, Passthru),
            (When::Ipv6Only, Passthru, Passthru, LocalData, Passthru),
            (When::Ipv6, Passthru, Passthru, LocalData, LocalData),
            (When::Any, Passthru, LocalData, LocalData, LocalData),
        ] {
            for record_type in [RecordType::A, RecordType::HTTPS, RecordType::SVCB] {
                for (has, expected) in
                    [(NEITHER, neither), (IPV4, ipv4), (IPV6, ipv6), (BOTH, both)]
                {
                    assert_eq!(
                        action(record_type, Aaaa::Withhold, when, has),
                        expected,
                        "{record_type} {when:?} {has:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn aaaa_is_withheld_in_every_mode_unless_a_rule_passes_it_or_there_is_none() {
        for when in [When::Never, When::Ipv6Only, When::Ipv6, When::Any] {
            for has in [IPV6, BOTH] {
                assert_eq!(
                    action(RecordType::AAAA, Aaaa::Withhold, when, has),
                    Action::NoData
                );
                assert_eq!(
                    action(RecordType::AAAA, Aaaa::Pass, when, has),
                    Action::Passthru
                );
            }
            for has in [NEITHER, IPV4] {
                assert_eq!(
                    action(RecordType::AAAA, Aaaa::Withhold, when, has),
                    Action::Passthru
                );
            }
        }
    }

    #[test]
    fn other_types_are_told_as_they_are_and_need_no_addresses() {
        for record_type in [
            RecordType::MX,
            RecordType::TXT,
            RecordType::SOA,
            RecordType::Unknown(4711),
        ] {
            assert_eq!(needs(record_type, When::Any), Needs::Nothing);
            assert_eq!(
                action(record_type, Aaaa::Withhold, When::Any, BOTH),
                Action::Passthru
            );
        }
        assert_eq!(needs(RecordType::AAAA, When::Any), Needs::Nothing);
        assert_eq!(needs(RecordType::A, When::Never), Needs::Nothing);
    }
}
