//! Bulk through the relay over loopback: copying alone, and copying first and splicing then.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark has no callers, and may stop at the first surprise"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sekisho::relay::Relay;
use sekisho::telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Bytes per session.
const BULK: usize = 16 * 1024 * 1024;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (far, near) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (far.unwrap(), near.unwrap().0)
}

/// One session that carries [`BULK`] bytes to the client.
async fn session(relay: Arc<Relay>) {
    let (mut client, client_near) = pair().await;
    let (mut origin, origin_near) = pair().await;
    let carrier = tokio::spawn(async move {
        let stop = CancellationToken::new();
        relay
            .run(client_near, origin_near, Duration::from_secs(60), &stop)
            .await
    });
    let source = tokio::spawn(async move {
        let chunk = vec![7; 256 * 1024];
        for _ in 0..BULK / chunk.len() {
            origin.write_all(&chunk).await.unwrap();
        }
        origin.shutdown().await.unwrap();
        origin
    });
    let mut buffer = vec![0; 256 * 1024];
    let mut received = 0;
    while received < BULK {
        received += client.read(&mut buffer).await.unwrap();
    }
    client.shutdown().await.unwrap();
    drop(source.await.unwrap());
    assert_eq!(carrier.await.unwrap().received, BULK as u64);
}

fn bulk(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group("relay, 16 MiB");
    group
        .throughput(Throughput::Bytes(BULK as u64))
        .sample_size(10);
    for (name, most_pipes) in [("copy", 0), ("hybrid", 256)] {
        let relay = Arc::new(Relay::with_pipes(Arc::new(Metrics::new()), most_pipes));
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(session(Arc::clone(&relay))));
        });
    }
    group.finish();
}

criterion_group!(benches, bulk);
criterion_main!(benches);
