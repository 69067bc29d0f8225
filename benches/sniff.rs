//! How long it takes to find the host in the first bytes of a session.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sekisho::proxy::sniff::{http, tls};

const CHROMIUM: &[u8] = include_bytes!("../tests/captures/chromium.bin");
const CURL: &[u8] = include_bytes!("../tests/captures/curl.bin");
const REQUEST: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: video.example\r\nUser-Agent: bench\r\n\
    Accept: */*\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n";

fn sniff(criterion: &mut Criterion) {
    for (name, hello) in [("chromium", CHROMIUM), ("curl", CURL)] {
        criterion.bench_function(&format!("sniff/tls/{name}"), |bencher| {
            bencher.iter(|| tls::sniff(black_box(hello)));
        });
    }
    criterion.bench_function("sniff/http", |bencher| {
        bencher.iter(|| http::sniff(black_box(REQUEST), 80));
    });
}

criterion_group!(benches, sniff);
criterion_main!(benches);
