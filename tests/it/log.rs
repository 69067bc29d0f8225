//! Log lines for programs: one JSON object each, with the fields of the text.

use std::io::Read as _;
use std::net::Shutdown;

use serde_json::Value;

use crate::support::{Gate, Origin, Service, Setup, Upstream, tunnel};

#[test]
fn every_line_is_an_object_whose_fields_stand_in_it_once() {
    let upstream = Upstream::start();
    let origin = Origin::start(Service::Echo);
    let gate = Gate::launch(&Setup::new(&upstream).set("log.format", r#""json""#));
    gate.wait_for_log(r#""message":"ready""#);
    let listening = gate.wait_for_log(r#""kind":"http""#);
    let listening: Value = serde_json::from_str(&listening).unwrap();
    assert_eq!(listening["message"], "listening");
    let address = listening["addr"].as_str().unwrap().parse().unwrap();
    let target = format!("127.0.0.1:{}", origin.port());
    let (mut stream, _) = tunnel(address, &target);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 3, "bye");
    let line = gate.wait_for_log(r#""message":"session""#);
    assert_eq!(line.matches(r#""target":"#).count(), 1, "{line}");
    let session: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(session["target"], target);
    assert_eq!(session["inbound"], "connect");
    assert_eq!(session["family"], "ipv4");
    assert_eq!(session["address"], target);
    assert_eq!(session["ended"], "closed");
    assert!(
        session["client"]
            .as_str()
            .is_some_and(|client| client.starts_with("127.0.0.1:"))
    );
    for number in ["attempts", "connect_ms", "sent", "received", "duration_ms"] {
        assert!(session[number].is_u64(), "{number}: {line}");
    }
    for line in gate.log_text().lines() {
        assert!(
            serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()),
            "{line}"
        );
    }
}
