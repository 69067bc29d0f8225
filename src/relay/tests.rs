//! Whole sessions over loopback.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// Long enough never to be the reason why a test ends.
const LONG: Duration = Duration::from_secs(600);

/// Longer than any step here takes; a test that waits for ever fails then.
const PATIENCE: Duration = Duration::from_secs(60);

/// As much as is copied before a direction is spliced.
const START: usize = 64 * 1024;

/// More than one pipe, more than one buffer, more than the socket buffers.
const BULK: usize = 32 * 1024 * 1024;

#[expect(clippy::disallowed_methods, reason = "the tests measure paused time")]
fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// A session with both its far ends in hand.
struct Session {
    client: TcpStream,
    origin: TcpStream,
    relay: Arc<Relay>,
    stop: CancellationToken,
    task: JoinHandle<Carried>,
}

impl Session {
    async fn begin(relay: Arc<Relay>, idle: Duration) -> Self {
        let (client, client_near) = pair().await;
        let (origin, origin_near) = pair().await;
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (relay, stop) = (Arc::clone(&relay), stop.clone());
            async move { relay.run(client_near, origin_near, idle, &stop).await }
        });
        Self {
            client,
            origin,
            relay,
            stop,
            task,
        }
    }

    async fn new() -> Self {
        Self::begin(relay(MOST_PIPES), LONG).await
    }
}

fn relay(most_pipes: usize) -> Arc<Relay> {
    Arc::new(Relay::with_pipes(Arc::new(Metrics::new()), most_pipes))
}

/// The future's outcome, or a failed test where it never ends.
async fn within<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, future).await;
    ended.expect("this should have ended by now")
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (far, near) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (far.unwrap(), near.unwrap().0)
}

/// Bytes that show a swap, a loss or a repetition.
fn bytes(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        })
        .collect()
}

/// Reads until what the other end does shows; a reset is an error, an end is none.
async fn read_on(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    within(stream.read_to_end(&mut all)).await.map(|_| all)
}

fn is_reset(result: io::Result<Vec<u8>>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
}

#[tokio::test]
async fn a_client_that_is_done_still_gets_the_answer() {
    let mut session = Session::new().await;
    session.client.write_all(b"question").await.unwrap();
    session.client.shutdown().await.unwrap();
    assert_eq!(read_on(&mut session.origin).await.unwrap(), b"question");
    session.origin.write_all(b"the answer").await.unwrap();
    session.origin.shutdown().await.unwrap();
    assert_eq!(read_on(&mut session.client).await.unwrap(), b"the answer");
    let carried = within(session.task).await.unwrap();
    assert!(matches!(carried.ended, Ended::Closed), "{carried:?}");
    assert_eq!((carried.sent, carried.received), (8, 10));
}

#[tokio::test]
async fn an_origin_that_is_done_still_gets_the_question() {
    let mut session = Session::new().await;
    session.origin.write_all(b"greeting").await.unwrap();
    session.origin.shutdown().await.unwrap();
    assert_eq!(read_on(&mut session.client).await.unwrap(), b"greeting");
    session.client.write_all(b"late").await.unwrap();
    session.client.shutdown().await.unwrap();
    assert_eq!(read_on(&mut session.origin).await.unwrap(), b"late");
    let carried = within(session.task).await.unwrap();
    assert!(matches!(carried.ended, Ended::Closed), "{carried:?}");
    assert_eq!((carried.sent, carried.received), (4, 8));
}

