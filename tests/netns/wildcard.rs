//! A listener on every address of the gate answers from the one that was asked: dig takes an answer from no other.

use crate::client::Answer;
use crate::gate::{Gate, config};
use crate::home::GATE;
use crate::internet::{DUAL, FOUR};
use crate::namespace::must;
use crate::requirements::home;

/// Another IPv4 address of the gate.
const SECOND: &str = "192.168.77.3";
/// Two IPv6 addresses of the gate, and one of its neighbour, the home gateway.
const SIXES: [&str; 2] = ["fd77::2", "fd77::3"];
const NEIGHBOUR: &str = "fd77::1";

#[test]
fn every_address_of_the_gate_answers_for_itself() {
    let Some(home) = home() else { return };
    home.gate.ip(&format!("addr add {SECOND}/24 dev lan"));
    for address in SIXES {
        home.gate
            .ip(&format!("addr add {address}/64 dev lan nodad"));
    }
    home.gateway
        .ip(&format!("addr add {NEIGHBOUR}/64 dev lan nodad"));
    let settings = format!(
        "{}\n[lan]\naddress = \"{GATE}\"\nallow-public = true\nnetworks = [\"192.168.77.0/24\", \"fd77::/64\"]\n\
         \n[dns]\nlisten = [\"0.0.0.0:53\", \"[::]:53\"]\n",
        config("ipv6-only")
    );
    let _gate = Gate::start(&home, &settings);
    let ask = |server: &str, question: &str| {
        let asker = match server.contains(':') {
            true => &home.gateway,
            false => &home.client,
        };
        let mut command = asker.command("dig");
        let words = format!("+time=5 +tries=1 @{server} {question}");
        Answer(must(command.args(words.split_whitespace())))
    };
    for server in [GATE, SECOND, SIXES[0], SIXES[1]] {
        // In turn: from upstream, from the cache, what needs nobody, with a cookie, and the long way from both.
        for question in [
            FOUR,
            FOUR,
            DUAL,
            "localhost",
            "+cookie=0011223344556677 four.origin.net",
            "+nsid four.origin.net",
            "+nsid www.origin.net",
        ] {
            let answer = ask(server, question);
            assert!(
                !answer.data().is_empty(),
                "{server} {question}: {}",
                answer.0
            );
        }
        assert!(ask(server, &format!("+tcp {FOUR}")).is("NOERROR"));
    }
}
