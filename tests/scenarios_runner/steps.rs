//! The steps of a replay, one after the other, on a thread of their own.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::sync::oneshot;

use super::again;
use super::client::{Came, Line, query};
use super::expect::{asked, differences};
use super::format::{Expect, Scenario, Step, Transport, duration};
use super::gate::{self, Order, Place};
use super::{Way, dig, records};

/// How much real time an answer may take that needs no time of the clock.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much real time may show that nothing comes, after everything under way has arrived.
const SILENCE: Duration = Duration::from_millis(5);
/// The steps in which time passes while an answer is waited for.
const TICK: Duration = Duration::from_millis(20);
/// The gate of every replay, `{gate}` in expected records.
const GATE: &str = "127.53.0.1";

/// Plays all steps; the first that fails ends it.
pub(crate) fn play(scenario: &Scenario, place: &Place, way: Way) -> Result<(), String> {
    let mut player = Player {
        place,
        way,
        lines: HashMap::new(),
        open: HashMap::new(),
        inbox: HashMap::new(),
        cookie: None,
        next_id: 0x5e01,
        sent: Cell::new(false),
    };
    for (index, step) in scenario.step.iter().enumerate() {
        let before = place.shared.asked().len();
        player.step(step).map_err(|error| {
            let line = scenario.lines.get(index).copied().unwrap_or_default();
            let asked = place.shared.asked();
            let new = asked.get(before..).unwrap_or_default();
            format!(
                "{}\nstep {} (line {line}): {error}\nservers were asked in this step: {new:?}, before: {:?}",
                scenario.about.trim(),
                index + 1,
                asked.get(before.saturating_sub(10)..before).unwrap_or_default(),
            )
        })?;
    }
    match player.open.keys().next() {
        Some(label) => Err(format!("no step receives what was asked as `{label}`")),
        None => Ok(()),
    }
}

fn kind(over: Transport) -> &'static str {
    match over {
        Transport::Udp => "dns-udp",
        Transport::Tcp => "dns-tcp",
        Transport::Tls => "dns-tls",
    }
}

pub(super) struct Player<'a> {
    pub(super) place: &'a Place,
    way: Way,
    lines: HashMap<String, Line>,
    open: HashMap<String, Open>,
    /// What came on a socket while another answer was waited for.
    pub(super) inbox: HashMap<String, Vec<Vec<u8>>>,
    cookie: Option<String>,
    pub(super) next_id: u16,
    /// A datagram was sent since the gate was last waited for.
    sent: Cell<bool>,
}

/// A question that is not answered yet.
pub(super) struct Open {
    pub(super) line: String,
    query: Vec<u8>,
    asked_before: usize,
}

