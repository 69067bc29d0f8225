//! PURE. `[egress]`: how sessions leave, and where they must not go.

use std::time::Duration;

use super::file::Section;
use super::outlet::Outlet;
use super::value;
use super::via::{self, Via};
use crate::net::{Acl, Family};

/// How sessions leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The family that is tried first.
    pub prefer: Family,
    /// RFC 8305 Connection Attempt Delay.
    pub attempt_delay: Duration,
    /// Time for the whole of resolving and connecting.
    pub connect_timeout: Duration,
    /// Networks open in spite of the guard.
    pub allow: Acl,
    /// Networks closed besides it; stronger than `allow`.
    pub deny: Acl,
    /// The upstream proxy that sessions leave by, where no rule says otherwise.
    pub via: Via,
    /// How the sockets of IPv4 leave this machine.
    pub ipv4: Outlet,
    /// How those of IPv6 do.
    pub ipv6: Outlet,
}

impl Egress {
    /// How the sockets of a family leave.
    pub fn outlet(&self, family: Family) -> &Outlet {
        match family {
            Family::V4 => &self.ipv4,
            Family::V6 => &self.ipv6,
        }
    }

    /// Reads `[egress]`.
    pub(super) fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let prefer = section.text("prefer", "ipv6", |text| {
            value::word(text, &[("ipv6", Family::V6), ("ipv4", Family::V4)])
        });
        let attempt_delay = section.text("attempt-delay", "250ms", |text| {
            let delay = value::duration(text)?;
            // RFC 8305 section 5: at least 10 ms, at most 2 s.
            if (Duration::from_millis(10)..=Duration::from_secs(2)).contains(&delay) {
                Ok(delay)
            } else {
                Err(value::Wrong::value(
                    text,
                    "from 10 ms to 2 s, as RFC 8305 asks",
                    "a duration such as \"250ms\"",
                ))
            }
        });
        let connect_timeout = section.text("connect-timeout", "10s", value::some_duration);
        let allow = section.texts("allow", &[], value::network);
        let deny = section.texts("deny", &[], value::network);
        let via = section.text("via", "direct", via::via);
        let ipv4 = Outlet::read(section.section("ipv4"), Family::V4);
        let ipv6 = Outlet::read(section.section("ipv6"), Family::V6);
        section.finish();
        Some(Self {
            prefer: prefer?,
            attempt_delay: attempt_delay?,
            connect_timeout: connect_timeout?,
            allow: Acl::new(allow),
            deny: Acl::new(deny),
            via: via?,
            ipv4: ipv4?,
            ipv6: ipv6?,
        })
    }
}
