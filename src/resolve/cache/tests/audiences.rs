//! What audiences are told, beside the truth and in its place.

use super::super::super::wire::Age;
use super::*;

fn made(text: &str, last: u8, life: Option<Life>, capped: usize) -> Made {
    let question = question(text);
    let mut address = a(text, 300);
    address.data = RData::A(Ipv4Addr::new(192, 0, 2, last).into());
    let (mut message, parts) = pack(&question, &answer(vec![address], vec![])).unwrap();
    message.truncate(Finished::new(&message, parts).message(true).len());
    let parts = Finished::prepare(&mut message, capped).unwrap();
    Made {
        message,
        parts,
        life,
        notes: last,
    }
}

/// As the cache would say it of a truth that is not to be looked at before a tenth of its life is left.
fn life(seconds: u64) -> Option<Life> {
    Some(Life {
        told: Duration::from_millis(seconds * 900),
        left: Duration::from_secs(seconds),
    })
}

/// Audiences of which none has to do with another.
fn of(generation: u32) -> Audience {
    Audience::group(generation, 0)
}

fn key(text: &str) -> Key {
    Key::of(&question(text))
}

/// The TTL that is told, and the notes.
fn told(cache: &Cache, text: &str, audience: Audience, now: Instant) -> Option<(u32, u8)> {
    cache.tell(&key(text), audience, now, |finished, age, notes| {
        let mut message = finished.message(true).to_vec();
        finished.grow_old(&mut message, age);
        let message = hickory_proto::op::Message::from_vec(&message).unwrap();
        Some((message.answers[0].ttl, notes))
    })
}

fn milliseconds_after(start: Instant, milliseconds: u64) -> Instant {
    start + Duration::from_millis(milliseconds)
}

#[test]
fn an_answer_is_told_with_its_ttl_going_down_until_the_truth_is_to_be_looked_at() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    let begun = milliseconds_after(now, 500);
    cache.keep(
        &key("a.example."),
        of(1),
        made("a.example.", 7, life(300), 0),
        begun,
    );
    for (milliseconds, ttl) in [
        (500, Some(300)),
        (1499, Some(300)),
        (1500, Some(299)),
        (270_499, Some(31)),
        (270_500, None),
    ] {
        let told = told(
            &cache,
            "A.example.",
            of(1),
            milliseconds_after(now, milliseconds),
        );
        assert_eq!(told, ttl.map(|ttl| (ttl, 7)), "{milliseconds}");
    }
    assert_eq!(told(&cache, "a.example.", of(2), begun), None);
    assert_eq!(told(&cache, "b.example.", of(1), begun), None);
    assert_eq!(cache.get(&question("a.example."), begun), None, "no truth");
}

#[test]
fn a_capped_ttl_goes_down_only_where_less_is_left_and_one_without_an_end_stays() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    cache.keep(
        &key("a.example."),
        of(1),
        made("a.example.", 1, life(400), 1),
        now,
    );
    cache.keep(
        &key("b.example."),
        of(1),
        made("b.example.", 1, None, 1),
        now,
    );
    let ttl = |text, seconds| told(&cache, text, of(1), after(now, seconds)).map(|(ttl, _)| ttl);
    for (seconds, left) in [(0, 300), (100, 300), (101, 299), (359, 41)] {
        assert_eq!(ttl("a.example.", seconds), Some(left), "{seconds}");
    }
    assert_eq!(ttl("a.example.", 360), None);
    assert_eq!(ttl("b.example.", 3599), Some(300));
    assert_eq!(
        ttl("b.example.", 3600),
        None,
        "it is made again now and then"
    );
}

#[test]
fn what_upstreams_said_is_told_as_it_is_and_kept_once() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    let truth = answer(vec![a("a.example.", 300)], vec![]);
    store(&cache, "a.example.", truth.clone(), now);
    assert_eq!(
        told(&cache, "a.example.", of(0), now),
        None,
        "to nobody yet"
    );
    // Some time later, so that only the TTL is another one.
    let later = after(now, 100);
    let mut older = made("a.example.", 1, life(200), 0);
    older.message = pack(
        &question("a.example."),
        &answer(vec![a("a.example.", 200)], vec![]),
    )
    .unwrap()
    .0;
    cache.keep(&key("a.example."), of(4), older, later);
    assert_eq!(cache.len(), 1);
    assert_eq!(
        told(&cache, "a.example.", of(4), after(now, 110)),
        Some((190, 1))
    );
    assert_eq!(
        told(&cache, "a.example.", of(4), after(now, 279)),
        Some((21, 1))
    );
    assert_eq!(told(&cache, "a.example.", of(4), after(now, 280)), None);
    // Another audience, or another answer, has a place of its own.
    cache.keep(
        &key("a.example."),
        of(5),
        made("a.example.", 9, life(200), 0),
        later,
    );
    assert_eq!(cache.len(), 2);
    assert_eq!(told(&cache, "a.example.", of(5), later), Some((300, 9)));
    // A newer truth has to be looked at first.
    store(&cache, "a.example.", truth, later);
    assert_eq!(cache.len(), 2);
    assert_eq!(told(&cache, "a.example.", of(4), later), None);
    assert!(cache.get(&question("a.example."), later).is_some());
}

#[test]
fn a_flush_takes_all_that_was_made() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    store(
        &cache,
        "b.example.",
        answer(vec![a("b.example.", 300)], vec![]),
        now,
    );
    cache.keep(
        &key("a.example."),
        of(1),
        made("a.example.", 1, life(300), 0),
        now,
    );
    assert_eq!(cache.forget(|_| false), 0);
    assert_eq!(told(&cache, "a.example.", of(1), now), None);
    assert_eq!(cache.len(), 1);
}

