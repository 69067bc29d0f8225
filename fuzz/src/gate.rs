//! A gate without sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use sekisho::config::Config;
use sekisho::dns::{Handler, Local, Transport, Truth, View};
use sekisho::net::{ClientAddr, Interfaces};
use sekisho::resolve::{Answer, Question, ResolveError};
use sekisho::steer::{Lists, Steering};
use sekisho::telemetry::Metrics;
use tokio::runtime::{Builder, Runtime};

use crate::answers;

/// What the upstream says to a question.
pub type Said = Box<dyn Fn(&Question) -> Result<Answer, ResolveError> + Send + Sync>;

struct Upstream {
    said: Said,
    asked: AtomicUsize,
}

impl Truth for Upstream {
    async fn lookup(&self, question: &Question) -> Result<Answer, ResolveError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        (self.said)(question)
    }
}

/// Which names are steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steered {
    /// None.
    No,
    /// Those with AAAA alone.
    Ipv6Only,
    /// All.
    All,
}

/// The address of the gate.
pub const GATE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);

/// The configuration of a gate in 192.168.1.0/24.
///
/// # Panics
///
/// Never: it is a good one.
pub fn config(steered: Steered) -> Config {
    let steer = match steered {
        Steered::No => "mode = \"off\"",
        Steered::Ipv6Only => "mode = \"ipv6-only\"",
        Steered::All => "mode = \"address\"\nnames = \"all\"",
    };
    let text = format!(
        "[lan]\naddress = \"{GATE}\"\nnetworks = [\"192.168.1.0/24\"]\n[dns]\nrate-limit = 0\nidentity = \"here\"\n\
         version = \"1\"\n[steer]\n{steer}\n"
    );
    let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
    match Config::parse(&text, None, &interfaces, "nameserver 192.0.2.53\n") {
        Ok(config) => config,
        Err(problems) => panic!("{problems}"),
    }
}

/// What a gate answers.
#[derive(Debug)]
pub struct Told {
    /// The packet.
    pub packet: Vec<u8>,
    /// What it says.
    pub message: Message,
    /// Whether upstream was asked for it.
    pub from_upstream: bool,
}

/// A gate, and the runtime that drives it.
pub struct Gate {
    handler: Handler<Upstream>,
    upstream: Arc<Upstream>,
    runtime: Runtime,
}

impl Gate {
    /// A gate that steers so, with this local data.
    ///
    /// # Panics
    ///
    /// Where there is no runtime.
    pub fn new(steered: Steered, local: impl Into<Local>, said: Said) -> Self {
        let config = config(steered);
        let upstream = Arc::new(Upstream {
            said,
            asked: AtomicUsize::new(0),
        });
        let steering = Arc::new(Steering::new(&config, Lists::default()));
        let view = View::new(&config, local, steering, Arc::clone(&upstream));
        Self {
            handler: Handler::new(view, Arc::new(Metrics::new())),
            upstream,
            runtime: Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime"),
        }
    }

    /// What a packet is answered with over a transport, looked at for what holds of every answer; and that neither a
    /// stranger learns anything nor an answer is answered.
    ///
    /// # Panics
    ///
    /// Where something does not hold.
    pub fn ask(&self, packet: &[u8], transport: Transport) -> Option<Told> {
        let asked = self.upstream.asked.load(Ordering::Relaxed);
        let answer = self.answer(packet, Ipv4Addr::new(192, 168, 1, 50), transport);
        let from_upstream = self.upstream.asked.load(Ordering::Relaxed) != asked;
        let stranger = self.answer(packet, Ipv4Addr::new(203, 0, 113, 5), transport);
        answers::tells_a_stranger_nothing(stranger.as_deref());
        let packet_of_answer = answer?;
        let message = answers::look(packet, &packet_of_answer, transport);
        let echoed = self.answer(&packet_of_answer, GATE, transport);
        assert_eq!(echoed, None, "an answer is answered");
        Some(Told {
            packet: packet_of_answer,
            message,
            from_upstream,
        })
    }

    /// As [`Gate::ask`], over TCP, a question as most clients ask it.
    ///
    /// # Panics
    ///
    /// Where something does not hold, or there is no answer.
    pub fn ask_for(&self, name: &Name, record_type: RecordType, dnssec_ok: bool) -> Option<Told> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name.clone(), record_type));
        let mut edns = Edns::new();
        edns.set_max_payload(1232).set_dnssec_ok(dnssec_ok);
        message.set_edns(edns);
        let packet = message.to_vec().ok()?;
        Some(self.ask(&packet, Transport::Tcp).expect("an answer"))
    }

    fn answer(&self, packet: &[u8], client: Ipv4Addr, transport: Transport) -> Option<Vec<u8>> {
        let client = ClientAddr::new(SocketAddr::from((client, 5353)));
        let answered = self.handler.answer(packet, client, transport);
        self.runtime.block_on(answered)
    }
}
