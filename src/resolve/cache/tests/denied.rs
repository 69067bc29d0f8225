//! What is below a name that does not exist (RFC 8020).

use super::*;

pub(super) fn denial(text: &str, soa_of: &str) -> (String, Answer) {
    let mut denial = answer(vec![], vec![soa(soa_of, 60, 60)]);
    denial.rcode = ResponseCode::NXDomain;
    (text.to_owned(), denial)
}

#[test]
fn a_denied_name_denies_what_is_below_as_long_as_its_answer_is_kept() {
    let bounds = Bounds {
        nxdomain_cut: true,
        entries: 2,
        stale: Duration::from_secs(100),
        ..BOUNDS
    };
    let (cache, now) = (Cache::new(bounds), start());
    let found =
        |text: &str, least, seconds| cache.find(&question(text), || least, after(now, seconds));
    let (text, no) = denial("b.example.", "example.");
    store(&cache, &text, no, now);
    let Found::Denied(answer) = found("x.a.b.example.", 0, 20) else {
        panic!("nothing is below");
    };
    assert_eq!(
        (answer.rcode, answer.authorities[0].ttl),
        (ResponseCode::NXDomain, 40)
    );
    assert!(matches!(found("a.b.example.", 2, 0), Found::Denied(_)));
    assert_eq!(
        found("a.b.example.", 3, 0),
        Found::Nothing,
        "asked of other servers"
    );
    assert_eq!(found("bb.example.", 0, 0), Found::Nothing);
    assert_eq!(
        found("a.b.example.", 0, 60),
        Found::Nothing,
        "stale denies itself only"
    );
    // What is known of the name itself comes first while it holds, and not once it has expired.
    let mut known = self::answer(vec![a("a.b.example.", 30)], vec![]);
    let lifetime = cache.settle(&question("a.b.example."), &mut known);
    cache.insert(&question("a.b.example."), &known, lifetime, now);
    assert!(matches!(found("a.b.example.", 0, 29), Found::Fresh { .. }));
    assert!(matches!(found("a.b.example.", 0, 30), Found::Denied(_)));
    for index in 0..10 {
        let text = format!("n{index}.other.");
        store(&cache, &text, self::answer(vec![a(&text, 60)], vec![]), now);
    }
    assert_eq!(found("a.b.example.", 0, 0), Found::Nothing);
    assert!(cache.denied.is_empty(), "no row is left of what gave way");
}

#[test]
fn a_denial_behind_an_alias_is_not_one_of_the_name_asked() {
    let bounds = Bounds {
        nxdomain_cut: true,
        ..BOUNDS
    };
    let (cache, now) = (Cache::new(bounds), start());
    let (text, mut no) = denial("b.example.", "other.");
    no.answers = vec![cname("b.example.", "gone.other.", 60)];
    store(&cache, &text, no, now);
    assert_eq!(cache.len(), 1);
    let found = cache.find(&question("a.b.example."), || 0, now);
    assert_eq!(found, Found::Nothing);
}

#[test]
fn a_denial_that_another_answer_belies_reaches_no_further() {
    let bounds = Bounds {
        nxdomain_cut: true,
        ..BOUNDS
    };
    let (cache, now) = (Cache::new(bounds), start());
    let ipv6 = Question {
        record_type: RecordType::AAAA,
        ..question("b.example.")
    };
    let (_, mut no) = denial("b.example.", "example.");
    let lifetime = cache.settle(&ipv6, &mut no);
    cache.insert(&ipv6, &no, lifetime, now);
    let below = || cache.find(&question("a.b.example."), || 0, now);
    assert!(matches!(below(), Found::Denied(_)));
    let yes = answer(vec![a("b.example.", 60)], vec![]);
    store(&cache, "b.example.", yes, now);
    assert_eq!(below(), Found::Nothing);
}

#[test]
fn a_denial_of_a_ds_is_a_word_of_the_servers_above_and_reaches_no_further() {
    let bounds = Bounds {
        nxdomain_cut: true,
        ..BOUNDS
    };
    let (cache, now) = (Cache::new(bounds), start());
    let delegation = Question {
        record_type: RecordType::DS,
        ..question("corp.example.")
    };
    let (_, mut no) = denial("corp.example.", "example.");
    let lifetime = cache.settle(&delegation, &mut no);
    cache.insert(&delegation, &no, lifetime, now);
    assert!(cache.get(&delegation, now).is_some());
    let found = cache.find(&question("a.corp.example."), || 2, now);
    assert_eq!(found, Found::Nothing);
}
