//! Crowds: tunnels that wait, clients that never finish their request, and tunnels that come and go with resets. What
//! they take is told in the test's output, others are served all the while, and everything is given back.
//!
//! `SEKISHO_CROWDS=long` has the numbers of docs/performance.md. It wants `ulimit -n 22000`; with less there are fewer
//! tunnels.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::rr::RecordType;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::support::{Ask, Gate, PATIENCE, Setup, Upstream, clock, ipv4_of};

/// Descriptors that may have come to stay: the pipes that the relay keeps for later, and a few of DNS.
const KEPT: usize = 2 * 64 + 16;

/// Descriptors of a test besides those of tunnels, and those that a gate keeps back from them.
const SPARE: usize = 1200;

/// Bytes that make a direction bulk, which then has a pipe.
const BULK: usize = 300_000;

/// Descriptors that this process and the gate may have; as many as can be had.
fn files() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    usize::try_from(hard).unwrap()
}

/// So many of each; fewer on a machine that has other tests to run.
fn crowd(short: usize, long: usize) -> usize {
    let is_long = std::env::var("SEKISHO_CROWDS").is_ok_and(|value| value == "long");
    if is_long { long } else { short }
}

/// A gate, and an origin that echoes.
struct Home {
    runtime: Runtime,
    gate: Gate,
    target: String,
    _upstream: Upstream,
}

/// What the gate holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory_kib: usize,
    files: usize,
    pipes: usize,
}

impl Home {
    fn new(change: impl Fn(Setup) -> Setup) -> Self {
        let upstream = Upstream::start();
        upstream.addresses("www.origin.example", &["127.0.0.1"]);
        let setup = Setup::new(&upstream)
            .set("proxy.max-sessions", "20000")
            .set("proxy.max-sessions-per-client", "20000")
            .set("log.level", r#""info""#);
        let gate = Gate::start(&change(setup));
        let runtime = Runtime::new().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.block_on(listener).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(echo(listener));
        let home = Self {
            runtime,
            gate,
            target: format!("www.origin.example:{port}"),
            _upstream: upstream,
        };
        // What is made at first use is not the crowd's.
        for _ in 0..20 {
            home.is_served();
        }
        home
    }

    /// Opens tunnels, 16 at once, and gives each a turn of `use_it`; what that left of them.
    fn tunnels<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        count: usize,
        use_it: impl Fn(usize, TcpStream, Arc<str>) -> F + Copy + Send + 'static,
    ) -> Vec<T> {
        let (gate, head) = (self.gate.addr("http"), self.head());
        self.runtime.block_on(async move {
            let mut under_way = JoinSet::new();
            let mut done = Vec::new();
            for number in 0..count {
                let head = Arc::clone(&head);
                under_way.spawn(async move {
                    let stream = TcpStream::connect(gate).await.unwrap();
                    use_it(number, stream, head).await
                });
                if under_way.len() >= 16 {
                    done.push(under_way.join_next().await.unwrap().unwrap());
                }
            }
            done.extend(under_way.join_all().await);
            done
        })
    }

    fn head(&self) -> Arc<str> {
        let target = &self.target;
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").into()
    }

    /// A DNS question is answered and a new session carries bytes both ways.
    fn is_served(&self) {
        let answer = Ask::new("www.origin.example", RecordType::A).udp(&self.gate);
        assert_eq!(ipv4_of(&answer).len(), 1, "{answer:?}");
        self.tunnels(1, async |_, mut stream, head| {
            open(&mut stream, &head).await.unwrap();
            exchange(&mut stream, 5).await.unwrap();
        });
    }

    fn held(&self) -> Held {
        let links = fs::read_dir(self.gate.descriptors()).expect("the program is there");
        let links = links.flatten().map(|entry| fs::read_link(entry.path()));
        let names: Vec<_> = links.flatten().collect();
        let is_pipe = |name: &&std::path::PathBuf| name.to_string_lossy().starts_with("pipe:");
        Held {
            memory_kib: self.gate.status("VmRSS"),
            files: names.len(),
            pipes: names.iter().filter(is_pipe).count() / 2,
        }
    }

    /// Waits until no session is left and the descriptors are given back; what is held then.
    fn given_back(&self, before: Held) -> Held {
        self.gate.wait_for_metric("sekisho_sessions_active ", 0.0);
        let begun = clock();
        loop {
            let after = self.held();
            if after.files <= before.files + KEPT {
                assert!(after.pipes <= before.pipes + 64, "{after:?}");
                return after;
            }
            assert!(begun.elapsed() < PATIENCE, "{before:?} -> {after:?}");
        }
    }
}