async fn bulk_both_ways(relay: Arc<Relay>) {
    let session = Session::begin(relay, LONG).await;
    let exchange = |stream: TcpStream, seed: u32| {
        let (mut read, mut write) = stream.into_split();
        let sender = tokio::spawn(async move {
            write.write_all(&bytes(BULK, seed)).await.unwrap();
            write.shutdown().await.unwrap();
            write
        });
        let receiver = tokio::spawn(async move {
            let mut all = Vec::new();
            read.read_to_end(&mut all).await.unwrap();
            (all, read)
        });
        async move {
            let (all, read) = within(receiver).await.unwrap();
            let write = within(sender).await.unwrap();
            drop((read, write));
            all
        }
    };
    let (at_client, at_origin) =
        tokio::join!(exchange(session.client, 1), exchange(session.origin, 77));
    assert!(at_origin == bytes(BULK, 1), "the origin got other bytes");
    assert!(at_client == bytes(BULK, 77), "the client got other bytes");
    let carried = within(session.task).await.unwrap();
    assert!(matches!(carried.ended, Ended::Closed), "{carried:?}");
    assert_eq!((carried.sent, carried.received), (BULK as u64, BULK as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_arrives_unchanged_through_pipes_that_come_back() {
    let relay = relay(MOST_PIPES);
    bulk_both_ways(Arc::clone(&relay)).await;
    assert_eq!(relay.metrics.relay_spliced.get(), 2);
    assert_eq!(relay.metrics.relay_without_pipe.get(), 0);
    let (open, free) = relay.pipes.count();
    assert!((1..=2).contains(&open), "{open}");
    assert_eq!(open, free);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_arrives_unchanged_when_no_pipe_is_left_and_that_is_counted() {
    let relay = relay(0);
    bulk_both_ways(Arc::clone(&relay)).await;
    assert_eq!(relay.metrics.relay_spliced.get(), 0);
    assert!(relay.metrics.relay_without_pipe.get() > 0);
    assert_eq!(relay.pipes.count(), (0, 0));
}

#[tokio::test]
async fn a_reset_from_either_side_ends_both_at_once_and_is_passed_on() {
    for by_client in [true, false] {
        let mut session = Session::new().await;
        session.client.write_all(b"x").await.unwrap();
        session.origin.read_exact(&mut [0]).await.unwrap();
        let (breaks, mut sees, side) = if by_client {
            (session.client, session.origin, Side::Client)
        } else {
            (session.origin, session.client, Side::Origin)
        };
        reset(breaks);
        let carried = within(session.task).await.unwrap();
        assert!(
            matches!(&carried.ended, Ended::Broken(whose, _) if *whose == side),
            "{carried:?}"
        );
        assert_eq!((carried.sent, carried.received), (1, 0));
        assert!(is_reset(read_on(&mut sees).await));
    }
}

#[tokio::test]
async fn a_reset_after_half_close_is_noticed_while_the_other_direction_waits() {
    for by_client in [true, false] {
        let session = Session::new().await;
        let (mut breaks, mut sees, side) = if by_client {
            (session.client, session.origin, Side::Client)
        } else {
            (session.origin, session.client, Side::Origin)
        };
        breaks.write_all(b"last words").await.unwrap();
        breaks.shutdown().await.unwrap();
        assert_eq!(read_on(&mut sees).await.unwrap(), b"last words");
        reset(breaks);
        let carried = within(session.task).await.unwrap();
        assert!(
            matches!(&carried.ended, Ended::Broken(whose, _) if *whose == side),
            "{carried:?}"
        );
        within(async {
            while sees.write_all(b"more").await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn what_came_before_a_reset_is_delivered_and_counted() {
    let mut session = Session::new().await;
    let sent = bytes(START * 2, 5);
    session.origin.write_all(&sent).await.unwrap();
    let mut got = vec![0; sent.len()];
    session.client.read_exact(&mut got).await.unwrap();
    assert!(got == sent);
    reset(session.origin);
    let carried = within(session.task).await.unwrap();
    assert!(
        matches!(carried.ended, Ended::Broken(Side::Origin, _)),
        "{carried:?}"
    );
    assert_eq!(carried.received, sent.len() as u64);
}

/// Reads everything up to a reset.
async fn read_to_reset(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let ended = within(stream.read_to_end(&mut all)).await;
    assert!(is_reset(ended.map(|_| Vec::new())), "a clean end");
    all
}

/// Writes until every buffer on the way to the one who does not read is full.
async fn fill(stream: &TcpStream) -> &'static [u8] {
    static ALL: LazyLock<Vec<u8>> = LazyLock::new(|| bytes(64 * 1024 * 1024, 3));
    let all = ALL.as_slice();
    let (mut written, mut refused) = (0, 0);
    // Loopback delivers within the call, so that many turns of the one thread without room mean that there is none.
    while refused < 2000 {
        match stream.try_write(&all[written..]) {
            Ok(length) => (written, refused) = (written + length, 0),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                refused += 1;
            }
        }
        assert!(written < all.len(), "nothing held the sender back");
        tokio::task::yield_now().await;
    }
    &all[..written]
}

/// What is still in the sender's own socket when it resets is lost to everyone; the rest is not.
#[tokio::test]
async fn a_slow_side_gets_all_that_the_other_had_sent_and_then_its_reset() {
    for by_client in [true, false] {
        for most_pipes in [0, MOST_PIPES] {
            let session = Session::begin(relay(most_pipes), LONG).await;
            let (breaks, mut slow, side) = if by_client {
                (session.client, session.origin, Side::Client)
            } else {
                (session.origin, session.client, Side::Origin)
            };
            let sent = fill(&breaks).await;
            let lost = unacknowledged(&breaks);
            reset(breaks);
            tokio::task::yield_now().await;
            let got = read_to_reset(&mut slow).await;
            assert!(sent.starts_with(&got), "other bytes");
            // Counted with the kernel's overhead, so that this is a bound.
            assert!(
                got.len() + lost as usize >= sent.len(),
                "{} of {}, {lost} lost",
                got.len(),
                sent.len()
            );
            let carried = within(session.task).await.unwrap();
            assert!(
                matches!(&carried.ended, Ended::Broken(whose, _) if *whose == side),
                "{carried:?}"
            );
            assert_eq!(carried.sent + carried.received, got.len() as u64);
        }
    }
}

#[tokio::test]
async fn an_answer_is_delivered_although_its_origin_refuses_the_rest_of_the_question() {
    let answer = bytes(START, 5);
    // Which direction looks first is left to chance.
    for _ in 0..20 {
        let mut session = Session::new().await;
        session.client.write_all(b"question").await.unwrap();
        within(session.origin.read_exact(&mut [0; 8]))
            .await
            .unwrap();
        session.origin.write_all(&answer).await.unwrap();
        session.client.write_all(&[7; 4096]).await.unwrap();
        reset(session.origin);
        assert!(read_to_reset(&mut session.client).await == answer);
        let carried = within(session.task).await.unwrap();
        assert!(
            matches!(carried.ended, Ended::Broken(Side::Origin, _)),
            "{carried:?}"
        );
    }
}

#[tokio::test]
async fn a_whole_answer_survives_that_its_origin_is_gone_when_the_client_reads_it() {
    let mut session = Session::new().await;
    let answer = bytes(2 * START, 5);
    session.origin.write_all(&answer).await.unwrap();
    session.origin.shutdown().await.unwrap();
    within(async { while session.client.peek(&mut [0]).await.unwrap() == 0 {} }).await;
    reset(session.origin);
    // Its end was told before, so the client may see that or the reset.
    let mut all = Vec::new();
    within(session.client.read_to_end(&mut all)).await.ok();
    assert!(all == answer, "{} bytes", all.len());
    within(session.task).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_side_that_takes_nothing_of_its_last_bytes_does_not_hold_the_session_for_long() {
    let session = Session::new().await;
    fill(&session.origin).await;
    let begun = now();
    reset(session.origin);
    let carried = session.task.await.unwrap();
    assert!(
        matches!(carried.ended, Ended::Broken(Side::Origin, _) | Ended::Idle),
        "{carried:?}"
    );
    assert!(
        begun.elapsed() <= LONG * 9 / 8 + SETTLE,
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_message_is_read_with_one_call() {
    let (mut far, near) = pair().await;
    let (_far, to) = pair().await;
    let carried = AtomicU64::new(0);
    let direction = Direction::up(&near, &to, &carried);
    for message in [&b"one"[..], b"another"] {
        far.write_all(message).await.unwrap();
        within(near.readable()).await.unwrap();
        assert_eq!(
            copy::read_and_write(&direction.ends, None).unwrap(),
            copy::Copied::All(message.len())
        );
        let more = tokio::time::timeout(Duration::ZERO, near.readable()).await;
        assert!(more.is_err(), "looked ready although it is empty");
    }
    far.shutdown().await.unwrap();
    within(near.readable()).await.unwrap();
    assert_eq!(
        copy::read_and_write(&direction.ends, None).unwrap(),
        copy::Copied::End
    );
}

#[tokio::test]
async fn a_flow_of_small_messages_is_copied_however_long_it_lasts() {
    let relay = relay(0);
    let mut session = Session::begin(Arc::clone(&relay), LONG).await;
    let mut got = vec![0; 2 * START];
    session
        .client
        .write_all(&bytes(got.len(), 9))
        .await
        .unwrap();
    within(session.origin.read_exact(&mut got)).await.unwrap();
    let before = relay.metrics.relay_without_pipe.get();
    for _ in 0..100 {
        session.client.write_all(b"a message").await.unwrap();
        within(session.origin.read_exact(&mut got[..9]))
            .await
            .unwrap();
    }
    let asked = relay.metrics.relay_without_pipe.get() - before;
    assert!(asked <= 1, "{asked} pipes wanted");
    // And bulk gets its pipe again.
    session
        .client
        .write_all(&bytes(got.len(), 9))
        .await
        .unwrap();
    within(session.origin.read_exact(&mut got)).await.unwrap();
    session
        .client
        .write_all(&bytes(got.len(), 9))
        .await
        .unwrap();
    within(session.origin.read_exact(&mut got)).await.unwrap();
    assert!(relay.metrics.relay_without_pipe.get() > before + asked);
}

#[tokio::test(start_paused = true)]
async fn silence_in_both_directions_ends_the_session() {
    let idle = Duration::from_secs(60);
    let begun = now();
    let mut session = Session::begin(relay(MOST_PIPES), idle).await;
    let carried = session.task.await.unwrap();
    assert!(matches!(carried.ended, Ended::Idle), "{carried:?}");
    let lasted = begun.elapsed();
    assert!(
        lasted >= idle && lasted <= idle * 9 / 8 + idle / 60,
        "{lasted:?}"
    );
    assert!(is_reset(read_on(&mut session.client).await));
    assert!(is_reset(read_on(&mut session.origin).await));
}

#[tokio::test(start_paused = true)]
async fn bytes_in_either_direction_put_the_silence_off() {
    let idle = Duration::from_secs(80);
    let carried = AtomicU64::new(0);
    let silence = silence(idle, || carried.load(Ordering::Relaxed), || ());
    tokio::pin!(silence);
    let begun = now();
    for _ in 0..10 {
        carried.fetch_add(1, Ordering::Relaxed);
        let pause = tokio::time::sleep(Duration::from_secs(70));
        tokio::select! {
            () = &mut silence => panic!("ended although bytes moved"),
            () = pause => {}
        }
    }
    silence.await;
    let quiet = begun.elapsed().saturating_sub(Duration::from_secs(9 * 70));
    assert!(quiet >= idle && quiet <= idle * 9 / 8, "{quiet:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_lasts_asks_whether_its_origin_is_there() {
    let (client, _far_client) = pair().await;
    let (origin, _far_origin) = pair().await;
    let asks = SockRef::from(&origin).try_clone().unwrap();
    let stop = CancellationToken::new();
    let relay = relay(MOST_PIPES);
    let session = relay.run(client, origin, LONG, &stop);
    tokio::pin!(session);
    tokio::select! {
        _ = &mut session => panic!("ended"),
        () = tokio::time::sleep(FIRST_LOOK / 2) => assert!(!asks.keepalive().unwrap()),
    }
    tokio::select! {
        _ = &mut session => panic!("ended"),
        () = tokio::time::sleep(FIRST_LOOK) => assert!(asks.keepalive().unwrap()),
    }
}

#[tokio::test]
async fn the_token_cuts_and_both_sides_see_a_reset() {
    let mut session = Session::new().await;
    session.client.write_all(b"abc").await.unwrap();
    session.origin.read_exact(&mut [0; 3]).await.unwrap();
    session.stop.cancel();
    let carried = within(session.task).await.unwrap();
    assert!(matches!(carried.ended, Ended::Cut), "{carried:?}");
    assert_eq!((carried.sent, carried.received), (3, 0));
    assert!(is_reset(read_on(&mut session.client).await));
    assert!(is_reset(read_on(&mut session.origin).await));
}

#[tokio::test]
async fn a_slow_reader_holds_the_sender_back_and_a_dirty_pipe_is_not_kept() {
    let session = Session::new().await;
    let written = fill(&session.origin).await.len();
    assert_eq!(session.relay.pipes.count(), (1, 0), "one pipe, in use");
    session.stop.cancel();
    let carried = within(session.task).await.unwrap();
    assert!(carried.received < written as u64);
    assert_eq!(session.relay.pipes.count(), (0, 0), "closed, not kept");
}

#[tokio::test]
async fn an_idle_session_holds_no_pipe() {
    let mut session = Session::new().await;
    let mut got = vec![0; START];
    for _ in 0..4 {
        session
            .client
            .write_all(&bytes(got.len(), 9))
            .await
            .unwrap();
        session.origin.read_exact(&mut got).await.unwrap();
    }
    // On one thread the relay has gone back to waiting when it lets this test run again.
    within(async {
        while session.relay.pipes.count() != (1, 1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(session.relay.metrics.relay_spliced.get(), 1);
    session.client.write_all(b"again").await.unwrap();
    session.origin.read_exact(&mut [0; 5]).await.unwrap();
    assert!(!session.task.is_finished());
}

#[tokio::test]
async fn a_waiting_session_takes_little_memory() {
    let relay = relay(MOST_PIPES);
    let (client, _far_client) = pair().await;
    let (origin, _far_origin) = pair().await;
    let stop = CancellationToken::new();
    let session = relay.run(client, origin, LONG, &stop);
    assert!(size_of_val(&session) <= 2048, "{}", size_of_val(&session));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_bulk_sessions_share_few_pipes() {
    let relay = relay(2);
    let mut sessions = Vec::new();
    for seed in 1..=6 {
        let Session {
            mut client,
            mut origin,
            task,
            ..
        } = Session::begin(Arc::clone(&relay), LONG).await;
        sessions.push(tokio::spawn(async move {
            let sent = bytes(2 * 1024 * 1024, seed);
            let (all, ()) = tokio::join!(read_on(&mut origin), async {
                client.write_all(&sent).await.unwrap();
                client.shutdown().await.unwrap();
            });
            assert!(all.unwrap() == sent);
            drop((client, origin));
            task.await.unwrap()
        }));
    }
    for session in sessions {
        assert_eq!(within(session).await.unwrap().sent, 2 * 1024 * 1024);
    }
    let (open, free) = relay.pipes.count();
    assert!(open <= 2 && open == free, "{open} {free}");
}
