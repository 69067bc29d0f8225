//! Many datagrams in one call: the kernel joins those of one sender on their way in and cuts them apart on their way out
//! (GRO and GSO), and says by which of our addresses a client came.

use std::io;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::flows::Path;

/// How many buffers are filled in one call.
const BATCH: usize = 8;

/// Room for whatever the kernel joins, in bytes.
const ROOM: usize = 64 * 1024;

/// A socket with what the kernel can do for it.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Arc<UdpSocket>,
    state: UdpSocketState,
}

/// Datagrams of one sender, all of the same length but the last, which may be shorter. Never empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Train<'a> {
    pub(super) bytes: &'a [u8],
    /// The length of one of them, in bytes; at least 1.
    pub(super) stride: usize,
    /// Explicit Congestion Notification is passed on (RFC 9000 section 13.4).
    pub(super) ecn: Option<EcnCodepoint>,
}

impl<'a> Train<'a> {
    /// Each datagram.
    pub(super) fn datagrams(self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.chunks(self.stride)
    }

    fn part(self, most: usize) -> impl Iterator<Item = Self> {
        let parts = self.bytes.chunks(self.stride.saturating_mul(most.max(1)));
        parts.map(move |bytes| Self { bytes, ..self })
    }
}

/// Buffers for [`Wire::receive`].
pub(super) struct Room {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH],
    batch: usize,
}

impl Room {
    /// For a listener: many senders.
    pub(super) fn of_listener() -> Self {
        Self::new(BATCH)
    }

    /// For one flow at a time.
    pub(super) fn of_flow() -> Self {
        Self::new(1)
    }

    fn new(batch: usize) -> Self {
        Self {
            bytes: vec![0; batch * ROOM],
            metas: [RecvMeta::default(); BATCH],
            batch,
        }
    }
}

impl Wire {
    pub(super) fn new(socket: Arc<UdpSocket>) -> io::Result<Self> {
        let state = UdpSocketState::new((&*socket).into())?;
        Ok(Self { socket, state })
    }

    /// Waits until there may be something to receive, be it an error: a socket whose peer has closed its port has
    /// nothing to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        let something = Interest::READABLE | Interest::ERROR;
        self.socket.ready(something).await.map(drop)
    }

    /// Hands what is there to `take`, with where it came from and to. `false` where nothing was there.
    pub(super) fn receive(
        &self,
        room: &mut Room,
        mut take: impl FnMut(Path, Train<'_>),
    ) -> io::Result<bool> {
        let mut slices = room.bytes.chunks_mut(ROOM).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let mut receive = |interest| {
            self.socket.try_io(interest, || {
                let slices = slices.get_mut(..room.batch).unwrap_or_default();
                self.state
                    .recv((&*self.socket).into(), slices, &mut room.metas)
            })
        };
        let received = match receive(Interest::READABLE) {
            // Each kind of readiness is taken back by itself, and only where nothing was there.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => receive(Interest::ERROR),
            received => received,
        };
        let count = match received {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        for (meta, slice) in room.metas.iter().zip(&slices).take(count) {
            let bytes = slice.get(..meta.len).unwrap_or_default();
            // A datagram without anything in it means nothing to anyone here.
            if bytes.is_empty() {
                continue;
            }
            let path = Path {
                client: meta.addr,
                local: meta.dst_ip,
            };
            let train = Train {
                bytes,
                stride: meta.stride.clamp(1, bytes.len()),
                ecn: meta.ecn,
            };
            take(path, train);
        }
        Ok(true)
    }

    /// Sends datagrams, by the address `path.local` if there is one. Never waits: where the kernel has no room, this is
    /// an error of the kind `WouldBlock`, and the datagrams are lost, as they would be in a router.
    pub(super) fn send(&self, path: Path, train: Train<'_>) -> io::Result<()> {
        for part in train.part(self.state.max_gso_segments()) {
            let transmit = Transmit {
                destination: path.client,
                ecn: part.ecn,
                contents: part.bytes,
                segment_size: (part.bytes.len() > part.stride).then_some(part.stride),
                src_ip: path.local,
            };
            self.socket.try_io(Interest::WRITABLE, || {
                self.state.try_send((&*self.socket).into(), &transmit)
            })?;
        }
        Ok(())
    }
}

/// The path to an origin: its address alone.
pub(super) fn to(address: SocketAddr) -> Path {
    Path {
        client: address,
        local: None,
    }
}
