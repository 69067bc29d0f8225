//! Ten thousand questions asked of the gate and of unbound over the same upstream: whatever differs is explained here,
//! or is a fault.

mod client;
mod compare;
mod contract;
mod explained;
mod kinds;
mod wire;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use hickory_proto::rr::RecordType;
use tempfile::TempDir;

use self::client::{Question, Told, ask, ask_over};
use self::compare::{Difference, Part, differences, far};
use self::contract::{Deed, Known, LONGEST};
use self::explained::EXPLAINED;
use self::wire::{A, AA, AAAA, HTTPS, SOA, SVCB};
use self::world::World;
use crate::support::{
    Ask, Daemon, Gate, Setup, Upstream, clock, connect, dot_client, installed, nsd, ports, sign,
    unbound, wait_for,
};

const COUNT: usize = 10_000;

/// nsd with the world, an unbound that resolves it for everybody, and the unbound that is compared with.
struct Servers {
    _daemons: [Daemon; 3],
    _folder: TempDir,
    upstream: SocketAddr,
    oracle: SocketAddr,
}

impl Servers {
    fn start(world: &World) -> Self {
        let folder = TempDir::new().unwrap();
        let here = folder.path();
        let mut files = Vec::new();
        for (zone, text, signed) in &world.zones {
            let file = if zone == "." { "root" } else { zone };
            let origin = zone.trim_end_matches('.');
            fs::write(
                here.join(file),
                format!("$ORIGIN {origin}.\n$TTL 300\n{text}"),
            )
            .unwrap();
            let served = match signed {
                Some(options) => {
                    sign(here, zone, "ECDSAP256SHA256", options);
                    format!("{file}.signed")
                }
                None => file.to_owned(),
            };
            files.push((zone.clone(), served));
        }
        let [authority, upstream, oracle] = ports();
        // Everything that an answer may carry is to be seen, and nothing is to be forgotten meanwhile.
        let options = "module-config: \"iterator\"\n  minimal-responses: no\n  rrset-roundrobin: no\n  \
                       msg-cache-size: 64m\n  rrset-cache-size: 64m\n  num-queries-per-thread: 2048\n  \
                       target-fetch-policy: \"0 0 0 0 0\"\n  max-udp-size: 1232";
        let daemons = [
            nsd(here, authority, &files),
            unbound(here, "upstream", authority, upstream, options),
            unbound(here, "oracle", upstream, oracle, options),
        ];
        let sign_of_life = Ask::new("both.one.zz", RecordType::A);
        for server in [authority, upstream, oracle] {
            wait_for(here, server, &sign_of_life, &["nsd", "upstream", "oracle"]);
        }
        Self {
            _daemons: daemons,
            _folder: folder,
            upstream,
            oracle,
        }
    }

