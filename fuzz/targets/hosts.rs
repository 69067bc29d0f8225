//! A hosts file: what it says is answered, and nothing that it does not say.
#![no_main]

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::LazyLock;

use hickory_proto::rr::{Name, RecordType};
use libfuzzer_sys::fuzz_target;
use sekisho::dns::{HostNames, Local, Zones};
use sekisho::resolve::ResolveError;
use sekisho_fuzz::{Gate, Steered, words};

/// The domain, and what a gate answers from beside what it follows: nothing.
static HOME: LazyLock<(Name, Local, Gate)> = LazyLock::new(|| {
    let domain = Name::from_ascii("home.arpa.").expect("a name");
    let local = Local::new(Zones::default(), domain.clone(), true);
    let silent = Box::new(|_: &_| Err(ResolveError::Timeout));
    let gate = Gate::new(Steered::No, local.clone(), silent);
    (domain, local, gate)
});

fuzz_target!(|bytes: &[u8]| {
    let (domain, local, gate) = &*HOME;
    let files = [("hosts".into(), bytes.to_vec())];
    let (names, problems) = HostNames::read(&files, local.zones(), domain);
    assert!(problems.len() <= 51);
    let count = names.len();
    assert_eq!(names.is_empty(), count == 0);
    local.follow_hosts(names);
    let text = String::from_utf8_lossy(bytes);
    // Addresses may be written with a scope.
    let written = words(&text).flat_map(|word| [word, word.split('%').next().unwrap_or_default()]);
    let written: HashSet<IpAddr> = written.filter_map(|word| word.parse().ok()).collect();
    let mut seen = HashSet::new();
    for word in words(&text).filter(|word| seen.insert(*word)).take(24) {
        if let Ok(address) = word.parse::<IpAddr>() {
            gate.ask_for(&address.into(), RecordType::PTR, false);
        }
        for end in ["", "home.arpa."] {
            let Ok(name) = Name::from_ascii(word.trim_end_matches('.'))
                .and_then(|name| name.append_domain(&Name::from_ascii(end)?))
            else {
                continue;
            };
            for record_type in [RecordType::A, RecordType::AAAA] {
                let Some(told) = gate.ask_for(&name, record_type, false) else {
                    continue;
                };
                for record in &told.message.answers {
                    let address = record.data.ip_addr().expect("an address");
                    let ours = [
                        "192.168.1.2",
                        "127.0.0.1",
                        "::1",
                        "192.0.0.170",
                        "192.0.0.171",
                    ];
                    let known = written.contains(&address)
                        || ours.iter().any(|own| own.parse() == Ok(address));
                    assert!(known, "{}", told.message);
                }
            }
        }
    }
});
