//! The memory that the cache takes: bounded, and honestly counted.

use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, HTTPS, NULL, SVCB, TXT};

use super::denied::denial;
use super::*;

#[test]
fn the_memory_is_bounded_and_a_few_large_answers_do_not_push_out_thousands() {
    let bounds = Bounds {
        entries: 100_000,
        bytes: 256 << 10,
        ..BOUNDS
    };
    let (cache, now) = (Cache::new(bounds), start());
    for index in 0..6_000 {
        let text = format!("n{index}.example.");
        store(&cache, &text, large(&text, 2), now);
        assert!(cache.bytes() <= bounds.bytes);
    }
    let full = cache.len();
    assert!(full > 1_000, "{full}");
    let mut evicted = 0;
    for index in 0..10 {
        let text = format!("large{index}.example.");
        evicted += store(&cache, &text, large(&text, 40), now);
        assert!(cache.get(&question(&text), now).is_some(), "{text}");
        let text = format!("huge{index}.example.");
        evicted += store(&cache, &text, large(&text, 4000), now);
        assert!(cache.get(&question(&text), now).is_none(), "{text}");
    }
    assert!(evicted < 500, "{evicted}");
    assert!(cache.len() > full - 500);
    assert_eq!(cache.forget(|_| true), full - evicted + 10);
    assert_eq!((cache.len(), cache.bytes()), (0, 0));
}

#[test]
fn any_message_of_64_kib_has_room_by_default() {
    let bounds = Bounds {
        entries: 100_000,
        bytes: 128 << 20,
        ..BOUNDS
    };
    let (cache, now) = (Cache::new(bounds), start());
    // An owner takes 11 bytes where it is no pointer, an address 14 more; a text of one letter 1 more of its own. Header,
    // question and OPT take less than 64.
    let addresses = large("a.example.", 2000);
    store(&cache, "a.example.", addresses, now);
    assert!(cache.get(&question("a.example."), now).is_some());
    let texts = Question {
        record_type: RecordType::TXT,
        ..question("t.example.")
    };
    let data = RData::TXT(TXT::new(vec!["x".to_owned(); (65_535 - 64) / 2]));
    let record = Record::from_rdata(name("t.example."), 600, data);
    let answer = answer(vec![record], vec![]);
    cache.insert(&texts, &answer, Duration::from_secs(600), now);
    assert!(cache.get(&texts, now).is_some());
}

#[test]
fn a_newer_answer_that_is_not_kept_still_takes_the_older_one_away() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    let too_large = large("a.example.", 4000);
    let too_brief = answer(vec![a("a.example.", 0)], vec![]);
    for newer in [too_large, too_brief] {
        store(&cache, "a.example.", large("a.example.", 1), now);
        assert_eq!(cache.len(), 1);
        store(&cache, "a.example.", newer, now);
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
    }
}

#[test]
fn other_bounds_of_memory_keep_what_fits_and_stale_answers_stay_while_they_may() {
    let bounds = Bounds {
        stale: Duration::from_secs(100),
        ..BOUNDS
    };
    let (cache, now) = (Cache::new(bounds), start());
    for index in 0..500 {
        let text = format!("n{index}.example.");
        store(&cache, &text, large(&text, 2), now);
    }
    let small = Bounds {
        bytes: 64 << 10,
        ..bounds
    };
    let resized = cache.resized(small, now);
    assert!(
        resized.len() > 20 && resized.bytes() <= small.bytes,
        "{}",
        resized.len()
    );
    assert_eq!(cache.resized(bounds, after(now, 650)).len(), 500);
    assert_eq!(cache.resized(BOUNDS, after(now, 650)).len(), 0);
}

/// What this process has in memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// `cargo test --release --lib -- --ignored --nocapture the_estimate`, alone in its process.
#[test]
#[ignore = "a measurement: it must run alone in its process"]
fn the_estimate_of_the_memory_is_near_what_the_process_takes() {
    let bounds = Bounds {
        entries: 10_000_000,
        bytes: 1 << 30,
        nxdomain_cut: true,
        ..BOUNDS
    };
    let long = "a-rather-long-label-of-a-name-in-some-cloud.region.compute.example.";
    let now = start();
    let mut kept = Vec::new();
    let mut show = |kind: &str, make: &dyn Fn(&str) -> Answer| {
        let cache = Cache::new(bounds);
        let before = resident();
        for index in 0..60_000 {
            let text = format!(
                "n{index}.{}",
                if kind == "long names" {
                    long
                } else {
                    "example."
                }
            );
            // As from a message: every part of it is an allocation of its own.
            let mut answer = make(&text);
            cache.settle(&question(&text), &mut answer);
            cache.insert(&question(&text), &answer, Duration::from_secs(600), now);
        }
        let taken = resident() - before;
        let ratio = cache.bytes() as f64 / taken as f64;
        println!(
            "{kind}: estimated {} measured {taken} per answer {} ratio {ratio:.2}",
            cache.bytes(),
            taken / 60_000
        );
        assert!((0.7..1.3).contains(&ratio), "{kind} {ratio}");
        // The allocator would use the room again.
        kept.push(cache);
    };
    show("two addresses", &|text| large(text, 2));
    show("long names", &|text| large(text, 2));
    show("denials", &|text| denial(text, "example.").1);
    show("text", &|text| {
        let text = (0..3).map(|_| {
            let data = TXT::new(vec!["x".repeat(100)]);
            Record::from_rdata(name(text), 600, RData::TXT(data))
        });
        answer(text.collect(), vec![])
    });
    show("unknown types", &|text| {
        let rdata = NULL::with(vec![7; 120]);
        let code = RecordType::Unknown(65_280);
        let data = RData::Unknown { code, rdata };
        answer(vec![Record::from_rdata(name(text), 600, data)], vec![])
    });
    show("services", &|text| {
        let alpn = SvcParamValue::Alpn(Alpn(vec!["h2".to_owned(), "h3".to_owned()]));
        let hints = SvcParamValue::Ipv4Hint(IpHint(vec![A::new(192, 0, 2, 1); 2]));
        let params = vec![(SvcParamKey::Alpn, alpn), (SvcParamKey::Ipv4Hint, hints)];
        let data = HTTPS(SVCB::new(1, Name::root(), params));
        answer(
            vec![Record::from_rdata(name(text), 600, RData::HTTPS(data))],
            vec![],
        )
    });
}
