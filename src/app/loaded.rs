//! What a configuration names beside itself, read: by `check`, at the start and at each reload in the same way.

use crate::config::Config;
use crate::dns::{ZoneProblem, Zones};
use crate::proxy::{UserProblem, Users};
use crate::resolve::{AnchorProblem, Trust, TrustAnchors};
use crate::steer::Lists;

/// The contents of the files that a configuration names, but for those that are followed and for the certificate.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) zones: Zones,
    pub(super) lists: Lists,
    /// Whom encrypted upstreams are verified by.
    pub(super) trust: Trust,
    /// Who is believed to sign; `None`: nothing is validated.
    pub(super) anchors: Option<TrustAnchors>,
    /// Who may use the proxy; `None`: every client.
    pub(super) users: Option<Users>,
}

impl Loaded {
    /// Reads them all.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, one text each.
    pub(super) fn read(config: &Config) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let zones = kept(zones(config), &mut problems);
        let lists = kept(Lists::load(config), &mut problems);
        let trust = kept(Trust::load(&config.dns.upstream), &mut problems);
        let anchors = kept(anchors(config), &mut problems);
        let users = kept(users(config), &mut problems);
        match (zones, lists, trust, anchors, users) {
            (Some(zones), Some(lists), Some(trust), Some(anchors), Some(users)) => Ok(Self {
                zones,
                lists,
                trust,
                anchors,
                users,
            }),
            _ => Err(problems),
        }
    }
}

/// What was read, or nothing after its problems were put to the others.
fn kept<T>(read: Result<T, Vec<impl ToString>>, problems: &mut Vec<String>) -> Option<T> {
    read.map_err(|found| problems.extend(found.iter().map(ToString::to_string)))
        .ok()
}

/// The local zones; a folder that nobody named may be missing.
fn zones(config: &Config) -> Result<Zones, Vec<ZoneProblem>> {
    match &config.dns.zones {
        Some(folder) if config.dns.zones_required || folder.exists() => Zones::load(folder),
        _ => Ok(Zones::default()),
    }
}

/// Those who may use the proxy.
fn users(config: &Config) -> Result<Option<Users>, Vec<UserProblem>> {
    config.proxy.users.as_deref().map(Users::load).transpose()
}

/// The trust anchors.
fn anchors(config: &Config) -> Result<Option<TrustAnchors>, Vec<AnchorProblem>> {
    if !config.dns.dnssec {
        return Ok(None);
    }
    match &config.dns.trust_anchor {
        Some(file) => TrustAnchors::load(file).map(Some),
        None => Ok(Some(TrustAnchors::root())),
    }
}
