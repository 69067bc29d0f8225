//! The zones of the validator's own tests, and a resolver before them.

#[path = "../../../src/resolve/validate/tests/world.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use more of it")]
mod world;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_proto::dnssec::crypto::Ed25519SigningKey;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use sekisho::config::{Config, Server, Transport};
use sekisho::net::Interfaces;
use sekisho::resolve::{Answer, Question, ResolveError, Resolver, Trust, TrustAnchors};
use sekisho::telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use self::world::{Chain, NSEC3, OPT_OUT, World, Zone, address, alias, name};

/// How the zones say what they have not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// By NSEC.
    Nsec,
    /// By NSEC3.
    Nsec3,
    /// By NSEC3 with opt-out.
    OptOut,
}

/// What is done to the answers of the server: the number of the answer, what, where, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Which answer, from 0; 255 is every one.
    pub answer: u8,
    /// What is done.
    pub what: u8,
    /// Where.
    pub at: u16,
    /// With what.
    pub value: u8,
}

/// How a lookup ended.
#[derive(Debug)]
pub struct Outcome {
    /// The question.
    pub question: Question,
    /// Whether the name is in a signed zone, and so are those its aliases lead to.
    pub secure: bool,
    /// What the resolver says.
    pub said: Result<Answer, ResolveError>,
    /// What the zones say.
    pub truth: Message,
    /// How many questions the server got.
    pub questions: usize,
}

/// What is asked: a name, a type, and whether all that is said of it is signed.
const QUESTIONS: &[(&str, RecordType, bool)] = &[
    ("www.secure.test.", RecordType::A, true),
    ("www.secure.test.", RecordType::MX, true),
    ("missing.secure.test.", RecordType::A, true),
    ("a.b.wild.secure.test.", RecordType::A, true),
    ("a.wild.secure.test.", RecordType::MX, true),
    ("here.wild.secure.test.", RecordType::A, true),
    ("empty.secure.test.", RecordType::A, true),
    ("in.secure.test.", RecordType::A, true),
    ("nowhere.secure.test.", RecordType::A, true),
    ("out.secure.test.", RecordType::A, false),
    ("www.insecure.test.", RecordType::A, false),
    ("missing.insecure.test.", RecordType::A, false),
    ("insecure.test.", RecordType::DS, true),
    ("secure.test.", RecordType::DS, true),
    ("secure.test.", RecordType::DNSKEY, true),
    ("missing.", RecordType::A, true),
    (".", RecordType::NS, true),
    ("www.secure.test.", RecordType::CNAME, true),
    ("in.secure.test.", RecordType::CNAME, true),
    ("out.secure.test.", RecordType::ANY, false),
];

#[derive(Default)]
struct Script {
    changes: Vec<Change>,
    answers: usize,
}

/// The answers of the zones, each signed once.
struct Answers {
    world: World,
    made: Mutex<HashMap<(Name, RecordType), Message>>,
}

/// More names than are asked about unless a change makes up new ones.
const MADE: usize = 4096;

impl Answers {
    fn answer(&self, query: &Message) -> Message {
        let asked = &query.queries[0];
        let key = (asked.name.clone(), asked.query_type);
        let mut made = self.made.lock().expect("no panic before");
        if made.len() >= MADE {
            made.clear();
        }
        let answer = made.entry(key).or_insert_with(|| self.world.answer(query));
        let mut answer = answer.clone();
        answer.metadata.id = query.metadata.id;
        answer.queries.clone_from(&query.queries);
        answer
    }
}

/// A resolver that validates, and the server that it asks.
pub struct Home {
    runtime: Runtime,
    world: Arc<Answers>,
    script: Arc<Mutex<Script>>,
    server: SocketAddr,
    anchors: TrustAnchors,
    config: Config,
    metrics: Arc<Metrics>,
}

