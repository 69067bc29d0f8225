//! A file of leases, whichever server's: clients take names of their own, and none that is not theirs to take.
#![no_main]

use std::collections::HashSet;
use std::sync::LazyLock;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use libfuzzer_sys::fuzz_target;
use sekisho::dns::{Leases, Local, Zones};
use sekisho::resolve::ResolveError;
use sekisho_fuzz::{Gate, Steered, words};

const ZONE: &str =
    "$TTL 60\n@ SOA gate hostmaster 1 1 1 1 60\n@ NS gate\ngate A 192.168.1.2\nnas A 192.168.1.9\n";
/// 2026.
const NOW: u64 = 1_790_000_000;

/// Names that no client may take.
const NOT_THEIRS: [&str; 7] = [
    "wpad.home.arpa.",
    "gate.home.arpa.",
    "nas.home.arpa.",
    "localhost.home.arpa.",
    "taken.home.arpa.",
    "resolver.arpa.",
    "example.com.",
];

struct Home {
    domain: Name,
    reserved: HashSet<String>,
    not_theirs: Vec<Name>,
    /// What is told of those names while nobody has a lease.
    told: Vec<(ResponseCode, Vec<Record>)>,
    local: Local,
    gate: Gate,
}

static HOME: LazyLock<Home> = LazyLock::new(|| {
    let domain = Name::from_ascii("home.arpa.").expect("a name");
    let zones = Zones::from_text(&[("home.arpa", ZONE)]).expect("a good zone");
    let local = Local::new(zones, domain.clone(), true);
    let silent = Box::new(|_: &_| Err(ResolveError::Timeout));
    let gate = Gate::new(Steered::No, local.clone(), silent);
    let not_theirs = NOT_THEIRS.map(|name| Name::from_ascii(name).expect("a name"));
    Home {
        domain,
        reserved: HashSet::from(["taken".to_owned()]),
        told: told(&gate, &not_theirs),
        not_theirs: not_theirs.into(),
        local,
        gate,
    }
});

fn told(gate: &Gate, names: &[Name]) -> Vec<(ResponseCode, Vec<Record>)> {
    let told = names.iter().map(|name| {
        let told = gate.ask_for(name, RecordType::A, false).expect("a name");
        (told.message.metadata.response_code, told.message.answers)
    });
    told.collect()
}

fuzz_target!(|bytes: &[u8]| {
    let home = &*HOME;
    let (leases, problems) = Leases::read(&[("leases".into(), bytes.to_vec())]);
    assert!(problems.len() <= 1);
    let made = leases.names(NOW, &home.domain, &home.reserved);
    assert!(made.next_end.is_none_or(|end| end > NOW));
    home.local.follow_leases(made.names);
    assert_eq!(
        told(&home.gate, &home.not_theirs),
        home.told,
        "a lease took a name that is not its own"
    );
    let text = String::from_utf8_lossy(bytes);
    let mut seen = HashSet::new();
    for word in words(&text).filter(|word| seen.insert(*word)).take(24) {
        if let Ok(address) = word.parse::<std::net::IpAddr>() {
            home.gate.ask_for(&address.into(), RecordType::PTR, false);
        }
        if let Ok(name) = Name::from_ascii(word).and_then(|name| name.append_domain(&home.domain)) {
            home.gate.ask_for(&name, RecordType::A, false);
            home.gate.ask_for(&name, RecordType::AAAA, false);
        }
    }
});
