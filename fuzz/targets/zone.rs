//! A zone file: what loads answers every question about the names that are written in it.
#![no_main]

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use libfuzzer_sys::fuzz_target;
use sekisho::dns::Zones;
use sekisho::resolve::ResolveError;
use sekisho_fuzz::{Gate, Steered, words};

fuzz_target!(|text: &str| {
    let zones = match Zones::from_text(&[("home.arpa", text)]) {
        Ok(zones) => zones,
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let lines = text.lines().count() + 1;
                assert!(
                    problem.line.is_none_or(|line| (1..=lines).contains(&line)),
                    "{problem}"
                );
            }
            return;
        }
    };
    let apex = Name::from_ascii("home.arpa.").expect("a name");
    let gate = Gate::new(
        Steered::All,
        zones,
        Box::new(|_| Err(ResolveError::Timeout)),
    );
    let soa = gate.ask_for(&apex, RecordType::SOA, false).expect("a name");
    assert_eq!(soa.message.metadata.response_code, ResponseCode::NoError);
    assert!(soa.message.metadata.authoritative && soa.message.answers.len() == 1);
    for word in words(text).take(24) {
        let Ok(name) = Name::from_ascii(word) else {
            continue;
        };
        let name = match name.is_fqdn() {
            true => name,
            false => match name.append_domain(&apex) {
                Ok(name) => name,
                Err(_) => continue,
            },
        };
        for record_type in [
            RecordType::A,
            RecordType::AAAA,
            RecordType::ANY,
            RecordType::SRV,
            RecordType::PTR,
        ] {
            let told = gate.ask_for(&name, record_type, true);
            if let Some(told) = told
                && apex.zone_of(&name)
            {
                for record in &told.message.authorities {
                    assert!(apex.zone_of(&record.name), "{}", told.message);
                }
            }
        }
    }
});
