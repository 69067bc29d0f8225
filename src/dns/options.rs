//! PURE. The EDNS options of a query, and those of its answer: cookies (RFC 7873), NSID (RFC 5001), edns-tcp-keepalive
//! (RFC 7828) and padding (RFC 7830, 8467). All others are ignored (RFC 6891 section 6.1.2).
//!
//! Called by `handler`, before `screen` and after `shape`.

use std::time::Duration;

use hickory_proto::op::Edns;
use hickory_proto::rr::Name;
use hickory_proto::rr::rdata::opt::EdnsOption;

use super::cookie::Cookie;
use super::handler::Transport;
use super::message::Reply;
use crate::resolve::wire::{HEADER, TYPE_AND_CLASS, TYPE_OPT, owner_length};

const NSID: u16 = 3;
/// DNS cookies.
pub(super) const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const PADDING: u16 = 12;
/// What padded answers are a multiple of, in bytes (RFC 8467 section 4.1).
const BLOCK: usize = 468;
/// The code and the length before the data of an option, in bytes.
pub(super) const OPTION_HEAD: usize = 4;

/// What the options of a query ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Its cookie.
    pub(super) cookie: Option<Cookie>,
    /// Which server this is.
    pub(super) nsid: bool,
    /// How long the connection may be idle; over UDP it is ignored.
    pub(super) keepalive: bool,
    /// An answer whose length says little; never in the clear, where it says nothing to those who see it all.
    pub(super) padding: bool,
}

/// An option that breaks its own rules: FORMERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Wishes {
    /// Reads what a query's OPT record asks for; without one, or of another version than 0, nothing.
    pub(super) fn read(edns: Option<&Edns>, transport: Transport) -> Result<Self, Malformed> {
        let mut wishes = Self::default();
        let Some(edns) = edns.filter(|edns| edns.version() == 0) else {
            return Ok(wishes);
        };
        for (_, option) in &edns.options().options {
            match (option, transport) {
                (EdnsOption::NSID(_), _) => wishes.nsid = true,
                // Of several cookies the first counts (RFC 7873 section 5.2).
                (EdnsOption::Unknown(COOKIE, data), _) if wishes.cookie.is_none() => {
                    wishes.cookie = Some(Cookie::read(data).ok_or(Malformed)?);
                }
                (EdnsOption::Unknown(KEEPALIVE, data), Transport::Tcp | Transport::Tls) => {
                    if !data.is_empty() {
                        return Err(Malformed);
                    }
                    wishes.keepalive = true;
                }
                (EdnsOption::Unknown(PADDING, _), Transport::Tls) => wishes.padding = true,
                _ => {}
            }
        }
        Ok(wishes)
    }
}

/// Whether the OPT record of a message, if it has one, holds options and nothing else (RFC 6891 section 6.1.2). Where it
/// ends within one, hickory takes none of them, and says nothing.
pub(super) fn are_whole(packet: &[u8]) -> bool {
    options(packet).is_none_or(|mut options| {
        while let Some((head, rest)) = options.split_first_chunk::<OPTION_HEAD>() {
            let [.., length0, length1] = *head;
            match rest.get(usize::from(u16::from_be_bytes([length0, length1]))..) {
                Some(rest) => options = rest,
                None => return false,
            }
        }
        options.is_empty()
    })
}

/// The data of the first OPT record of a message; `None` where there is none that can be read.
fn options(packet: &[u8]) -> Option<&[u8]> {
    /// Type, class, TTL and the length of the data.
    const AFTER_OWNER: usize = 10;
    let (header, mut rest) = packet.split_first_chunk::<HEADER>()?;
    let [_, _, _, _, counts @ ..] = *header;
    let [questions, records @ ..] = counts.as_chunks::<2>().0 else {
        return None;
    };
    for _ in 0..u16::from_be_bytes(*questions) {
        rest = rest.get(owner_length(rest)? + TYPE_AND_CLASS..)?;
    }
    let records: u32 = records
        .iter()
        .map(|count| u32::from(u16::from_be_bytes(*count)))
        .sum();
    for _ in 0..records {
        let (head, behind) = rest
            .get(owner_length(rest)?..)?
            .split_first_chunk::<AFTER_OWNER>()?;
        let [type0, type1, _, _, _, _, _, _, length0, length1] = *head;
        let length = usize::from(u16::from_be_bytes([length0, length1]));
        let (data, next) = behind.split_at_checked(length)?;
        if [type0, type1] == TYPE_OPT {
            return Some(data);
        }
        rest = next;
    }
    None
}

/// What the options of an answer say.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// The cookie.
    pub(super) cookie: Option<Vec<u8>>,
    /// Which server this is.
    pub(super) nsid: Option<String>,
    /// How long the connection may be idle.
    pub(super) keepalive: Option<Duration>,
    /// Whether the answer is padded.
    pub(super) padding: bool,
}

/// The packet of a reply with these options, at most `limit` bytes.
pub(super) fn encode(reply: &mut Reply, said: Said, limit: u16) -> Vec<u8> {
    let room = usize::from(limit).saturating_sub(least(reply));
    let Some(edns) = &mut reply.edns else {
        return reply.encode(limit);
    };
    let mut add = |code, data| {
        edns.options_mut().insert(EdnsOption::Unknown(code, data));
    };
    if let Some(cookie) = said.cookie {
        add(COOKIE, cookie);
    }
    if let Some(idle) = said.keepalive {
        // In units of 100 ms.
        let timeout = u16::try_from(idle.as_millis() / 100).unwrap_or(u16::MAX);
        add(KEEPALIVE, timeout.to_be_bytes().to_vec());
    }
    if let Some(identity) = said.nsid.filter(|identity| identity.len() <= room) {
        add(NSID, identity.into_bytes());
    }
    let packet = reply.encode(limit);
    if !said.padding {
        return packet;
    }
    let bare = packet.len() + OPTION_HEAD;
    let Some(room) = usize::from(limit).checked_sub(bare) else {
        return packet;
    };
    let padding = (bare.next_multiple_of(BLOCK) - bare).min(room);
    if let Some(edns) = &mut reply.edns {
        let padding = EdnsOption::Unknown(PADDING, vec![0; padding]);
        edns.options_mut().insert(padding);
    }
    reply.encode(limit)
}

/// What a reply takes at least besides NSID, which is the one option of any length, in bytes: header, question, OPT with
/// the others.
fn least(reply: &Reply) -> usize {
    const OPT: usize = 11;
    const COOKIE_KEEPALIVE_NSID: usize = (OPTION_HEAD + 24) + (OPTION_HEAD + 2) + OPTION_HEAD;
    let name =
        |name: &Name| -> usize { 1 + name.iter().map(|label| 1 + label.len()).sum::<usize>() };
    let question = reply
        .query
        .as_ref()
        .map_or(0, |query| name(&query.name) + TYPE_AND_CLASS);
    let options = reply.edns.as_ref().map_or(0, |edns| {
        let options = &edns.options().options;
        options
            .iter()
            .map(|(_, option)| OPTION_HEAD + usize::from(option.len()))
            .sum()
    });
    HEADER + question + OPT + options + COOKIE_KEEPALIVE_NSID
}