impl Home {
    /// The root, `test.`, and below that `secure.test.` and `insecure.test.`, which is not signed. The keys are the same
    /// each time.
    ///
    /// # Panics
    ///
    /// Where there is no loopback.
    pub fn new(denial: Denial) -> Self {
        let chain = match denial {
            Denial::Nsec => Chain::Nsec,
            Denial::Nsec3 => NSEC3,
            Denial::OptOut => OPT_OUT,
        };
        let world = World {
            zones: zones(chain).into(),
            tamper: None,
        };
        let anchor = world.zones[0].anchor();
        let world = Arc::new(Answers {
            world,
            made: Mutex::default(),
        });
        let anchors = TrustAnchors::load(crate::file(anchor.as_bytes())).expect("anchors");
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let script = Arc::<Mutex<Script>>::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("loopback");
        let server = listener.local_addr().expect("bound");
        runtime.spawn(serve(listener, Arc::clone(&world), Arc::clone(&script)));
        let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
        let config = Config::parse("", None, &interfaces, "nameserver 192.0.2.53\n");
        let mut config = config.unwrap_or_else(|problems| panic!("{problems}"));
        config.dns.upstream.servers = vec![Server {
            transport: Transport::Tcp,
            address: server,
            name: None,
            path: None,
        }];
        Self {
            runtime,
            world,
            script,
            server,
            anchors,
            config,
            metrics: Arc::new(Metrics::new()),
        }
    }

    /// Asks one of the questions of a resolver that knows nothing yet.
    ///
    /// # Panics
    ///
    /// Where something else did before.
    pub fn ask(&self, question: u8, changes: Vec<Change>) -> Outcome {
        let (owner, record_type, secure) = QUESTIONS[usize::from(question) % QUESTIONS.len()];
        let question = Question {
            name: name(owner),
            record_type,
            dnssec_ok: false,
            checking_disabled: false,
        };
        *self.script.lock().expect("no panic before") = Script {
            changes,
            answers: 0,
        };
        let dns = &self.config.dns;
        let resolver = Resolver::new(dns, &Trust::nobody(), Arc::clone(&self.metrics));
        resolver.validate_by(dns, Some(self.anchors.clone()));
        let said = self.runtime.block_on(resolver.lookup(&question));
        let questions = self.script.lock().expect("no panic before").answers;
        let truth = truth(&self.world, &question.name, record_type);
        Outcome {
            question,
            secure,
            said,
            truth,
            questions,
        }
    }

    /// Where the server is.
    pub fn server(&self) -> SocketAddr {
        self.server
    }
}

fn truth(world: &Answers, owner: &Name, record_type: RecordType) -> Message {
    let mut query = Message::new(0, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(owner.clone(), record_type));
    world.answer(&query)
}

/// PKCS #8 around the seed of an Ed25519 key (RFC 8410 section 7).
fn key(number: u8) -> Ed25519SigningKey {
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    der.extend([number; 32]);
    Ed25519SigningKey::from_pkcs8(&der.into()).expect("a key")
}

fn zones(chain: Chain) -> Vec<Zone> {
    let keyed = |mut zone: Zone, number| {
        zone.key = Some(key(number));
        // A run may last for days.
        zone.times = (-3600, 30 * 86_400);
        zone
    };
    let secure = Zone::new(
        "secure.test.",
        chain,
        vec![
            address("www.secure.test."),
            address("*.wild.secure.test."),
            address("here.wild.secure.test."),
            address("below.empty.secure.test."),
            alias("out.secure.test.", "www.insecure.test."),
            alias("in.secure.test.", "www.secure.test."),
            alias("nowhere.secure.test.", "missing.secure.test."),
        ],
    );
    let secure = keyed(secure, 3);
    let insecure = Zone::unsigned("insecure.test.", vec![address("www.insecure.test.")]);
    let mut above = secure.delegation();
    above.extend(insecure.delegation());
    let test = keyed(Zone::new("test.", chain, above), 2);
    let root = keyed(Zone::new(".", Chain::Nsec, test.delegation()), 1);
    vec![root, test, secure, insecure]
}

