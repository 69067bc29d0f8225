//! More than is right: connections, questions and files; what is bounded holds, others are served, and all is given back.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;

use crate::support::{
    Ask, Gate, PATIENCE, READY, Reply, Setup, Upstream, clock, connect, dot_client, exchange_udp,
    ipv4_of, request,
};

const IN_FLIGHT: &str = "sekisho_dns_in_flight ";

fn upstream() -> Upstream {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1", "2001:db8::1"]);
    upstream
}

fn is_served(gate: &Gate) {
    let answer = Ask::new("www.example", RecordType::A).udp(gate);
    assert_eq!(ipv4_of(&answer).len(), 1, "{answer:?}");
}

/// A connection from another loopback address, so from another client.
fn connect_from(host: u8, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let local = SocketAddr::from((Ipv4Addr::new(127, 0, 1, host), 0));
    socket.bind(&local.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask_on(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let packet = Ask::new("www.example", RecordType::A).bytes();
    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &packet].concat()).ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn idle_connections_of_one_client_leave_room_for_others_and_are_given_back() {
    let upstream = upstream();
    let setup = Setup::new(&upstream).set("dns.tls", r#"["127.0.0.1:0"]"#);
    let gate = Gate::start(&setup);
    let before = gate.open_files();
    let mut idle: Vec<TcpStream> = (0..1000).map(|_| connect(gate.addr("dns-tcp"))).collect();
    idle.extend((0..500).map(|_| connect(gate.addr("dns-tls"))));
    for host in 1..5 {
        let mut other = connect_from(host, gate.addr("dns-tcp"));
        assert!(ask_on(&mut other).is_some(), "client {host}");
    }
    is_served(&gate);
    assert!(gate.metric("sekisho_dns_connections ") <= 512.0);
    assert!(gate.open_files() < before + 540, "{}", gate.open_files());
    drop(idle);
    gate.wait_for_metric("sekisho_dns_connections ", 0.0);
    let mut again = connect(gate.addr("dns-tcp"));
    assert!(ask_on(&mut again).is_some());
    let mut tls = dot_client(
        connect(gate.addr("dns-tls")),
        &gate.folder().join("state/dns-tls.pem"),
    );
    tls.write_all(&[0]).unwrap();
}

#[test]
fn a_client_that_never_reads_is_given_up_and_holds_no_more_than_its_share() {
    let upstream = upstream();
    let long: Vec<_> = (0..200)
        .map(|n| crate::support::txt("long.example", &format!("{n:0>200}")))
        .collect();
    upstream.say("long.example", RecordType::TXT, Reply::of(long));
    let setup = Setup::new(&upstream).set("dns.tcp-idle-timeout", r#""1s""#);
    let gate = Gate::start(&setup);
    Ask::new("long.example", RecordType::TXT).tcp(&gate);
    let before = gate.status("VmRSS");
    let packet = Ask::new("long.example", RecordType::TXT).bytes();
    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
    let many = [&length[..], &packet].concat().repeat(300);
    let deaf: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = connect(gate.addr("dns-tcp"));
            stream
                .set_write_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            stream.write_all(&many).ok();
            stream
        })
        .collect();
    let mut other = connect_from(9, gate.addr("dns-tcp"));
    assert!(ask_on(&mut other).is_some());
    gate.wait_for_metric("sekisho_dns_connections ", 0.0);
    drop(deaf);
    gate.wait_for_metric(IN_FLIGHT, 0.0);
    let after = gate.status("VmRSS");
    println!("VmRSS {before} -> {after} KiB");
    assert!(after < before + 150 * 1024, "{before} -> {after} KiB");
}

/// Datagrams that the kernel had no room for in the socket that is bound here.
fn kernel_drops(address: SocketAddr) -> u64 {
    let SocketAddr::V4(address) = address else {
        panic!("{address} is not IPv4");
    };
    // The address is written as the machine holds it.
    let host = u32::from_ne_bytes(address.ip().octets());
    let local = format!("{host:08X}:{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    let rows = table.lines().map(|line| line.split_ascii_whitespace());
    // There is one for each loop of the gate.
    let drops: Vec<u64> = rows
        .filter(|row| row.clone().nth(1) == Some(&local))
        .filter_map(|row| row.last()?.parse().ok())
        .collect();
    assert!(!drops.is_empty(), "the sockets' rows");
    drops.iter().sum()
}

#[test]
fn thousands_of_questions_to_silent_servers_are_bounded_for_each_client() {
    let upstream = upstream();
    upstream.otherwise(Reply::silence());
    let setup = Setup::new(&upstream).set("dns.upstream.timeout", r#""1s""#);
    let gate = Gate::start(&setup);
    is_served(&gate);
    let before = (gate.open_files(), gate.status("VmRSS"));
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 2, 1), 0)).unwrap();
    for number in 0..5000 {
        let packet = Ask::new(&format!("n{number}.silent.example"), RecordType::A).bytes();
        socket.send_to(&packet, gate.addr("dns-udp")).unwrap();
    }
    // What is lost now is lost by the kernel, where the flood has filled the socket, and by nothing of ours: unless it has
    // counted the datagram the answer comes, however long the gate works on what stands before it.
    let packet = Ask::new("www.example", RecordType::A).bytes();
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    other.connect(gate.addr("dns-udp")).unwrap();
    let short = Duration::from_millis(20);
    other.set_read_timeout(Some(short)).unwrap();
    let begun = clock();
    let mut lost = kernel_drops(gate.addr("dns-udp"));
    other.send(&packet).unwrap();
    while other.recv(&mut [0; 512]).is_err() {
        assert!(begun.elapsed() < PATIENCE, "the other client is not served");
        let now = kernel_drops(gate.addr("dns-udp"));
        if now > lost {
            assert_eq!(now - lost, 1, "one datagram was sent");
            lost = now;
            other.send(&packet).unwrap();
        }
    }
    assert_eq!(gate.metric("sekisho_dns_overload_total "), 0.0);
    let held = gate.metric(IN_FLIGHT);
    let dropped = gate.metric("sekisho_dns_client_overload_total ");
    println!(
        "{held} held, {dropped} dropped, {} by the kernel, {} files, {} KiB",
        kernel_drops(gate.addr("dns-udp")),
        gate.open_files(),
        gate.status("VmRSS")
    );
    // The other client has its answer a moment before its place is given back.
    assert!(held <= 1025.0, "{held} held");
    gate.wait_for_metric(IN_FLIGHT, 0.0);
    is_served(&gate);
    let begun = clock();
    while gate.open_files() > before.0 + 8 {
        assert!(begun.elapsed() < PATIENCE, "{} files", gate.open_files());
    }
    assert!(gate.status("VmRSS") < before.1 + 100 * 1024);
}