#[test]
fn neither_bound_is_passed_and_what_is_asked_again_stays() {
    for (entries, bytes) in [(8, 1 << 20), (1000, 2048)] {
        let bounds = Bounds {
            entries,
            bytes,
            ..BOUNDS
        };
        let (cache, now) = (Cache::new(bounds), start());
        for number in 0..200 {
            let text = format!("n{number}.example.");
            cache.keep(&key(&text), of(1), made(&text, 1, None, 1), now);
            assert!(
                told(&cache, "n0.example.", of(1), now).is_some(),
                "{number}"
            );
            let held = (cache.len(), cache.bytes());
            assert!(held.0 <= entries && held.1 <= bytes, "{held:?}");
        }
        assert!(cache.len() >= 6, "{}", cache.len());
    }
}

/// A model of the cache, and random steps: what is told was kept last for that name and audience, or was marked in the
/// truth, and its time is not over.
#[test]
fn whatever_happens_nothing_is_told_that_does_not_hold() {
    const GROUPS: usize = 3;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let bounds = Bounds {
        entries: 24,
        ..BOUNDS
    };
    let (cache, start) = (Cache::new(bounds), start());
    // When, for which generation, for how many seconds, and what.
    type Kept = Option<(u64, u32, u64, u8)>;
    let mut kept: [[Kept; GROUPS]; 40] = [[None; GROUPS]; 40];
    let (mut milliseconds, mut generation, mut count) = (0, 1, 0);
    for _ in 0..60_000 {
        let number = usize::try_from(random(40)).unwrap();
        let group = usize::try_from(random(GROUPS as u64)).unwrap();
        let audience = Audience::group(generation, u32::try_from(group).unwrap());
        let text = format!("n{number}.example.");
        let now = milliseconds_after(start, milliseconds);
        match random(20) {
            0 => milliseconds += random(5000),
            1 if random(10) == 0 => generation += 1,
            2..=3 => {
                store(&cache, &text, answer(vec![a(&text, 300)], vec![]), now);
            }
            4..=6 => {
                // Mostly what the truth says.
                let (seconds, last) = (random(60), u8::from(random(4) > 0));
                cache.keep(
                    &key(&text),
                    audience,
                    made(&text, last, life(seconds), 0),
                    now,
                );
                kept[number][group] = Some((milliseconds, generation, seconds, last));
            }
            _ => {
                if let Some((ttl, notes)) = told(&cache, &text, audience, now) {
                    let (at, whom, seconds, last) = kept[number][group].expect("it was kept");
                    assert_eq!((whom, last), (generation, notes));
                    let age = milliseconds - at;
                    assert!(age < seconds * 900, "{age} {seconds}");
                    // Where the truth is told, it may be older than what was kept.
                    assert!(u64::from(ttl) <= 300 - age / 1000, "{ttl} {age}");
                    count += 1;
                }
            }
        }
        assert!(cache.len() <= 24);
    }
    assert!(count > 1000, "{count}");
}

#[test]
fn groups_are_told_the_truth_side_by_side_and_each_is_told_otherwise_alone() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    let truth = answer(vec![a("a.example.", 300)], vec![]);
    store(&cache, "a.example.", truth, now);
    let groups = [0, 1, 31].map(|number| Audience::group(7, number));
    let keep = |group, last, seconds| {
        let made = made("a.example.", last, life(seconds), 0);
        cache.keep(&key("a.example."), group, made, now);
    };
    let all = |at| groups.map(|group| told(&cache, "a.example.", group, after(now, at)));
    let (truth, other) = (Some((300, 1)), Some((300, 2)));
    keep(groups[0], 1, 300);
    keep(groups[2], 1, 100);
    assert_eq!((cache.len(), all(0)), (1, [truth, None, truth]));
    // None is told it for longer than any may be.
    assert_eq!(all(90), [None; 3]);
    keep(groups[1], 2, 300);
    assert_eq!((cache.len(), all(0)), (2, [truth, other, truth]));
    keep(groups[0], 2, 300);
    assert_eq!((cache.len(), all(0)), (3, [other, other, truth]));
    keep(groups[1], 1, 300);
    assert_eq!((cache.len(), all(0)), (2, [other, truth, truth]));
    // Those of another time, or who are counted otherwise, have it to themselves.
    let later = [0, 1].map(|number| Audience::group(8, number));
    keep(later[0], 1, 300);
    assert_eq!(all(0), [other, None, None]);
    let mut counted = made("a.example.", 1, life(300), 0);
    counted.notes = 9;
    cache.keep(&key("a.example."), later[1], counted, now);
    let told = later.map(|group| told(&cache, "a.example.", group, now));
    assert_eq!(told, [None, Some((300, 9))]);
}

#[test]
fn the_age_of_what_has_no_end_is_none() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    cache.keep(
        &key("b.example."),
        of(1),
        made("b.example.", 1, None, 1),
        now,
    );
    let age = cache.tell(&key("b.example."), of(1), after(now, 5), |_, age, _| {
        Some(age)
    });
    let left = u32::MAX;
    assert_eq!(age, Some(Age { age: 0, left }));
}

#[test]
fn nobody_is_told_what_was_put_in_after_the_answer_that_he_may_be_told() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    let truth = answer(vec![a("a.example.", 300)], vec![]);
    store(&cache, "a.example.", truth, now);
    let pass = |last| {
        let Made { message, parts, .. } = made("a.example.", last, None, 0);
        let finished = Finished::new(&message, parts);
        cache.pass(&key("a.example."), of(7), &finished, last, now);
    };
    pass(2);
    assert_eq!(told(&cache, "a.example.", of(7), now), None);
    pass(1);
    assert_eq!(told(&cache, "a.example.", of(7), now), Some((300, 1)));
}