async fn serve(listener: TcpListener, world: Arc<Answers>, script: Arc<Mutex<Script>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let (world, script) = (Arc::clone(&world), Arc::clone(&script));
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; length.into()];
                if stream.read_exact(&mut query).await.is_err() {
                    return;
                }
                let bytes = changed(&world, &query, &script);
                let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
                let framed = [&length.to_be_bytes()[..], &bytes].concat();
                if stream.write_all(&framed).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// The answer to a query, changed by the script. ID, question and QR stay: without them the message is none for the
/// resolver, which then waits.
fn changed(world: &Answers, query: &[u8], script: &Mutex<Script>) -> Vec<u8> {
    let query = Message::from_vec(query).expect("the gate's queries are good");
    let mut script = script.lock().expect("no panic before");
    let number = script.answers;
    script.answers += 1;
    let mut message = world.answer(&query);
    let of_this =
        |change: &&Change| change.answer == 255 || usize::from(change.answer % 16) == number;
    let changes: Vec<Change> = script.changes.iter().filter(of_this).copied().collect();
    for change in &changes {
        change_records(&mut message, world, change);
    }
    let mut bytes = message.to_vec().expect("a message");
    let start = 12
        + query.queries[0]
            .name
            .iter()
            .map(|label| label.len() + 1)
            .sum::<usize>()
        + 5;
    for change in &changes {
        change_bytes(&mut bytes, start, change);
    }
    bytes.truncate(usize::from(u16::MAX));
    bytes
}

fn change_records(message: &mut Message, world: &Answers, change: &Change) {
    let at = usize::from(change.at);
    let value = usize::from(change.value);
    let Message {
        answers,
        authorities,
        additionals,
        metadata,
        ..
    } = message;
    match change.what % 16 {
        0 if !answers.is_empty() => drop(answers.remove(at % answers.len())),
        1 if !authorities.is_empty() => drop(authorities.remove(at % authorities.len())),
        2 => std::mem::swap(answers, authorities),
        3 => std::mem::swap(additionals, authorities),
        4 => metadata.response_code = ResponseCode::from_low(change.value & 0x0f),
        5 | 6 => {
            // What was signed for another question.
            let (owner, record_type, _) = QUESTIONS[at % QUESTIONS.len()];
            let other = truth(world, &name(owner), record_type);
            if change.what % 16 == 5 {
                *answers = other.answers;
                *authorities = other.authorities;
                metadata.response_code = other.metadata.response_code;
            } else {
                answers.extend(other.answers);
                authorities.extend(other.authorities);
            }
        }
        7 if !answers.is_empty() => {
            // Another owner.
            let place = value % answers.len();
            answers[place].name = name(QUESTIONS[at % QUESTIONS.len()].0);
        }
        8 if !answers.is_empty() => {
            let place = value % answers.len();
            answers[place].ttl = u32::from(change.at) << 8;
        }
        9 if !answers.is_empty() => {
            let again = answers[value % answers.len()].clone();
            answers.extend(std::iter::repeat_n(again, at % 64));
        }
        _ => {}
    }
}

fn change_bytes(bytes: &mut Vec<u8>, start: usize, change: &Change) {
    if bytes.len() <= start {
        return;
    }
    let at = start + usize::from(change.at) % (bytes.len() - start);
    match change.what % 16 {
        10 => bytes[at] ^= change.value,
        11 => bytes[at] = change.value,
        12 => bytes.truncate(at),
        13 => drop(bytes.drain(at..(at + usize::from(change.value)).min(bytes.len()))),
        14 => drop(bytes.splice(at..at, std::iter::repeat_n(0, change.value.into()))),
        15 => {
            // A count or a flag, but for QR, the opcode and the number of questions.
            let place = [2, 3, 6, 7, 8, 9, 10, 11][usize::from(change.at) % 8];
            bytes[place] ^= change.value;
            bytes[2] = bytes[2] & 0x07 | 0x80;
        }
        _ => {}
    }
}