#[test]
fn a_long_question_in_flight_takes_no_more_memory_than_its_name() {
    let upstream = upstream();
    upstream.otherwise(Reply::silence());
    // Long enough that the last is asked before the first has failed.
    let setup = Setup::new(&upstream).set("dns.upstream.timeout", r#""60s""#);
    let gate = Gate::start(&setup);
    is_served(&gate);
    let before = gate.status("VmRSS");
    let mut streams = Vec::new();
    for number in 0..16 {
        let mut stream = connect(gate.addr("dns-tcp"));
        for other in 0..64 {
            let mut packet = Ask::new(&format!("n{number}-{other}.example"), RecordType::A)
                .plain()
                .bytes();
            // An OPT with one option of 60,000 octets.
            packet[11] = 1;
            packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
            packet.extend(60_004_u16.to_be_bytes());
            packet.extend([0xff, 0, 0xea, 0x60]);
            packet.extend(vec![0; 60_000]);
            let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], &packet].concat()).unwrap();
        }
        streams.push(stream);
    }
    gate.wait_for_metric(IN_FLIGHT, 1024.0);
    let after = gate.status("VmRSS");
    println!("1024 held, VmRSS {before} -> {after} KiB");
    // They came with 61 MB.
    assert!(after < before + 64 * 1024, "{before} -> {after} KiB");
    let mut other = connect_from(9, gate.addr("dns-tcp"));
    assert!(ask_on(&mut other).is_some());
}

