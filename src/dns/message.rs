//! PURE. A question as it came in, an answer as it is being made, and a reply as it goes out.
//!
//! [`Asked`] is made by `screen`, [`Draft`] by `pipeline`, [`Reply`] by `shape`.

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Metadata, Query, ResponseCode, emit_message_parts};
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_proto::serialize::binary::BinEncoder;

use crate::resolve::{Answer, ExtendedError, Life, Question, ResolveError};

/// Extended DNS Errors that we give (RFC 8914 section 4 and its registry).
pub(super) mod ede {
    /// Other Error.
    pub(in crate::dns) const OTHER: u16 = 0;
    /// Stale Answer and Stale NXDOMAIN Answer, which `resolve` says.
    pub(in crate::dns) const STALE: [u16; 2] = [3, 19];
    /// Forged Answer.
    pub(in crate::dns) const FORGED: u16 = 4;
    /// Blocked.
    pub(in crate::dns) const BLOCKED: u16 = 15;
    /// Filtered.
    pub(in crate::dns) const FILTERED: u16 = 17;
    /// Prohibited: the client is none of ours.
    pub(in crate::dns) const PROHIBITED: u16 = 18;
    /// Not Authoritative: no recursion was wished, and the name is not local.
    pub(in crate::dns) const NOT_AUTHORITATIVE: u16 = 20;
    /// No Reachable Authority.
    pub(in crate::dns) const NO_REACHABLE_AUTHORITY: u16 = 22;
    /// Network Error.
    pub(in crate::dns) const NETWORK_ERROR: u16 = 23;
}

/// One question of class IN, well formed, from a client of ours.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The request's header.
    pub(super) metadata: Metadata,
    /// The question, the name in the client's own spelling.
    pub(super) query: Query,
    /// What the client's OPT record said (RFC 6891), where it sent one.
    pub(super) edns: Option<ClientEdns>,
}

/// What an OPT record of a client said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientEdns {
    /// The largest UDP payload the client takes, in bytes.
    pub(super) payload: u16,
    /// DO: the client wants signatures (RFC 3225).
    pub(super) dnssec_ok: bool,
}

impl Asked {
    /// Whether the client wants signatures.
    pub(super) fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// Whether the client reads AD (RFC 6840 section 5.7).
    pub(super) fn reads_authentic(&self) -> bool {
        self.metadata.authentic_data || self.dnssec_ok()
    }

    /// A question to the truth on behalf of this one: same DO and CD, so that it shares the cache with those of the
    /// client itself.
    pub(super) fn question(&self, name: &Name, record_type: RecordType) -> Question {
        Question {
            name: name.to_lowercase(),
            record_type,
            dnssec_ok: self.dnssec_ok(),
            checking_disabled: self.metadata.checking_disabled,
        }
    }
}

/// What the client shall be told, before it is put into the form of a message.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The response code.
    pub(super) rcode: ResponseCode,
    /// AA: it comes from a local zone.
    pub(super) authoritative: bool,
    /// The upstream said AD, and nothing that it covers was changed.
    pub(super) authentic: bool,
    /// Answer section.
    pub(super) answers: Vec<Record>,
    /// Authority section.
    pub(super) authorities: Vec<Record>,
    /// Additional section without OPT.
    pub(super) additionals: Vec<Record>,
    /// What is to be said about it.
    pub(super) extended_errors: Vec<ExtendedError>,
    /// AAAA was taken out.
    pub(super) withheld: bool,
    /// It leads to the gate.
    pub(super) steered: bool,
    /// Addresses inside were taken out of what is outside.
    pub(super) rebound: bool,
    /// Who knew the answer.
    pub(super) source: Source,
    /// For how long it may be told again.
    pub(super) lasting: Lasting,
    /// The TTL of its last record is a bound of ours: it goes down only where less is left of the truth.
    pub(super) capped: bool,
}

/// For how long an answer may be told again without a look at what it was made of, unless that is changed by somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasting {
    /// Not at all.
    Not,
    /// As it is.
    Always,
    /// For a while, in which its TTLs go down.
    For(Life),
}

/// Who knew an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Nobody was asked.
    Nobody,
    /// The list of special names.
    Special,
    /// Local data; for the end of a CNAME that leads out of it, others.
    Local,
    /// Upstreams.
    Outside,
}

impl Draft {
    /// No records.
    pub(super) fn empty(rcode: ResponseCode) -> Self {
        Self {
            rcode,
            authoritative: false,
            authentic: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            extended_errors: Vec::new(),
            withheld: false,
            steered: false,
            rebound: false,
            source: Source::Nobody,
            lasting: Lasting::Not,
            capped: false,
        }
    }

    /// The same with an Extended DNS Error.
    pub(super) fn because(mut self, code: u16, text: &str) -> Self {
        self.say(code, text);
        self
    }

