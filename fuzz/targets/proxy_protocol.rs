//! The header by which a proxy in front of us announces its client: whatever part of it arrives first, the outcome is the
//! same; and what was announced is told again in both versions and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho::net::{Beginning, LONGEST_PROXY_HEADER, ProxyVersion, proxy_header};

fuzz_target!(|data: &[u8]| {
    let whole = proxy_header(data);
    for end in 0..data.len().min(512) {
        let part = proxy_header(&data[..end]);
        if part != Beginning::NeedMore {
            assert_eq!(part, whole, "after {end} bytes");
            break;
        }
    }
    let Beginning::Found(announced, length) = whole else {
        return;
    };
    assert!(length <= data.len() && length <= LONGEST_PROXY_HEADER);
    let Some(announced) = announced else {
        return;
    };
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let header = announced.header(version);
        assert_eq!(
            proxy_header(&header),
            Beginning::Found(Some(announced), header.len())
        );
    }
});