impl Player<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        let begun = self.place.shared.asked().len();
        let mut acted = false;
        if let Some(phase) = &step.phase {
            self.place.shared.phase(phase);
            acted = true;
        }
        let folder = self.place.folder.path();
        gate::write(folder, &step.files)?;
        gate::write_zones(folder, &step.zones)?;
        if let Some(config) = &step.config {
            let text = gate::config(config, &self.place.upstreams)?;
            fs::write(folder.join("sekisho.toml"), text).map_err(|error| error.to_string())?;
        }
        acted |= !step.files.is_empty() || !step.zones.is_empty() || step.config.is_some();
        if step.reload {
            let outcome = if self.order(Order::Reload)? {
                "done"
            } else {
                "failed"
            };
            let expect = step
                .expect
                .as_ref()
                .and_then(|expect| expect.reload.as_deref());
            let expected = expect.unwrap_or("done");
            if outcome != expected {
                return Err(format!("reload: expected {expected}, came {outcome}"));
            }
            acted = true;
        }
        if let Some(request) = &step.admin {
            self.admin(request)?;
            acted = true;
        }
        if let Some(time) = &step.pass {
            self.order(Order::Pass(duration(time)?))?;
            acted = true;
        }
        let packets = self.packets(step)?;
        for (text, packet) in &packets {
            let open = self.send(step, packet.clone(), begun)?;
            match &step.label {
                Some(label) => {
                    self.open.insert(label.clone(), open);
                }
                None => {
                    let came = self.receive(step, open, true);
                    let came = came.map_err(|error| format!("{text}\n{error}"))?;
                    if self.way == Way::Again
                        && let Some(first) = came
                    {
                        let came = self.again(step, packet, &first, begun);
                        came.map_err(|error| format!("{text}, asked again\n{error}"))?;
                    }
                }
            }
            acted = true;
        }
        if let Some(label) = &step.receive {
            let open = self.open.remove(label);
            let open = open.ok_or_else(|| format!("nothing was asked as `{label}`"))?;
            let silence = step.expect.as_ref().is_some_and(|expect| expect.silence);
            let again = silence.then(|| Open {
                line: open.line.clone(),
                query: open.query.clone(),
                asked_before: open.asked_before,
            });
            self.receive(step, open, true)
                .map_err(|error| format!("receive `{label}`\n{error}"))?;
            if let Some(open) = again {
                self.open.insert(label.clone(), open);
            }
            acted = true;
        } else if packets.is_empty()
            && let Some(expect) = &step.expect
        {
            self.servers(expect, begun)?;
        }
        if acted {
            Ok(())
        } else {
            Err("it does nothing: write ask, raw, receive, pass, phase, files, zones, config, reload or admin".to_owned())
        }
    }

    /// Asks the admin listener, which has a thread and a clock of its own.
    fn admin(&self, request: &str) -> Result<(), String> {
        let address = self.listener("admin")?;
        let fail = |error: std::io::Error| format!("admin: {error}");
        let mut stream = TcpStream::connect(address).map_err(fail)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).map_err(fail)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(fail)?;
        if answer.starts_with("HTTP/1.1 2") {
            Ok(())
        } else {
            Err(format!("admin: {request}: {answer}"))
        }
    }

    /// What the step sends, each with what to call it.
    fn packets(&mut self, step: &Step) -> Result<Vec<(String, Vec<u8>)>, String> {
        if let Some(raw) = &step.raw {
            return Ok(vec![("a raw packet".to_owned(), records::hex(raw)?)]);
        }
        let mut packets = Vec::new();
        for question in step.ask.iter().flat_map(|questions| questions.all()) {
            self.next_id = self.next_id.wrapping_add(1);
            let mut packet = query(step, question, self.next_id, self.cookie.as_deref())?;
            if self.way == Way::Long {
                again::lengthen(&mut packet);
            }
            packets.push((format!("ask {question}"), packet));
        }
        Ok(packets)
    }

    pub(super) fn send(
        &mut self,
        step: &Step,
        packet: Vec<u8>,
        begun: usize,
    ) -> Result<Open, String> {
        // One after the other, also where the gate has several threads.
        if self.sent.get() {
            self.order(Order::Settle)?;
        }
        let key = match &step.connection {
            Some(connection) => format!("connection {connection}"),
            None => format!("question {} of {begun}", self.lines.len()),
        };
        if !self.lines.contains_key(&key) {
            let from = match &step.from {
                Some(from) => from
                    .parse()
                    .map_err(|_| format!("`{from}` is no address"))?,
                None => IpAddr::V4(Ipv4Addr::LOCALHOST),
            };
            let line = Line::open(step.over, from, self.listener(kind(step.over))?)?;
            self.lines.insert(key.clone(), line);
        }
        if let Some(line) = self.lines.get_mut(&key) {
            line.send(&packet)?;
            self.sent.set(true);
        }
        Ok(Open {
            line: key,
            query: packet,
            asked_before: begun,
        })
    }

    fn listener(&self, kind: &str) -> Result<SocketAddr, String> {
        let found = self.place.bound.iter().find(|(bound, _)| bound == kind);
        found
            .map(|(_, address)| *address)
            .ok_or_else(|| format!("the gate does not listen for {kind}"))
    }

    /// Waits for the answer and compares it, to the letter or not; the answer, where there is one.
    pub(super) fn receive(
        &mut self,
        step: &Step,
        open: Open,
        letters: bool,
    ) -> Result<Option<Vec<u8>>, String> {
        let nothing = Expect::default();
        let expect = step.expect.as_ref().unwrap_or(&nothing);
        let within = step
            .within
            .as_deref()
            .map_or(Ok(Duration::ZERO), duration)?;
        let after = expect
            .after
            .as_deref()
            .map_or(Ok(Duration::ZERO), duration)?;
        let mut passed = Duration::ZERO;
        let quiet = expect.silence || expect.closed;
        let came = loop {
            // Where time may pass, everything that needs none arrives first.
            let wait = if quiet || passed < within {
                self.order(Order::Settle)?;
                if passed < within {
                    Duration::from_millis(1)
                } else {
                    SILENCE
                }
            } else {
                PATIENCE
            };
            match self.take(&open, wait)? {
                Came::Nothing if passed < within => {
                    let step = TICK.min(within.saturating_sub(passed));
                    self.order(Order::Pass(step))?;
                    passed += step;
                }
                came => break came,
            }
        };
        self.servers(expect, open.asked_before)?;
        let packet = match (came, quiet) {
            (Came::End, true) => return Ok(None),
            (Came::Nothing, true) if !expect.closed => return Ok(None),
            (Came::Nothing, true) => return Err("the connection is still open".to_owned()),
            (Came::Nothing, false) if step.within.is_some() => {
                return Err("no answer came in the time given".to_owned());
            }
            (Came::Nothing, false) => {
                return Err(
                    "no answer came while no time passed; where it may, write `within`".to_owned(),
                );
            }
            (Came::End, false) => return Err("the connection was closed".to_owned()),
            (Came::Packet(packet), true) => {
                let text = Message::from_vec(&packet).map_or_else(
                    |_| dig::hex(&packet),
                    |message| dig::text(&message, packet.len()),
                );
                return Err(format!("expected silence, came\n{text}"));
            }
            (Came::Packet(packet), false) => packet,
        };
        if passed < after {
            return Err(format!("expected after {after:?}, came after {passed:?}"));
        }
        if let Ok(message) = Message::from_vec(&packet)
            && let Some((_, cookie)) = dig::options(&message).iter().find(|(code, _)| *code == 10)
        {
            self.cookie = Some(dig::hex(cookie));
        }
        let fill = |text: &str| text.replace("{gate}", GATE);
        let wrong = differences(expect, letters, &open.query, &packet, &fill)?;
        if wrong.is_empty() {
            Ok(Some(packet))
        } else {
            Err(wrong.join("\n"))
        }
    }

    /// The answer to a question, whatever else comes on its socket.
    pub(super) fn take(&mut self, open: &Open, wait: Duration) -> Result<Came, String> {
        let is_it = |packet: &Vec<u8>| {
            packet.first_chunk::<2>() == open.query.first_chunk::<2>() || open.query.len() < 2
        };
        let inbox = self.inbox.entry(open.line.clone()).or_default();
        if let Some(index) = inbox.iter().position(is_it) {
            return Ok(Came::Packet(inbox.remove(index)));
        }
        let Some(line) = self.lines.get_mut(&open.line) else {
            return Ok(Came::Nothing);
        };
        loop {
            match line.receive(wait)? {
                Came::Packet(packet) if !is_it(&packet) => inbox.push(packet),
                came => return Ok(came),
            }
        }
    }

    /// Compares what servers were asked.
    fn servers(&self, expect: &Expect, since: usize) -> Result<(), String> {
        let Some(expected) = &expect.upstream_asked else {
            return Ok(());
        };
        self.order(Order::Settle)?;
        let all = self.place.shared.asked();
        asked(expected, all.get(since..).unwrap_or_default()).map_or(Ok(()), Err)
    }

    pub(super) fn order(&self, order: Order) -> Result<bool, String> {
        if self.sent.take() {
            self.place.arrive();
        }
        let (done, wait) = oneshot::channel();
        let over = "the gate has ended";
        self.place.orders.send((order, done)).map_err(|_| over)?;
        wait.blocking_recv().map_err(|_| over.to_owned())
    }
}