    /// Adds an Extended DNS Error.
    pub(super) fn say(&mut self, code: u16, text: &str) {
        self.extended_errors.push(ExtendedError {
            code,
            text: text.to_owned(),
        });
    }

    /// What was done with the question, in one word.
    pub(super) fn done(&self) -> &'static str {
        match self.source {
            Source::Special => "special",
            _ if self.steered => "steered",
            _ if self.rebound => "rebind",
            _ if self.withheld => "withheld",
            _ if self.rcode == ResponseCode::ServFail => "failed",
            Source::Local => "local",
            Source::Outside => "passed",
            Source::Nobody if self.rcode == ResponseCode::NoError => "special",
            Source::Nobody => "refused",
        }
    }
}

impl From<Answer> for Draft {
    fn from(answer: Answer) -> Self {
        Self {
            authentic: answer.authentic,
            answers: answer.answers,
            authorities: answer.authorities,
            additionals: answer.additionals,
            extended_errors: answer.extended_errors,
            ..Self::empty(answer.rcode)
        }
    }
}

impl From<ResolveError> for Draft {
    /// The table from failures of the truth to RCODE and EDE.
    fn from(error: ResolveError) -> Self {
        let text = error.to_string();
        let mut draft = Self::empty(ResponseCode::ServFail);
        let code = match error {
            ResolveError::Unreachable(_) => ede::NETWORK_ERROR,
            // A bound of ours says nothing of the network, and no code says this.
            ResolveError::Overload(_) => ede::OTHER,
            ResolveError::Timeout => ede::NO_REACHABLE_AUTHORITY,
            ResolveError::Bogus { code, text } => return draft.because(code, &text),
            ResolveError::Failed {
                extended_errors, ..
            } => {
                draft.extended_errors = extended_errors;
                ede::NO_REACHABLE_AUTHORITY
            }
        };
        // What the upstream said is nearer to the cause than what we make of it.
        if draft.extended_errors.is_empty() {
            draft = draft.because(code, &text);
        }
        draft
    }
}

/// A message ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// The header.
    pub(super) metadata: Metadata,
    /// The question, where it could be read.
    pub(super) query: Option<Query>,
    /// Answer section.
    pub(super) answers: Vec<Record>,
    /// Authority section.
    pub(super) authorities: Vec<Record>,
    /// Additional section without OPT.
    pub(super) additionals: Vec<Record>,
    /// The OPT record, where the client sent one.
    pub(super) edns: Option<Edns>,
}

impl Reply {
    /// The packet, at most `limit` bytes. What would be longer goes without what nobody asked for, and where that is
    /// not enough becomes TC=1 with the question and OPT only, here in the reply too: half a set of records helps
    /// nobody (RFC 2181 section 9).
    pub(super) fn encode(&mut self, limit: u16) -> Vec<u8> {
        loop {
            match self.emit(limit) {
                Ok((packet, false)) => return packet,
                Ok((_, true)) if self.lighten() => {}
                // Longer than any message: TC would only send the client to TCP, where it is.
                Ok((_, true)) if limit == u16::MAX => {
                    self.metadata.response_code = ResponseCode::ServFail;
                    break;
                }
                Ok((_, true)) => {
                    self.metadata.truncation = true;
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, "an answer could not be written");
                    self.metadata.response_code = ResponseCode::ServFail;
                    break;
                }
            }
        }
        self.answers.clear();
        self.authorities.clear();
        self.additionals.clear();
        self.emit(limit)
            .map_or_else(|_| Vec::new(), |(packet, _)| packet)
    }

    /// Leaves out a section that the answer does not need: additional addresses, then the NS of the zone, but neither
    /// glue nor proofs. Says whether there was one.
    fn lighten(&mut self) -> bool {
        if self.answers.is_empty() {
            return false;
        }
        let section = if self.additionals.is_empty() {
            &mut self.authorities
        } else {
            &mut self.additionals
        };
        let needed = section.iter().any(|record| {
            matches!(
                record.record_type(),
                RecordType::SOA | RecordType::NSEC | RecordType::NSEC3
            )
        });
        if section.is_empty() || needed {
            return false;
        }
        section.clear();
        true
    }

    /// The packet, and whether records had to be left out.
    fn emit(&self, limit: u16) -> Result<(Vec<u8>, bool), ProtoError> {
        let mut packet = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut packet);
        // A name is written whole before it is compressed, so that under a lower limit one could be left out that fits.
        encoder.set_max_size(u16::MAX);
        let header = emit_message_parts(
            &self.metadata,
            &mut self.query.iter(),
            &mut self.answers.iter(),
            &mut self.authorities.iter(),
            &mut self.additionals.iter(),
            self.edns.as_ref(),
            None,
            &mut encoder,
        )?;
        let cut = header.metadata.truncation && !self.metadata.truncation;
        let fits = packet.len() <= usize::from(limit);
        Ok((packet, cut || !fits))
    }
}
