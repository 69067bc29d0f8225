//! What is kept of answers, while all that they rest on changes and clients ask as fast as they can: once a change is known
//! to be in force, nobody is told what was before it.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::support::{
    Ask, Gate, Load, PATIENCE, Reply, Setup, Upstream, a, clock, exchange_udp, ipv4_of, request,
    the_long_way,
};

/// How long everything changes.
const LENGTH: Duration = Duration::from_secs(3);
const CLIENTS: usize = 3;
/// How long an answer of the server takes.
const UNDER_WAY: Duration = Duration::from_millis(3);
/// Flushes for each reload.
const FLUSHES: usize = 8;
/// Every so many questions one is for a name that nobody has asked for.
const NEW_NAME: usize = 64;

/// A name whose address changes.
struct Changing {
    owner: &'static str,
    address: fn(usize) -> Ipv4Addr,
    /// The version that is in force for certain.
    known: AtomicUsize,
    /// The last that may be.
    begun: AtomicUsize,
}

impl Changing {
    const fn new(owner: &'static str, address: fn(usize) -> Ipv4Addr) -> Self {
        Self {
            owner,
            address,
            known: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
        }
    }

    /// The next version may be told from now on.
    fn begin(&self) -> usize {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The version that was begun is in force.
    fn is_known(&self) {
        let begun = self.begun.load(Ordering::SeqCst);
        self.known.store(begun, Ordering::SeqCst);
    }

    /// Whether a question that was asked when `known` was in force may have this answer by now.
    fn fits(&self, known: usize, answer: &Message) -> bool {
        let begun = self.begun.load(Ordering::SeqCst);
        let told = ipv4_of(answer);
        (known..=begun).any(|version| told == [(self.address)(version)])
    }

    /// What the gate says of it now, when it is worked out anew. With CD, or it would be kept for the others.
    fn worked_out(&self, gate: &Gate) -> Vec<Ipv4Addr> {
        let ask = Ask::new(self.owner, RecordType::A).checking_disabled();
        let packet = the_long_way(ask.bytes());
        let answer = exchange_udp(gate.addr("dns-udp"), &packet, PATIENCE).expect("an answer");
        ipv4_of(&Message::from_vec(&answer).unwrap())
    }

    /// The version that was begun is told, and known from now on.
    fn is_worked_out(&self, gate: &Gate) {
        let address = (self.address)(self.begun.load(Ordering::SeqCst));
        assert_eq!(self.worked_out(gate), [address], "{}", self.owner);
        self.is_known();
    }
}

fn last_octet(version: usize) -> u8 {
    u8::try_from(1 + version % 250).unwrap()
}

/// All that changes, and who changes it.
struct Names {
    /// A local zone, by reload.
    zone: Changing,
    /// A rule of steering, by the same reload.
    rule: Changing,
    /// A hosts file, which is followed.
    hosts: Changing,
    /// What the server says, and then the cache is flushed.
    world: Changing,
}

static NAMES: Names = Names {
    zone: Changing::new("ns.lab.home.arpa", |version| {
        Ipv4Addr::new(192, 168, 2, last_octet(version))
    }),
    rule: Changing::new("steered.example", |version| match version % 2 {
        0 => Ipv4Addr::new(198, 51, 100, 7),
        _ => Ipv4Addr::LOCALHOST,
    }),
    hosts: Changing::new("tv.home.arpa", |version| {
        Ipv4Addr::new(192, 168, 1, last_octet(version))
    }),
    world: Changing::new("www.example", |version| {
        Ipv4Addr::new(203, 0, 113, last_octet(version))
    }),
};

impl Names {
    fn all(&self) -> [&Changing; 4] {
        [&self.zone, &self.rule, &self.hosts, &self.world]
    }
}

fn setup(upstream: &Upstream, zone: usize, rule: usize) -> Setup {
    let address = (NAMES.zone.address)(zone);
    let zone = format!("$TTL 60\n@ SOA ns admin 1 60 60 60 60\n@ NS ns\nns A {address}\n");
    let steered = match rule % 2 {
        0 => "[]",
        _ => r#"["steered.example"]"#,
    };
    Setup::new(upstream)
        .set("dns.rate-limit", "0")
        .set("dns.hosts", r#"["hosts"]"#)
        .set("steer.always", steered)
        .set("log.level", r#""info""#)
        .zone("lab.home.arpa.zone", &zone)
}

/// What a client remembers of a question.
enum Asked {
    /// Which name, and its version that was in force.
    Changing(&'static Changing, usize),
    /// AAAA, of which there is none.
    Withheld,
    /// A name that does not exist.
    New,
}

impl Asked {
    fn is_answered_by(&self, answer: &Message) -> bool {
        let code = answer.metadata.response_code;
        match self {
            Self::Changing(name, known) => name.fits(*known, answer),
            Self::Withheld => code == ResponseCode::NoError && answer.answers.is_empty(),
            Self::New => code == ResponseCode::NXDomain,
        }
    }
}

/// Asks until it is over; says how many were answered, how many not, and what was wrong.
fn client(
    number: usize,
    gate: &Gate,
    over: &AtomicBool,
    wrong: &Mutex<Vec<String>>,
) -> (u64, usize) {
    let mut packets = Vec::new();
    for name in NAMES.all() {
        let ask = Ask::new(name.owner, RecordType::A);
        // The first two are begun without a task where they are not in the store, the third is not.
        for ask in [ask.clone(), ask.clone().plain(), ask.dnssec_ok()] {
            packets.push((ask.bytes(), Some(name)));
        }
    }
    packets.push((Ask::new("www.example", RecordType::AAAA).bytes(), None));
    let mut load = Load::new(gate.addr("dns-udp"));
    let mut answered = 0;
    let mut round = number;
    loop {
        while load.has_room() && !over.load(Ordering::Relaxed) {
            round += 1;
            if round.is_multiple_of(NEW_NAME) {
                let owner = format!("n{round}.of{number}.nowhere.example");
                load.ask(&Ask::new(&owner, RecordType::A).bytes(), Asked::New);
                continue;
            }
            let (packet, name) = &packets[round % packets.len()];
            let asked = match name {
                Some(name) => Asked::Changing(name, name.known.load(Ordering::SeqCst)),
                None => Asked::Withheld,
            };
            load.ask(packet, asked);
        }
        if load.open() == 0 {
            return (answered, 0);
        }
        let Some((asked, answer)) = load.answer() else {
            return (answered, load.open());
        };
        answered += 1;
        if !asked.is_answered_by(&answer) {
            let known = match asked {
                Asked::Changing(name, known) => Some((known, name.begun.load(Ordering::SeqCst))),
                Asked::Withheld | Asked::New => None,
            };
            wrong.lock().unwrap().push(format!("{known:?}: {answer:?}"));
        }
    }
}

/// Ends the load, also where the test has failed: else it would go on for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the server says of the world at this version. It is under way for a while, so that a flush finds some that are.
fn say(upstream: &Upstream, version: usize) {
    let Changing { owner, address, .. } = NAMES.world;
    let record = a(owner, &address(version).to_string());
    upstream.say(owner, RecordType::A, Reply::of([record]).late(UNDER_WAY));
}

/// The server says something else, and all that is kept of it is forgotten: also what is under way is not kept.
fn change_the_world(gate: &Gate, upstream: &Upstream) {
    let version = NAMES.world.begin();
    say(upstream, version);
    let what = ["?name=www.example", "?suffix=example", ""][version % 3];
    let head = format!(
        "POST /cache/flush{what} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let response = request(gate.addr("admin"), head.as_bytes()).expect("a response");
    assert_eq!(response.status, 200, "{what}");
    NAMES.world.is_known();
}

/// A zone and a rule are others from now on.
fn reload(gate: &Gate, upstream: &Upstream) {
    let (zone, rule) = (NAMES.zone.begin(), NAMES.rule.begin());
    gate.reload(&setup(upstream, zone, rule), "reloaded");
    NAMES.zone.is_worked_out(gate);
    NAMES.rule.is_worked_out(gate);
}

/// A hosts file is another; it is looked at every second.
fn rewrite_hosts(gate: &Gate) {
    let version = NAMES.hosts.begin();
    let address = (NAMES.hosts.address)(version);
    gate.write("hosts", &format!("{address} tv\n"));
    let begun = clock();
    while NAMES.hosts.worked_out(gate) != [address] {
        assert!(begun.elapsed() < PATIENCE, "{address} is not in force");
    }
    NAMES.hosts.is_known();
}

#[test]
fn once_a_change_is_in_force_no_client_is_told_what_was_before_and_no_question_is_lost() {
    let upstream = Upstream::start();
    say(&upstream, 0);
    upstream.addresses(NAMES.rule.owner, &["198.51.100.7"]);
    let gate = Gate::start_in(&setup(&upstream, 0, 0), |folder| {
        let text = format!("{} tv\n", (NAMES.hosts.address)(0));
        std::fs::write(folder.join("hosts"), text).unwrap();
    });
    for name in NAMES.all() {
        name.is_worked_out(&gate);
    }
    let over = AtomicBool::new(false);
    let wrong = Mutex::new(Vec::new());
    let begun = clock();
    let (answered, lost) = thread::scope(|scope| {
        let (gate, over, wrong) = (&gate, &over, &wrong);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || client(number, gate, over, wrong)))
            .collect();
        let ends = Over(over);
        let hosts = scope.spawn(move || {
            while begun.elapsed() < LENGTH {
                rewrite_hosts(gate);
            }
        });
        // A reload reads the hosts file, and a flush forgets what was told of it: in the other half it changes alone.
        while begun.elapsed() < LENGTH / 2 {
            // Not always a reload between two, which makes everything anew.
            for _ in 0..FLUSHES {
                change_the_world(gate, &upstream);
            }
            NAMES.world.is_worked_out(gate);
            reload(gate, &upstream);
        }
        hosts.join().unwrap();
        drop(ends);
        let counts = clients.into_iter().map(|client| client.join().unwrap());
        counts.fold((0, 0), |(answered, lost), (more, less)| {
            (answered + more, lost + less)
        })
    });
    let changes = NAMES
        .all()
        .map(|name| (name.owner, name.begun.load(Ordering::SeqCst)));
    println!("{answered} answers in {:?}, {changes:?}", begun.elapsed());
    let wrong = wrong.into_inner().unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {answered} are wrong, first {}",
        wrong.len(),
        wrong[0]
    );
    assert_eq!(lost, 0, "of {answered}");
    assert!(changes.iter().all(|(_, count)| *count > 0), "{changes:?}");
    assert!(!gate.log_text().contains("panicked"));
}
