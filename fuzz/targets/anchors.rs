//! A file of trust anchors: what is accepted means the same with a comment behind it, and spread over lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho::resolve::TrustAnchors;
use sekisho_fuzz::file;

fuzz_target!(|text: &str| {
    let anchors = match TrustAnchors::load(file(text.as_bytes())) {
        Ok(anchors) => anchors,
        Err(problems) => {
            assert!(!problems.is_empty());
            return;
        }
    };
    let again = TrustAnchors::load(file(format!("{text}\n; the end\n\n").as_bytes()));
    assert_eq!(again, Ok(anchors));
});
