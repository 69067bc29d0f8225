//! Who gets in, and how all get out.

use super::*;

#[tokio::test]
async fn a_stranger_is_closed_unread() {
    let mut settings = settings();
    settings.networks = Acl::new(["192.0.2.0/24".parse().unwrap()]);
    let gate = Gate::new(settings, []);
    for address in [
        gate.forward().await,
        gate.tls().await,
        gate.plain(None).await,
    ] {
        assert_eq!(exchange(address, "GET / HTTP/1.1\r\n\r\n").await, "");
    }
    gate.counted("sekisho_sessions_refused_total{reason=\"stranger\"} 3")
        .await;
}

#[tokio::test]
async fn a_client_over_its_limit_is_closed_and_let_in_when_another_of_its_sessions_ended() {
    let mut settings = settings();
    settings.proxy.max_sessions_per_client = 1;
    let gate = Gate::new(settings, [("a.example:80", Ok(echo().await))]);
    let address = gate.plain(None).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(head(&mut first).await.unwrap(), request);
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(request.as_bytes()).await.unwrap();
    let refusal = rest(&mut second).await;
    assert!(refusal.starts_with(b"HTTP/1.1 429 "), "{refusal:?}");
    drop(first);
    loop {
        let mut third = TcpStream::connect(address).await.unwrap();
        if third.write_all(request.as_bytes()).await.is_ok() && head(&mut third).await.is_some() {
            break;
        }
    }
    let text = gate.metrics.encode();
    assert!(
        text.contains("refused_total{reason=\"per-client\"}"),
        "{text}"
    );
}

#[tokio::test]
async fn few_are_told_why_at_once_and_the_others_are_reset() {
    let mut settings = settings();
    settings.proxy.max_sessions_per_client = 1;
    let gate = Gate::new(settings, []);
    let address = gate.plain(None).await;
    let _first = TcpStream::connect(address).await.unwrap();
    while gate.proxy.sessions.is_empty() {
        tokio::task::yield_now().await;
    }
    let mut waiting = Vec::new();
    for count in 1..=super::super::TOLD {
        waiting.push(TcpStream::connect(address).await.unwrap());
        while gate.proxy.sessions.len() < 1 + count {
            tokio::task::yield_now().await;
        }
    }
    let mut beyond = TcpStream::connect(address).await.unwrap();
    assert_eq!(rest(&mut beyond).await, b"", "no place to be told");
    for stream in &mut waiting {
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.ok();
    }
    let told = rest(&mut waiting[0]).await;
    assert!(told.starts_with(b"HTTP/1.1 429 "), "{told:?}");
    assert_eq!(exchange(gate.tls().await, "\x16").await, "", "not HTTP");
}

#[tokio::test]
async fn at_the_total_limit_connections_wait_until_one_ends_or_the_limit_is_raised() {
    let mut limits = settings();
    limits.proxy.max_sessions = 1;
    let gate = Gate::new(limits.clone(), [("a.example:80", Ok(echo().await))]);
    let address = gate.plain(None).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    assert!(head(&mut streams[0]).await.is_some());
    let second = tokio::time::timeout(Duration::from_millis(50), head(&mut streams[1])).await;
    assert!(second.is_err());
    drop(streams.remove(0));
    assert!(head(&mut streams[0]).await.is_some());
    limits.proxy.max_sessions = 2;
    let ways = Ways::new([("a.example:80", Ok(echo().await))]);
    gate.proxy.put(limits, Arc::new(ways));
    assert!(head(&mut streams[1]).await.is_some());
}

#[tokio::test]
async fn a_stop_lets_sessions_finish_and_a_cut_ends_and_counts_them() {
    let (web, _heard) = scripted("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let ways = [
        ("a.example:80", Ok(echo().await)),
        ("web.example:80", Ok(web)),
    ];
    let gate = Gate::new(settings(), ways);
    let address = gate.plain(None).await;
    let forward = gate.forward().await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut idle = TcpStream::connect(forward).await.unwrap();
    idle.write_all(b"GET http://web.example/ HTTP/1.1\r\nHost: web.example\r\n\r\n")
        .await
        .unwrap();
    assert!(head(&mut idle).await.is_some());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.is_some());
    gate.proxy.stop();
    rest(&mut idle).await;
    stream.write_all(b"\r\n\r\n").await.unwrap();
    assert!(head(&mut stream).await.is_some());
    let drained = tokio::time::timeout(Duration::from_millis(50), gate.proxy.drained()).await;
    assert!(drained.is_err());
    assert_eq!(gate.proxy.cut(), 1);
    gate.counted("sekisho_sessions_active 0").await;
    assert_eq!(rest(&mut stream).await, b"");
}

#[tokio::test]
async fn a_cut_ends_those_who_have_said_nothing_yet() {
    let gate = Gate::new(settings(), []);
    let mut streams = Vec::new();
    for address in [
        gate.forward().await,
        gate.tls().await,
        gate.plain(None).await,
    ] {
        streams.push(TcpStream::connect(address).await.unwrap());
    }
    while gate.proxy.sessions.len() < 3 {
        tokio::task::yield_now().await;
    }
    gate.proxy.cut();
    for mut stream in streams {
        assert_eq!(rest(&mut stream).await, b"");
    }
    gate.counted("sekisho_sessions_active 0").await;
}
