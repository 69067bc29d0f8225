//! The SOA records of zones whose names upstream says beside its answers: for AAAA withheld at once, which needs them by the
//! thousand. Asked by `unattended`.
//!
//! The cache has them, for as long as they hold; here they are as bytes, for a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{
    BinDecodable, BinDecoder, BinEncodable, BinEncoder, NameEncoding,
};

use super::handler::now;
use super::truth::Truth;
use super::unattended::Soa;
use super::withhold::soa_for;
use crate::resolve::Question;

/// How long one is used without a look into the cache.
const AT_HAND: Duration = Duration::from_secs(1);
/// How long after it was asked for it is not looked for again.
const ON_ITS_WAY: Duration = Duration::from_millis(5);
/// So many are held.
const MOST: usize = 1024;

/// Those at hand.
#[derive(Debug, Default)]
pub(super) struct Apexes(Mutex<HashMap<Box<[u8]>, AtHand>>);

/// What the cache had.
#[derive(Debug)]
struct AtHand {
    since: Instant,
    /// Flushes before it.
    flushes: u64,
    soa: Option<Soa>,
}

impl AtHand {
    fn lasts(&self) -> Duration {
        match self.soa {
            Some(_) => AT_HAND,
            None => ON_ITS_WAY,
        }
    }
}

impl Apexes {
    /// The SOA of the zone of this name (on the wire, in lower case), if it is known. If not, it is asked for, so that it is
    /// known soon.
    pub(super) fn soa<T: Truth>(&self, resolver: &Arc<T>, zone: &[u8]) -> Option<Soa> {
        let (now, flushes) = (now(), resolver.flushes());
        // Every change is complete before anything can panic.
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at_hand) = held.get(zone)
            && at_hand.flushes == flushes
            && let passed = now.saturating_duration_since(at_hand.since)
            && passed < at_hand.lasts()
        {
            return at_hand.soa.as_ref().map(|soa| Soa {
                record: Arc::clone(&soa.record),
                life: soa.life.after(passed),
            });
        }
        if held.len() >= MOST {
            held.clear();
        }
        let question = Question {
            name: Name::read(&mut BinDecoder::new(zone)).ok()?,
            record_type: RecordType::SOA,
            dnssec_ok: false,
            checking_disabled: false,
        };
        let soa = read(&**resolver, &question, now);
        let at_hand = AtHand {
            since: now,
            flushes,
            soa: soa.clone(),
        };
        held.insert(zone.into(), at_hand);
        drop(held);
        if soa.is_none() {
            let resolver = Arc::clone(resolver);
            tokio::spawn(async move {
                // For the next who needs it.
                resolver.lookup(&question).await.ok();
            });
        }
        soa
    }
}

fn read(resolver: &impl Truth, question: &Question, now: Instant) -> Option<Soa> {
    let answer = resolver.kept()?.get(question, now)?;
    let life = resolver.life(question)?;
    let own = answer
        .answers
        .iter()
        .filter(|record| record.name == question.name);
    let soa = soa_for(&question.name, own)?;
    let mut record = Vec::new();
    let mut encoder = BinEncoder::new(&mut record);
    // It will stand at another place, where pointers within it would lead elsewhere.
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    soa.emit(&mut encoder).ok()?;
    Some(Soa {
        record: record.into(),
        life,
    })
}
