//! What a SOCKS client says: whatever part of a message arrives first, the outcome is the same, and what we would say
//! of the target is read back as the same target.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use sekisho::net::Host;
use sekisho::proxy::socks5::wire::{
    Greeting, LONGEST_HEADER, Read, datagram, greeting, header, login, request,
};

/// Reads every beginning; how many bytes the message takes, where there is one.
fn read<T: PartialEq + Debug>(data: &[u8], parse: impl Fn(&[u8]) -> Read<T>) -> Option<(T, usize)> {
    let whole = parse(data);
    for end in 0..data.len().min(600) {
        let part = parse(&data[..end]);
        if part != Read::NeedMore {
            assert_eq!(part, whole, "after {end} bytes");
            break;
        }
    }
    match whole {
        Read::Found(found, length) => {
            assert!(length <= data.len(), "more than there is");
            Some((found, length))
        }
        Read::NeedMore | Read::Wrong(_) => None,
    }
}

fuzz_target!(|data: &[u8]| {
    let greeted = read(data, greeting);
    read(data, login);
    let asked = match greeted {
        Some((Greeting::V4(request), _)) => Some(request),
        Some((Greeting::V5(methods), length)) => {
            assert_eq!(length, 2 + methods.len());
            let rest = &data[length..];
            let rest = read(rest, login).map_or(rest, |(_, length)| &rest[length..]);
            read(rest, request).map(|(request, _)| request)
        }
        None => read(data, request).map(|(request, _)| request),
    };
    if let Some(Ok(target)) = asked.map(|request| request.target()) {
        assert_ne!(target.port, 0);
    }
    if let Ok(found) = datagram(data) {
        assert!(found.payload.len() + 7 <= data.len());
        if let Ok(target) = found.target()
            && let Host::Addr(ip) = target.host
        {
            let said = header((ip, target.port).into());
            assert!(said.len() <= LONGEST_HEADER);
            let back = datagram(&said).expect("our own header");
            assert_eq!(back.target().as_ref(), Ok(&target));
        }
    }
});