#[test]
fn with_few_open_files_it_answers_from_what_it_has_and_recovers() {
    let upstream = upstream();
    let setup = Setup::new(&upstream).set("dns.upstream.timeout", r#""500ms""#);
    let gate = Gate::launch_with_files(&setup, 64);
    gate.wait_for_log(READY);
    is_served(&gate);
    let hold: Vec<TcpStream> = (0..200).map(|_| connect(gate.addr("dns-tcp"))).collect();
    for _ in 0..20 {
        // What is known is told without a file.
        is_served(&gate);
        let packet = Ask::new("other.example", RecordType::A).bytes();
        exchange_udp(gate.addr("dns-udp"), &packet, PATIENCE).expect("silence is never an answer");
    }
    drop(hold);
    let begun = clock();
    loop {
        upstream.addresses("later.example", &["192.0.2.7"]);
        let answer = Ask::new("later.example", RecordType::A).udp(&gate);
        if ipv4_of(&answer).len() == 1 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
    }
    let mut stream = connect(gate.addr("dns-tcp"));
    assert!(ask_on(&mut stream).is_some());
    assert!(!gate.log_text().contains("panicked"));
}

#[test]
fn what_a_crash_leaves_in_the_state_folder_is_made_anew_or_told() {
    let upstream = upstream();
    let (chain, key) = crate::support::certificate();
    for (label, files) in [
        (
            "empty key",
            [("dns-tls.pem", chain.as_str()), ("dns-tls.key", "")],
        ),
        (
            "no key",
            [("dns-tls.pem", chain.as_str()), ("dns-tls.new", "half")],
        ),
        (
            "garbage",
            [
                ("dns-tls.pem", "\0\u{1}-----BEGIN"),
                ("dns-tls.key", "-----BEGIN PRIVATE KEY-----\nAA"),
            ],
        ),
        (
            "foreign",
            [
                ("dns-tls.pem", chain.as_str()),
                ("dns-tls.key", &crate::support::certificate().1),
            ],
        ),
        (
            "key only",
            [("dns-tls.key", key.as_str()), ("dns-tls.new", "")],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let state = format!("{:?}", folder.path().display().to_string());
        let setup = Setup::new(&upstream)
            .set("dns.tls", r#"["127.0.0.1:0"]"#)
            .set("state", &state);
        let mut gate = Gate::start(&setup);
        let path = folder.path().join("dns-tls.pem");
        let mut tls = dot_client(connect(gate.addr("dns-tls")), &path);
        tls.write_all(&[0]).unwrap();
        gate.kill();
        let again = Gate::start(&setup);
        let mut tls = dot_client(connect(again.addr("dns-tls")), &path);
        tls.write_all(&[0])
            .unwrap_or_else(|error| panic!("{label}: {error}"));
    }
}

#[test]
fn hosts_files_that_are_no_files_are_passed_over_and_told_once() {
    let upstream = upstream();
    let setup = Setup::new(&upstream).set("dns.hosts", r#"["hosts"]"#);
    let gate = Gate::launch(&setup);
    gate.wait_for_log(READY);
    let path = gate.folder().join("hosts");
    gate.write("hosts", "192.0.2.9 nas.home.arpa\n");
    let is_known = || ipv4_of(&Ask::new("nas.home.arpa", RecordType::A).udp(&gate)).len() == 1;
    let wait = |known: bool| {
        let begun = clock();
        while is_known() != known {
            assert!(begun.elapsed() < PATIENCE, "not followed");
            std::thread::yield_now();
        }
    };
    wait(true);
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    wait(false);
    fs::remove_file(&path).unwrap();
    gate.write("hosts", "192.0.2.9 nas.home.arpa\n");
    wait(true);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("hosts", &path).unwrap();
    wait(false);
    gate.signal(Signal::SIGHUP);
    gate.wait_for_log("reloaded");
    is_served(&gate);
}

#[test]
fn what_strangers_write_reaches_neither_log_nor_terminal_as_it_is() {
    let upstream = upstream();
    upstream.otherwise(Reply::garbage(b"\x84"));
    let gate = Gate::start(&Setup::new(&upstream).set("dns.upstream.timeout", r#""200ms""#));
    for target in [
        "/explain?name=a%1b[31m.example",
        "/explain?name=a%0ainfo.example",
        "/explain?name=%00",
        "/explain?name=a.example%0d%0aX-Evil:%201",
        "/cache/flush?name=a%1b%0a",
    ] {
        let verb = if target.contains("flush") {
            "POST"
        } else {
            "GET"
        };
        let head =
            format!("{verb} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        let answer = request(gate.addr("admin"), head.as_bytes()).expect("an answer");
        assert!(!answer.head.contains("X-Evil"), "{}", answer.head);
        let text = answer.text();
        assert!(
            !text.trim_end().contains(|c: char| c.is_control()),
            "{target}: {text:?}"
        );
    }
    for (host, more, status) in [
        ("127.0.0.1", "Origin: http://evil.example\r\n", 403),
        ("127.0.0.1", "Origin: null\r\n", 403),
        ("evil.example", "", 421),
    ] {
        let head = format!(
            "POST /cache/flush HTTP/1.1\r\nHost: {host}\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = request(gate.addr("admin"), head.as_bytes()).expect("an answer");
        assert_eq!(answer.status, status, "{host} {more}");
    }
    assert!(!gate.log_text().contains('\u{1b}'));
}

#[test]
fn reloads_under_load_lose_no_answer_and_leak_nothing() {
    let upstreams = [upstream(), upstream()];
    let base = |round: usize| {
        let first = &upstreams[round % 2];
        let mut setup = Setup::new(first)
            .set("dns.tls", r#"["127.0.0.1:0"]"#)
            .set("dns.max-queries", &format!("{}", 1000 + round))
            .set("dns.cache.entries", &format!("{}", 10 + round))
            .set("steer.ttl", &format!("\"{}s\"", 1 + round % 60));
        if round.is_multiple_of(3) {
            let zone = "@ 60 IN SOA ns root 1 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.3\nnas 60 IN A 192.0.2.3\n";
            setup = setup.zone("lan.example.zone", zone);
        }
        setup
    };
    let gate = Gate::start(&base(0));
    is_served(&gate);
    let before = (gate.open_files(), gate.status("VmRSS"));
    let (udp, tcp) = (gate.addr("dns-udp"), gate.addr("dns-tcp"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let packet = Ask::new("www.example", RecordType::A).bytes();
    let asked = std::thread::scope(|scope| {
        let load = [false, true].map(|over_tcp| {
            let (stop, packet) = (&stop, &packet);
            scope.spawn(move || {
                let mut count = 0;
                let mut stream = connect_from(3, tcp);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let answer = match over_tcp {
                        true => ask_on(&mut stream),
                        false => exchange_udp(udp, packet, PATIENCE),
                    };
                    let answer = answer.expect("silence is never an answer");
                    let answer = hickory_proto::op::Message::from_vec(&answer).unwrap();
                    assert_eq!(ipv4_of(&answer).len(), 1, "{answer:?}");
                    count += 1;
                }
                count
            })
        });
        let begun = clock();
        let mut round = 0;
        while begun.elapsed() < Duration::from_millis(2500) {
            round += 1;
            gate.reload(&base(round), "reloaded");
        }
        println!("{round} reloads");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        load.map(|thread| thread.join().expect("every answer was right"))
    });
    let begun = clock();
    while gate.open_files() > before.0 + 4 {
        assert!(
            begun.elapsed() < PATIENCE,
            "{} -> {} files",
            before.0,
            gate.open_files()
        );
    }
    let after = gate.status("VmRSS");
    println!(
        "asked {asked:?}, {} -> {} files, VmRSS {} -> {after} KiB",
        before.0,
        gate.open_files(),
        before.1
    );
    assert!(after < before.1 + 48 * 1024);
    assert!(!gate.log_text().contains("panicked"));
}
