//! From one packet to another, the long way with the truth at hand as from a warm cache: a real A, a withheld AAAA, a steered
//! A; and from a local zone of 100,000 names, where a name that is not there costs what one costs that is, and a hosts
//! file. The same from answers that were finished before, and a server's message read in place. Then how long such a zone
//! and such a hosts file take to load.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use criterion::{Criterion, criterion_group, criterion_main};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use sekisho::config::Config;
use sekisho::dns::{Handler, HostNames, Local, Transport, Truth, View, Zones};
use sekisho::net::{ClientAddr, Interfaces};
use sekisho::resolve::cache::Cache;
use sekisho::resolve::{Answer, Life, Question, ResolveError, Simple};
use sekisho::steer::{Lists, Steering};
use sekisho::telemetry::Metrics;

/// How many names the zone and the hosts file have.
const NAMES: u32 = 100_000;

/// Every name under `both` has both families, every other has AAAA only.
struct Warm {
    both: Name,
    soa: Record,
    /// Where answers are kept that were finished.
    kept: Option<ArcSwap<Cache>>,
}

impl Truth for Warm {
    async fn lookup(&self, question: &Question) -> Result<Answer, ResolveError> {
        let mut answer = Answer {
            rcode: ResponseCode::NoError,
            authentic: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            extended_errors: Vec::new(),
        };
        let data = match question.record_type {
            RecordType::A if self.both.zone_of(&question.name) => "192.0.2.1",
            RecordType::AAAA => "2001:db8::1",
            RecordType::SOA => {
                answer.answers.push(self.soa.clone());
                return Ok(answer);
            }
            _ => {
                answer.authorities.push(self.soa.clone());
                return Ok(answer);
            }
        };
        if let Ok(data) = RData::try_from_str(question.record_type, data) {
            let record = Record::from_rdata(question.name.clone(), 300, data);
            answer.answers.push(record);
        }
        Ok(answer)
    }

    fn life(&self, _question: &Question) -> Option<Life> {
        Some(Life::MAX)
    }

    fn kept(&self) -> Option<Guard<Arc<Cache>>> {
        self.kept.as_ref().map(ArcSwap::load)
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn config() -> Config {
    let text = "[lan]\naddress = \"127.0.0.1\"\nnetworks = [\"192.168.1.0/24\"]\n";
    Config::parse(
        text,
        None,
        &Interfaces::default(),
        "nameserver 192.0.2.53\n",
    )
    .expect("a good configuration")
}

fn handler(keeps: bool) -> Handler<Warm> {
    let config = config();
    let zones = Zones::from_text(&[("home.arpa", &large_zone())]).expect("a good zone");
    let (hosts, _) = HostNames::read(&[large_hosts()], &zones, &config.lan.domain);
    let local = Local::new(zones, config.lan.domain.clone(), true);
    local.follow_hosts(hosts);
    let soa = RData::try_from_str(
        RecordType::SOA,
        "ns.example. admin.example. 7 3600 600 86400 900",
    )
    .expect("a SOA");
    let warm = Warm {
        both: name("both.example."),
        soa: Record::from_rdata(name("example."), 300, soa),
        kept: keeps.then(|| ArcSwap::from_pointee(Cache::new(config.dns.cache))),
    };
    let steering = Arc::new(Steering::new(&config, Lists::default()));
    let view = View::new(&config, local, steering, Arc::new(warm));
    Handler::new(view, Arc::new(Metrics::new()))
}

fn large_zone() -> String {
    let mut text = String::from(
        "$TTL 1h\n@ SOA gate hostmaster 1 1h 15m 1w 1m\n@ NS gate\ngate A 192.168.1.2\n",
    );
    for host in 0..NAMES {
        let [_, b, c, d] = host.to_be_bytes();
        writeln!(text, "h{host} A 10.{b}.{c}.{d}").expect("memory");
    }
    text
}

fn large_hosts() -> (PathBuf, Vec<u8>) {
    let mut text = String::new();
    for host in 0..NAMES {
        writeln!(text, "0.0.0.0 ad{host}.example.com").expect("memory");
    }
    ("hosts".into(), text.into())
}

fn packet(owner: &str, record_type: RecordType) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(owner), record_type));
    message.to_vec().expect("a packet")
}

fn answer(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let client = ClientAddr::new(SocketAddr::from(([192, 168, 1, 50], 5353)));
    for (way, keeps) in [("answer", false), ("answer told again", true)] {
        let handler = handler(keeps);
        let mut group = criterion.benchmark_group(way);
        for (label, owner, record_type) in [
            ("real A", "www.both.example.", RecordType::A),
            ("withheld AAAA", "www.both.example.", RecordType::AAAA),
            ("steered A", "www.six.example.", RecordType::A),
            ("local A", "h4711.home.arpa.", RecordType::A),
            ("local NXDOMAIN", "x4711.home.arpa.", RecordType::A),
            ("local PTR", "103.18.0.10.in-addr.arpa.", RecordType::PTR),
            ("hosts A", "ad4711.example.com.", RecordType::A),
        ] {
            let query = packet(owner, record_type);
            group.bench_function(label, |bencher| {
                bencher.iter(|| {
                    let answered = handler.answer(&query, client, Transport::Udp);
                    runtime.block_on(answered).expect("an answer")
                });
            });
        }
        group.finish();
    }
}

fn read(criterion: &mut Criterion) {
    let bounds = config().dns.cache;
    let query = packet("www.example.", RecordType::A);
    let question = query.get(12..).expect("a question");
    let mut message = Message::from_vec(&query).expect("a message");
    message.metadata.message_type = MessageType::Response;
    for (owner, record_type, data) in [
        ("www.example.", RecordType::CNAME, "cdn.example."),
        ("cdn.example.", RecordType::A, "192.0.2.1"),
        ("cdn.example.", RecordType::A, "192.0.2.2"),
    ] {
        let data = RData::try_from_str(record_type, data).expect("data");
        let record = Record::from_rdata(name(owner), 300, data);
        message.answers.push(record);
    }
    let reply = message.to_vec().expect("a message");
    criterion.bench_function("read in place", |bencher| {
        bencher.iter(|| Simple::read(question, &reply, &bounds).expect("as most are"));
    });
}

fn load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    let zone = large_zone();
    group.bench_function("zone of 100,000 names", |bencher| {
        bencher.iter(|| Zones::from_text(&[("home.arpa", &zone)]).expect("a good zone"));
    });
    let (hosts, domain) = ([large_hosts()], name("home.arpa."));
    group.bench_function("hosts file of 100,000 names", |bencher| {
        bencher.iter(|| HostNames::read(&hosts, &Zones::default(), &domain));
    });
    group.finish();
}

criterion_group!(benches, answer, read, load);
criterion_main!(benches);