/// Sends back what comes; a connection whose first byte is R is reset after the first bytes.
async fn echo(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut buffer = vec![0; 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                if buffer.starts_with(b"R") {
                    reset(stream);
                    return;
                }
                if length == buffer.len() && buffer.len() < 65_536 {
                    buffer.resize(65_536, 0);
                }
                let Some(bytes) = buffer.get(..length) else {
                    return;
                };
                if stream.write_all(bytes).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn reset(stream: TcpStream) {
    stream.set_zero_linger().ok();
    drop(stream);
}

/// Opens a tunnel on a connection to the gate.
async fn open(stream: &mut TcpStream, head: &str) -> io::Result<()> {
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    Ok(())
}

/// Sends bytes through a tunnel and reads them back.
async fn exchange(stream: &mut TcpStream, length: usize) -> io::Result<()> {
    let mut back = vec![0; length];
    let (mut reader, mut writer) = stream.split();
    let sent = vec![b'x'; length];
    tokio::try_join!(reader.read_exact(&mut back), writer.write_all(&sent))?;
    assert!(back == sent, "the bytes came back changed");
    Ok(())
}

#[test]
fn waiting_tunnels_take_little_and_give_it_back() {
    let most = files().saturating_sub(SPARE) / 2;
    let home = Home::new(|setup| setup);
    let count = crowd(1_000, 10_000).min(most);
    let before = home.held();
    let waiting = home.tunnels(count, async |_, mut stream, head| {
        open(&mut stream, &head).await.unwrap();
        exchange(&mut stream, 512).await.unwrap();
        stream
    });
    let with = home.held();
    assert_eq!(home.gate.metric("sekisho_sessions_active "), count as f64);
    assert_eq!(with.pipes, before.pipes, "a tunnel that waits has no pipe");
    home.is_served();
    drop(waiting);
    let after = home.given_back(before);
    let each = (with.memory_kib - before.memory_kib) as f64 / count as f64;
    println!("{count} waiting tunnels, {each:.2} KiB each: {before:?} -> {with:?} -> {after:?}");
    assert!(each < 10.0, "{each} KiB for each");
}

#[test]
fn clients_that_never_finish_their_request_keep_nobody_out_and_are_hung_up_on() {
    files();
    let home = Home::new(|setup| setup.set("proxy.sniff-timeout", r#""3s""#));
    let count = crowd(400, 2_000);
    let before = home.held();
    let (http, tls) = (home.gate.addr("http"), home.gate.addr("tls"));
    let slow = async move |to: SocketAddr, beginning: &'static [u8]| {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        stream
    };
    let mut clients = home.runtime.block_on(async {
        let mut clients = Vec::new();
        for number in 0..count {
            clients.push(match number % 2 {
                0 => slow(http, b"GET http://www.origin.example/ HTTP/1.1\r\nX-Slow: ").await,
                _ => slow(tls, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await,
            });
        }
        clients
    });
    let with = home.held();
    let mut served = 0;
    let begun = clock();
    while !clients.is_empty() {
        home.is_served();
        served += 1;
        // A byte from each: what they say never ends, and is not silence.
        clients.retain(|client| {
            let mut answer = [0; 64];
            let open = matches!(client.try_read(&mut answer), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            open && client.try_write(b"x").is_ok()
        });
        assert!(
            begun.elapsed() < 3 * PATIENCE,
            "{} are still there",
            clients.len()
        );
    }
    let after = home.given_back(before);
    let each = with.memory_kib.saturating_sub(before.memory_kib) as f64 / count as f64;
    println!(
        "{count} slow clients, {each:.2} KiB each, {served} sessions and questions served beside them: {before:?} -> {with:?} -> {after:?}"
    );
}

#[test]
fn tunnels_that_come_and_go_with_resets_leave_nothing() {
    files();
    // A third of the tunnels: a place that is not given back is soon missed.
    let home = Home::new(|setup| setup.set("proxy.max-sessions-per-client", "1000"));
    let count = crowd(3_000, 60_000);
    let rounds = 10;
    let before = home.held();
    let mut held = Vec::new();
    let begun = clock();
    for _ in 0..rounds {
        home.tunnels(count / rounds, async |number, mut stream, head| {
            match number % 8 {
                // Before the request, in the midst of it, and while the origin is dialed.
                0 => return reset(stream),
                1 => {
                    stream.write_all(b"CONNECT www.orig").await.unwrap();
                    return reset(stream);
                }
                2 => {
                    stream.write_all(head.as_bytes()).await.unwrap();
                    return reset(stream);
                }
                _ => open(&mut stream, &head).await.unwrap(),
            }
            match number % 8 {
                3 => reset(stream),
                // The origin resets.
                4 => {
                    stream.write_all(b"R").await.unwrap();
                    let error = stream.read_u8().await.expect_err("a reset");
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                }
                // In the midst of bulk.
                5 => {
                    exchange(&mut stream, BULK).await.unwrap();
                    stream.write_all(&vec![b'x'; BULK]).await.unwrap();
                    reset(stream);
                }
                6 => {
                    exchange(&mut stream, 1024).await.unwrap();
                    reset(stream);
                }
                _ => {
                    exchange(&mut stream, 1024).await.unwrap();
                    stream.shutdown().await.unwrap();
                    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
                }
            }
        });
        home.is_served();
        held.push(home.held().memory_kib);
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    let after = home.given_back(before);
    println!(
        "{count} tunnels, {rate:.0} a second: {before:?} -> {after:?}; VmRSS by tenths {held:?} KiB"
    );
    // The first tenths fill the allocator and the pool of pipes.
    assert!(
        after.memory_kib < held[2].max(before.memory_kib) + 16 * 1024,
        "{held:?} KiB"
    );
}