    fn gate(&self) -> Setup {
        Setup::guarded(&Upstream::start())
            // So that there are records of which the gate carries nothing.
            .set("proxy.quic", "[]")
            .upstreams(&[self.upstream])
            .set("dns.upstream.timeout", r#""10s""#)
            .set("log.level", r#""info""#)
    }
}

/// Looks for the explanation of a difference, counts it, and else keeps the difference.
#[derive(Default)]
struct Judge {
    counts: [usize; EXPLAINED.len()],
    faults: Vec<String>,
}

impl Judge {
    fn judge(&mut self, difference: &Difference<'_>) {
        let explained = EXPLAINED.iter().position(|one| (one.fits)(difference));
        match explained {
            Some(at) => self.counts[at] += 1,
            None => self.faults.push(difference.to_string()),
        }
    }

    fn done(self, of: usize) -> [usize; EXPLAINED.len()] {
        let shown = self.faults.iter().take(40).cloned();
        assert!(
            self.faults.is_empty(),
            "{} differences in {of} answers that nothing explains, the first of them:\n{}",
            self.faults.len(),
            shown.collect::<Vec<_>>().join("\n")
        );
        self.counts
    }
}

/// The addresses that decide about steering, and the SOA of each zone, as unbound knows them.
fn known(servers: &Servers, world: &World, questions: &[Question]) -> Known {
    let mut asks = BTreeSet::new();
    for question in questions {
        let name = match question.kind {
            A => &question.name[..],
            HTTPS | SVCB => contract::host(&question.name),
            _ => continue,
        };
        for kind in [A, AAAA] {
            asks.insert((name.to_ascii_lowercase(), kind));
        }
    }
    let questions: Vec<Question> = asks
        .iter()
        .map(|(name, kind)| Question::simple(name, *kind))
        .collect();
    let told = ask(servers.oracle, &questions);
    let addresses = asks
        .into_iter()
        .zip(told)
        .map(|(key, told)| (key, told.whole().clone()));
    let zones = world
        .zones
        .iter()
        .map(|(zone, ..)| Question::simple(&wire::name(zone), SOA));
    let zones = ask(servers.oracle, &zones.collect::<Vec<_>>());
    Known {
        addresses: addresses.collect(),
        zones: zones.iter().filter_map(contract::soa).collect(),
        gate: Ipv4Addr::LOCALHOST,
    }
}

/// Asks once more where the gate had to make a SOA, because on a busy machine the real one did not come in its second.
fn ask_gate(server: SocketAddr, questions: &[Question]) -> Vec<Told> {
    let mut told = ask(server, questions);
    let made = |told: &Told| {
        let mut authorities = told.whole().sections[1].iter();
        authorities.any(|soa| soa.kind == SOA && soa.data.starts_with(&soa.owner))
    };
    let late: Vec<usize> = (0..told.len()).filter(|at| made(&told[*at])).collect();
    assert!(
        late.len() < COUNT / 10,
        "{} SOA records are made up",
        late.len()
    );
    let again: Vec<Question> = late.iter().map(|at| questions[*at].clone()).collect();
    for (at, again) in late.into_iter().zip(ask(server, &again)) {
        told[at] = again;
    }
    told
}

#[test]
fn what_differs_from_unbound_is_explained_and_withholding_does_what_the_contract_says() {
    if !installed(&["nsd", "unbound", "ldns-keygen", "ldns-signzone"]) {
        return;
    }
    let world = World::new();
    let servers = Servers::start(&world);
    let open = Gate::start(&servers.gate().rule("aaaa = \"pass\"\nsteer = \"never\""));
    let closed = Gate::start(&servers.gate());
    let questions = world.questions(COUNT);
    let start = clock();
    let (theirs, open_told, closed_told) = thread::scope(|scope| {
        let questions = &questions;
        let theirs = scope.spawn(|| ask(servers.oracle, questions));
        let [open, closed] = [&open, &closed].map(|gate| {
            let server = gate.addr("dns-udp");
            scope.spawn(move || ask_gate(server, questions))
        });
        let [theirs, open, closed] = [theirs, open, closed].map(|asking| asking.join().unwrap());
        (theirs, open, closed)
    });
    let known = known(&servers, &world, &questions);
    let slack = || u32::try_from(start.elapsed().as_secs()).unwrap() + 1;

    let mut judge = Judge::default();
    for ((question, ours), theirs) in questions.iter().zip(&open_told).zip(&theirs) {
        let found = differences(question, ours, theirs, slack());
        found.iter().for_each(|difference| judge.judge(difference));
        let ede = ours.whole().ede();
        assert!(!matches!(ede, Some(4 | 17)), "{question:?}: {ours:?}");
    }
    for (count, one) in judge.done(COUNT).iter().zip(&EXPLAINED) {
        assert!(*count > 0, "no longer so: {}", one.why);
    }

    let mut judge = Judge::default();
    let mut deeds: BTreeMap<Deed, usize> = BTreeMap::new();
    for ((question, ours), theirs) in questions.iter().zip(&closed_told).zip(&theirs) {
        let (deed, theirs) = known.contract(question, theirs);
        *deeds.entry(deed).or_default() += 1;
        for difference in differences(question, ours, &theirs, slack()) {
            if !(difference.part == Part::Ttl && deed.is_ours() && lasts_briefly(&difference)) {
                judge.judge(&difference);
            }
        }
        let message = ours.whole();
        let ede = message.ede().filter(|code| [4, 17].contains(code));
        if message.edns.is_some() {
            assert_eq!(ede, deed.ede(), "{question:?}: {ours:?}");
        }
        // But for `localhost`, which is not from outside.
        let mut all = message.sections.iter().flatten();
        let none = all.all(|record| record.about() != AAAA);
        assert!(none || message.flags & AA != 0, "{question:?}: {ours:?}");
    }
    judge.done(COUNT);
    assert_eq!(deeds.len(), 6, "{deeds:?}");
    assert!(deeds.values().all(|count| *count > 5), "{deeds:?}");
}

/// Whether what lasts another time than with unbound is only what the gate has made, and that not for too long.
fn lasts_briefly(difference: &Difference<'_>) -> bool {
    let (we, they) = (difference.ours.whole(), difference.theirs.whole());
    let far = far(we, they, difference.slack);
    far.iter().all(|record| {
        let made = record.kind == SOA || record.kind == difference.question.kind;
        made && record.ttl <= LONGEST
    })
}

#[test]
fn over_tcp_and_tls_the_answers_are_those_of_udp() {
    if !installed(&["nsd", "unbound", "ldns-keygen", "ldns-signzone"]) {
        return;
    }
    let world = World::new();
    let servers = Servers::start(&world);
    let gate = Gate::start(&servers.gate().set("dns.tls", r#"["127.0.0.1:0"]"#));
    let questions: Vec<Question> = world.questions(COUNT).into_iter().step_by(8).collect();
    // What the upstream makes of a DNAME the first time lasts no time (see `explained`), and so is not kept.
    ask_gate(gate.addr("dns-udp"), &questions);
    let start = clock();
    let datagrams = ask(gate.addr("dns-udp"), &questions);
    let tcp = ask_over(connect(gate.addr("dns-tcp")), &questions);
    let certificate = gate.folder().join("state/dns-tls.pem");
    let tls = dot_client(connect(gate.addr("dns-tls")), &certificate);
    let tls = ask_over(tls, &questions);
    let slack = u32::try_from(start.elapsed().as_secs()).unwrap() + 1;
    let mut judge = Judge::default();
    for streamed in [&tcp, &tls] {
        for ((question, ours), datagram) in questions.iter().zip(streamed).zip(&datagrams) {
            assert_eq!(ours.whole().ede(), datagram.whole().ede(), "{question:?}");
            let mut whole = datagram.clone();
            whole.first = whole.second.take().unwrap_or(whole.first);
            for difference in differences(question, ours, &whole, slack) {
                match difference.part {
                    // What a datagram goes without first.
                    Part::Beside => {}
                    Part::Ttl if lasts_briefly(&difference) => {}
                    Part::Ttl => judge.judge(&difference),
                    _ => judge.faults.push(difference.to_string()),
                }
            }
        }
    }
    judge.done(2 * questions.len());
}
