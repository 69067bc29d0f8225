//! Signed answers, changed on their way: what is taken for secure is what the zones say, what is in a signed zone is
//! never taken unsigned, and the work has a bound.
#![no_main]

use std::sync::OnceLock;

use hickory_proto::rr::{Record, RecordType};
use libfuzzer_sys::fuzz_target;
use sekisho::resolve::ResolveError;
use sekisho_fuzz::signed::{Change, Denial, Home};

fn homes() -> &'static [(Denial, Home)] {
    static HOMES: OnceLock<Vec<(Denial, Home)>> = OnceLock::new();
    HOMES.get_or_init(|| {
        [Denial::Nsec, Denial::Nsec3, Denial::OptOut]
            .map(|denial| (denial, Home::new(denial)))
            .into()
    })
}

/// What the records say, whatever their order and how long they live.
fn said(records: &[Record]) -> Vec<String> {
    let mut said: Vec<String> = records
        .iter()
        .filter(|record| record.record_type() != RecordType::RRSIG)
        .map(|record| {
            let text = format!("{} {} {}", record.name, record.record_type(), record.data);
            text.to_lowercase()
        })
        .collect();
    said.sort();
    said.dedup();
    said
}

fuzz_target!(|data: &[u8]| {
    let [question, chain, rest @ ..] = data else {
        return;
    };
    let changes: Vec<Change> = rest
        .as_chunks::<5>()
        .0
        .iter()
        .take(32)
        .map(|[answer, what, high, low, value]| Change {
            answer: *answer,
            what: *what,
            at: u16::from_be_bytes([*high, *low]),
            value: *value,
        })
        .collect();
    let unchanged = changes.is_empty();
    let homes = homes();
    let (denial, home) = &homes[usize::from(*chain) % homes.len()];
    let outcome = home.ask(*question, changes);
    assert!(outcome.questions <= 100, "{outcome:?}");
    let answer = match &outcome.said {
        Ok(answer) => answer,
        // The clock goes on while a busy machine does something else.
        Err(ResolveError::Timeout) => return,
        Err(_) => {
            assert!(!unchanged, "{outcome:?}");
            return;
        }
    };
    if outcome.secure && *denial != Denial::OptOut {
        assert!(answer.authentic, "{denial:?} {outcome:?}");
    }
    if answer.authentic {
        let truth = &outcome.truth;
        assert_eq!(
            answer.rcode, truth.metadata.response_code,
            "{denial:?} {outcome:?}"
        );
        let (ours, theirs) = (said(&answer.answers), said(&truth.answers));
        // Nobody can say that an answer to ANY is all that there is.
        let equal = match outcome.question.record_type {
            RecordType::ANY => !ours.is_empty() && ours.iter().all(|one| theirs.contains(one)),
            _ => ours == theirs,
        };
        assert!(equal, "{ours:?} {theirs:?} {denial:?} {outcome:?}");
    }
});
