//! A question asked a second time: the answer is the same, and comes from the store.

use std::sync::mpsc;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query};
use hickory_proto::rr::DNSClass;

use super::client::Came;
use super::dig;
use super::format::{Step, Transport};
use super::gate::Order;
use super::steps::Player;

/// How much real time an answer may take that is in the store.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much shows that none is there.
const SILENCE: Duration = Duration::from_millis(20);
/// The length of a header.
const HEADER: usize = 12;
/// AA in its third octet, which means nothing in a query.
const AA: u8 = 0x04;
/// The bit that the two spellings of a letter differ in.
const CASE: u8 = 0x20;

impl Player<'_> {
    /// Asks what was answered a moment ago once more: with another ID, and every letter of the name in its other case.
    pub(super) fn again(
        &mut self,
        step: &Step,
        packet: &[u8],
        first: &[u8],
        begun: usize,
    ) -> Result<(), String> {
        if step.once.is_some() || step.raw.is_some() || step.over == Transport::Tls {
            return Ok(());
        }
        let mut step = step.clone();
        let mut rcode = None;
        if let Some(expect) = &mut step.expect {
            // It had to wait for others then.
            expect.after = None;
            rcode.clone_from(&expect.rcode);
        }
        let rcode = rcode.as_deref().unwrap_or("NOERROR");
        let keeps = ["NOERROR", "NXDOMAIN"].contains(&rcode) && is_plain(packet);
        let packet = respelt(packet, self.next_id());
        if !keeps || step.over != Transport::Udp {
            let open = self.send(&step, packet, begun)?;
            self.receive(&step, open, false)?;
            return Ok(());
        }
        let second = self.ask_the_store(&step, packet.clone(), begun)?;
        if step.unkept.is_some() {
            return Ok(());
        }
        // Whatever the step looks at, and also what it does not.
        let mut packet = respelt(&packet, self.next_id());
        lengthen(&mut packet);
        let open = self.send(&step, packet, begun)?;
        let third = self.receive(&step, open, false)?;
        let texts = [first, &second, &third.unwrap_or_default()].map(plain_text);
        if texts.iter().any(|text| *text != texts[0]) {
            return Err(format!(
                "first, from the store and the long way:\n{}",
                texts.join("\n")
            ));
        }
        Ok(())
    }

    /// The answer, given while the runtime stands still: then only the thread that reads the socket can answer.
    fn ask_the_store(
        &mut self,
        step: &Step,
        packet: Vec<u8>,
        begun: usize,
    ) -> Result<Vec<u8>, String> {
        self.order(Order::Settle)?;
        let (end, wait) = mpsc::channel();
        self.order(Order::Hold(wait))?;
        let open = self.send(step, packet, begun)?;
        let is_kept = step.unkept.is_none();
        let patience = if is_kept { PATIENCE } else { SILENCE };
        match (self.take(&open, patience)?, is_kept) {
            (Came::Packet(packet), true) => {
                let inbox = self.inbox.entry(open.line.clone()).or_default();
                inbox.push(packet);
            }
            (Came::Packet(_), false) => {
                return Err("the answer is in the store, do not write `unkept`".to_owned());
            }
            (Came::Nothing, false) => {}
            (Came::Nothing | Came::End, _) => {
                return Err("the answer is not in the store; is it `unkept`?".to_owned());
            }
        }
        drop(end);
        let answer = self.receive(step, open, false)?;
        Ok(answer.unwrap_or_default())
    }

    fn next_id(&mut self) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

/// All of a message but its ID and its spelling.
fn plain_text(packet: &[u8]) -> String {
    match Message::from_vec(packet) {
        Ok(mut message) => {
            message.metadata.id = 0;
            dig::text(&message, 0).to_lowercase()
        }
        Err(_) => dig::hex(packet),
    }
}

/// The same question with this ID and its letters in the other case.
fn respelt(packet: &[u8], id: u16) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if let Some(first) = packet.first_chunk_mut() {
        *first = id.to_be_bytes();
    }
    let mut at = HEADER;
    while let Some(length) = packet.get(at).copied().filter(|length| *length > 0) {
        let label = at + 1..at + 1 + usize::from(length);
        for octet in packet.get_mut(label.clone()).into_iter().flatten() {
            if octet.is_ascii_alphabetic() {
                *octet ^= CASE;
            }
        }
        at = label.end;
    }
    packet
}

/// Sets a bit that leaves the question what it is, but not one of those that are answered from octets.
pub(super) fn lengthen(packet: &mut [u8]) {
    if let Some(flags) = packet.get_mut(2) {
        *flags |= AA;
    }
}

/// Whether it is a query as most clients send it, whose answer is kept.
fn is_plain(packet: &[u8]) -> bool {
    let Ok(message) = Message::from_vec(packet) else {
        return false;
    };
    let of = &message.metadata;
    let bare = message
        .edns
        .as_ref()
        .is_none_or(|edns| edns.version() == 0 && edns.options().as_ref().is_empty());
    let class = |query: &Query| query.query_class() == DNSClass::IN;
    of.op_code == OpCode::Query
        && of.recursion_desired
        && !of.authoritative
        && !of.truncation
        && bare
        && message.queries.iter().all(class)
}
