//! The least that a server can do here: every A has the same address, everything else is empty. Over UDP by batches, as
//! the fastest servers do, and by recvfrom and sendto where queries come alone. It is a process of its own, pinned and
//! counted as every server.

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::{array, thread};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt};
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

use crate::Fallible;

/// Datagrams of one call.
const BATCH: usize = 64;
/// Queries that are answered one by one before it is looked whether they still come alone.
const ALONE: u8 = 31;
/// The longest query that is answered.
const LONGEST: usize = 512;
/// A to the name in the question, for an hour.
const ADDRESS: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 192, 0, 2, 1];

/// Serves until it is ended.
///
/// # Errors
///
/// What the system says.
pub(crate) fn serve(address: SocketAddr) -> Fallible<()> {
    let listener = TcpListener::bind(address)?;
    let socket = UdpSocket::bind(address)?;
    setsockopt(&socket, sockopt::RcvBuf, &(1 << 21))?;
    thread::spawn(move || {
        // Where it fails, TCP is silent and counts as lost.
        let _ended = streams(&listener);
    });
    let mut packets = vec![[0; LONGEST]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut answers: Vec<([u8; LONGEST + 16], usize, SocketAddrAny)> = Vec::with_capacity(BATCH);
    let mut alone = 0;
    loop {
        if alone > 0 {
            alone -= 1;
            let mut query = [0; LONGEST];
            let mut answer = [0; LONGEST + 16];
            let (length, client) = socket.recv_from(&mut query)?;
            if let Some(length) = reply(&query[..length], &mut answer) {
                socket.send_to(&answer[..length], client).ok();
            }
            continue;
        }
        let mut slices: Vec<_> = packets
            .iter_mut()
            .map(|packet| [IoSliceMut::new(packet)])
            .collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let received = recvmmsg(
            socket.as_raw_fd(),
            &mut headers,
            slices.iter_mut(),
            flags,
            None,
        )?;
        answers.clear();
        for datagram in received {
            let query = datagram.iovs().next().unwrap_or_default();
            let Some(client) = datagram.address else {
                continue;
            };
            let mut answer = [0; LONGEST + 16];
            if let Some(length) = reply(query, &mut answer) {
                let client = SocketAddr::from(SocketAddrV4::from(client));
                answers.push((answer, length, client.as_any()));
            }
        }
        if let [_] = answers[..] {
            alone = ALONE;
        }
        send(&socket, &answers);
    }
}

fn send(socket: &UdpSocket, answers: &[([u8; LONGEST + 16], usize, SocketAddrAny)]) {
    let slices: Vec<[IoSlice<'_>; 1]> = answers
        .iter()
        .map(|(answer, length, _)| [IoSlice::new(&answer[..*length])])
        .collect();
    let mut controls: [_; BATCH] = array::from_fn(|_| SendAncillaryBuffer::default());
    let mut headers: Vec<MMsgHdr<'_>> = answers
        .iter()
        .zip(&slices)
        .zip(&mut controls)
        .map(|(((_, _, client), slice), control)| MMsgHdr::new_with_addr(client, slice, control))
        .collect();
    let mut sent = 0;
    while sent < headers.len() {
        match sendmmsg(socket, &mut headers[sent..], SendFlags::empty()) {
            Ok(count) if count > 0 => sent += count,
            _ => break,
        }
    }
}

/// The length of the answer; nothing where it is no query.
fn reply(query: &[u8], answer: &mut [u8; LONGEST + 16]) -> Option<usize> {
    let mut at = 12;
    loop {
        match *query.get(at)? {
            0 => break,
            length => at += 1 + usize::from(length),
        }
    }
    let end = at + 5;
    let asked = query.get(..end)?;
    answer[..end].copy_from_slice(asked);
    let is_address = query[at + 1..at + 3] == [0, 1];
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    if !is_address {
        return Some(end);
    }
    answer[end..end + 16].copy_from_slice(&ADDRESS);
    Some(end + 16)
}

/// Serves connections.
fn streams(listener: &TcpListener) -> Fallible<()> {
    let mut clients: BTreeMap<usize, (TcpStream, Vec<u8>)> = BTreeMap::new();
    let mut opened = 0;
    let mut buffer = vec![0; 65536];
    loop {
        let mut sockets = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        for (client, _) in clients.values() {
            sockets.push(PollFd::new(client.as_fd(), PollFlags::POLLIN));
        }
        poll(&mut sockets, PollTimeout::NONE)?;
        let ready: Vec<bool> = sockets.iter().map(|s| s.any().unwrap_or(false)).collect();
        let numbers: Vec<usize> = clients.keys().copied().collect();
        for (number, _) in numbers.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            let Some((client, input)) = clients.get_mut(number) else {
                continue;
            };
            let length = client.read(&mut buffer).unwrap_or(0);
            input.extend(&buffer[..length]);
            let answers = frames(input);
            if length == 0 || client.write_all(&answers).is_err() {
                clients.remove(number);
            }
        }
        if ready[0] {
            let (client, _) = listener.accept()?;
            client.set_nodelay(true)?;
            clients.insert(opened, (client, Vec::new()));
            opened += 1;
        }
    }
}

/// Answers whole queries and takes them out of the input.
fn frames(input: &mut Vec<u8>) -> Vec<u8> {
    let mut answers = Vec::new();
    let mut rest = &**input;
    while let Some((head, after)) = rest.split_first_chunk::<2>()
        && let Some((query, after)) = after.split_at_checked(usize::from(u16::from_be_bytes(*head)))
    {
        rest = after;
        let mut answer = [0; LONGEST + 16];
        let query = query.get(..LONGEST.min(query.len())).unwrap_or_default();
        if let Some(length) = reply(query, &mut answer)
            && let Ok(head) = u16::try_from(length)
        {
            answers.extend(head.to_be_bytes());
            answers.extend(&answer[..length]);
        }
    }
    let left = rest.len();
    input.drain(..input.len() - left);
    answers
}
