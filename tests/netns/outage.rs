//! The provider's name server out of reach: old answers at once, new ones when it is back; and names in use that are
//! asked for before they expire.

use std::time::Duration;

use crate::client::Answer;
use crate::gate::{Gate, config};
use crate::home::Home;
use crate::internet::RESOLVER;
use crate::requirements::{home, tell};
use crate::wait::{SOON, until};

/// An old answer at once, on a machine that does other things, too.
const AT_ONCE: Duration = Duration::from_millis(400);
/// The client response timer of RFC 8767, as much later as a slow machine is.
const AT_LENGTH: Duration = Duration::from_millis(2400);

/// Not a word comes back, as from a server that is down or a link that is cut.
fn cut(home: &Home) {
    home.gateway.nft(&format!(
        "table inet cut {{ chain forward {{ type filter hook forward priority 0; ip daddr {RESOLVER} drop; }}; }}"
    ));
}

fn mend(home: &Home) {
    home.gateway.run("nft delete table inet cut");
}

fn is_stale(answer: &Answer) -> bool {
    answer.0.contains("EDE: 3 (Stale Answer)")
}

#[test]
fn a_link_that_is_cut_costs_a_known_name_nothing_and_back_is_back() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("ipv6-only"));
    let ask = || home.dig("short.origin.net A");
    let fresh = |answer: &Answer| {
        assert!(answer.is("NOERROR") && !is_stale(answer), "{}", answer.0);
        assert_eq!(answer.data(), ["A 203.0.113.10"]);
    };
    fresh(&ask());
    cut(&home);
    // Its second is over, and the gate does not know yet that nobody answers.
    let first = until("it expires", SOON, || Some(ask()).filter(is_stale));
    assert_eq!(first.data(), ["A 203.0.113.10"]);
    assert_eq!(first.ttl(), 30, "{}", first.0);
    assert!(first.time() < AT_LENGTH, "{}", first.0);
    // A name that nobody has asked for has its answer in time, too, and says that the server is silent.
    let unknown = home.dig("dual.origin.net A");
    assert!(unknown.is("SERVFAIL"), "{}", unknown.0);
    assert!(unknown.time() < Duration::from_secs(4), "{}", unknown.0);
    let mut times = Vec::new();
    for _ in 0..5 {
        let known = ask();
        assert!(is_stale(&known), "{}", known.0);
        assert_eq!(known.data(), ["A 203.0.113.10"]);
        times.push(known.time());
    }
    assert!(times.iter().all(|time| *time < AT_ONCE), "{times:?}");
    tell(&format!(
        "stale: {:?} at first, then {times:?}",
        first.time()
    ));

    mend(&home);
    let back = until("fresh answers", SOON, || {
        Some(ask()).filter(|answer| !is_stale(answer))
    });
    fresh(&back);
    assert!(back.ttl() <= 1, "{}", back.0);
}

#[test]
fn a_name_in_use_is_asked_for_again_before_it_expires() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("ipv6-only"));
    // A label of digits has no case that could vary.
    home.internet.machine().nft(
        "table inet count { counter queries { };
         chain input { type filter hook input priority 0; udp dport 53 @th,160,40 0x0430303130 counter name queries; }; }",
    );
    let ask = || home.dig("0010.origin.net A");
    let asked = || home.internet.machine().counted("queries");
    assert_eq!(ask().ttl(), 10);
    let first = asked();
    assert!(first > 0);
    let mut least = u32::MAX;
    until("it is asked for again", SOON, || {
        // Had it expired, the next answer would have been a new one before anything was counted here.
        let ttl = ask().ttl();
        assert!(ttl <= least, "{ttl} s after {least} s");
        least = ttl;
        (asked() > first).then_some(())
    });
    assert!(least <= 1, "{least} s before its end");
    let renewed = ask();
    assert!(renewed.ttl() >= 9, "{}", renewed.0);
    assert!(renewed.time() < AT_ONCE, "{}", renewed.0);
}
