//! A file of leases, whichever server's: clients take names of their own, and none that is not theirs to take.
#![no_main]

use std::collections::HashSet;

use hickory_proto::rr::{Name, RecordType};
use libfuzzer_sys::fuzz_target;
use sekisho::dns::{Leases, Local, Zones};
use sekisho::resolve::ResolveError;
use sekisho_fuzz::{Gate, Steered, words};

const ZONE: &str =
    "$TTL 60\n@ SOA gate hostmaster 1 1 1 1 60\n@ NS gate\ngate A 192.168.1.2\nnas A 192.168.1.9\n";
/// 2026.
const NOW: u64 = 1_790_000_000;

fuzz_target!(|bytes: &[u8]| {
    let domain = Name::from_ascii("home.arpa.").expect("a name");
    let (leases, problems) = Leases::read(&[("leases".into(), bytes.to_vec())]);
    assert!(problems.len() <= 1);
    let reserved = HashSet::from(["taken".to_owned()]);
    let made = leases.names(NOW, &domain, &reserved);
    assert!(made.next_end.is_none_or(|end| end > NOW));
    let zones = Zones::from_text(&[("home.arpa", ZONE)]).expect("a good zone");
    let local = Local::new(zones.clone(), domain.clone(), true);
    let bare = Gate::new(
        Steered::No,
        local.clone(),
        Box::new(|_| Err(ResolveError::Timeout)),
    );
    let taken = |gate: &Gate| {
        [
            "wpad",
            "gate",
            "nas",
            "localhost",
            "taken",
            "resolver.arpa",
            "wpad.home.arpa",
            "example.com",
        ]
        .map(|name| {
            let mut name = Name::from_ascii(name).expect("a name");
            if name.num_labels() == 1 {
                name = name.append_domain(&domain).expect("a name");
            }
            name.set_fqdn(true);
            let told = gate.ask_for(&name, RecordType::A, false).expect("a name");
            (told.message.metadata.response_code, told.message.answers)
        })
    };
    let before = taken(&bare);
    local.follow_leases(made.names);
    let gate = Gate::new(Steered::No, local, Box::new(|_| Err(ResolveError::Timeout)));
    assert_eq!(
        taken(&gate),
        before,
        "a lease took a name that is not its own"
    );
    let text = String::from_utf8_lossy(bytes);
    for word in words(&text).take(24) {
        if let Ok(address) = word.parse::<std::net::IpAddr>() {
            gate.ask_for(&address.into(), RecordType::PTR, false);
        }
        if let Ok(name) = Name::from_ascii(word).and_then(|name| name.append_domain(&domain)) {
            gate.ask_for(&name, RecordType::A, false);
            gate.ask_for(&name, RecordType::AAAA, false);
        }
    }
});
