//! Signed zones, and a server on loopback that answers for all of them, CNAMEs followed, as a resolver does that does
//! not validate. A negative answer has the whole chain of its zone; hickory makes the signatures.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_proto::dnssec::crypto::Ed25519SigningKey;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, NSEC, NSEC3, RRSIG, SigInput};
use hickory_proto::dnssec::{Algorithm, DigestType, Nsec3HashAlgorithm, SigningKey, TBS};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, NS, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How a zone says what it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    Nsec,
    Nsec3 { opt_out: bool, iterations: u16 },
}

pub(super) const NSEC3: Chain = Chain::Nsec3 {
    opt_out: false,
    iterations: 0,
};
pub(super) const OPT_OUT: Chain = Chain::Nsec3 {
    opt_out: true,
    iterations: 5,
};

/// A zone, with its key where it is signed.
pub(super) struct Zone {
    pub(super) apex: Name,
    pub(super) key: Option<Ed25519SigningKey>,
    pub(super) chain: Chain,
    pub(super) records: Vec<Record>,
    /// Inception and expiration of its signatures, from now on.
    pub(super) times: (i64, i64),
}

pub(super) type Tamper = Box<dyn Fn(&Name, RecordType, &mut Message) + Send + Sync>;

/// What the server knows.
pub(super) struct World {
    pub(super) zones: Arc<Vec<Zone>>,
    pub(super) tamper: Option<Tamper>,
}

pub(super) fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

pub(super) fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 300, data)
}

pub(super) fn address(owner: &str) -> Record {
    record(
        owner,
        RData::A(std::net::Ipv4Addr::new(192, 0, 2, 1).into()),
    )
}

pub(super) fn alias(owner: &str, target: &str) -> Record {
    record(owner, RData::CNAME(CNAME(name(target))))
}

pub(super) fn new_key() -> Ed25519SigningKey {
    let der = Ed25519SigningKey::generate_pkcs8().unwrap();
    Ed25519SigningKey::from_pkcs8(&der).unwrap()
}

impl Zone {
    pub(super) fn new(apex: &str, chain: Chain, records: Vec<Record>) -> Self {
        let soa = SOA::new(name("ns.test."), name("host.test."), 1, 60, 60, 60, 60);
        let mut all = vec![
            record(apex, RData::SOA(soa)),
            record(apex, RData::NS(NS(name("ns.test.")))),
        ];
        all.extend(records);
        Self {
            apex: name(apex),
            key: Some(new_key()),
            chain,
            records: all,
            times: (-3600, 3600),
        }
    }

    pub(super) fn unsigned(apex: &str, records: Vec<Record>) -> Self {
        Self {
            key: None,
            ..Self::new(apex, Chain::Nsec, records)
        }
    }

    pub(super) fn dnskey(&self) -> Option<DNSKEY> {
        let public = self.key.as_ref()?.to_public_key().unwrap();
        Some(DNSKEY::new(true, true, false, public))
    }

    /// What the parent has to say about this zone.
    pub(super) fn delegation(&self) -> Vec<Record> {
        let apex = self.apex.to_string();
        let mut records = vec![record(&apex, RData::NS(NS(name("ns.test."))))];
        if let Some(key) = self.dnskey() {
            let digest = key.to_digest(&self.apex, DigestType::SHA256).unwrap();
            let tag = key.calculate_key_tag().unwrap();
            let ds = DS::new(
                tag,
                Algorithm::ED25519,
                DigestType::SHA256,
                digest.as_ref().to_vec(),
            );
            records.push(record(&apex, RData::DNSSEC(DNSSECRData::DS(ds))));
        }
        records
    }

    /// The line of a trust anchor file.
    pub(super) fn anchor(&self) -> String {
        let records = self.delegation();
        let ds = records.last().unwrap();
        format!("{} IN DS {}\n", self.apex, ds.data)
    }

    fn is_delegation(&self, owner: &Name) -> bool {
        *owner != self.apex
            && self.records.iter().any(|record| {
                record.record_type() == RecordType::NS
                    && record.name != self.apex
                    && record.name.zone_of(owner)
            })
    }

    fn all(&self) -> Vec<Record> {
        let mut all = self.records.clone();
        if let Some(key) = self.dnskey() {
            let apex = self.apex.to_string();
            all.push(record(&apex, RData::DNSSEC(DNSSECRData::DNSKEY(key))));
        }
        all
    }

    fn set(&self, owner: &Name, record_type: RecordType) -> Vec<Record> {
        let mut set = self.all();
        set.retain(|record| record.name == *owner && record.record_type() == record_type);
        set
    }

    /// The records with their signature; `owner` is that of a wildcard where they were made of one.
    pub(super) fn signed(&self, mut records: Vec<Record>, owner: &Name) -> Vec<Record> {
        let Some(key) = &self.key else { return records };
        let Some(first) = records.first().cloned() else {
            return records;
        };
        let now = i64::try_from(super::super::clock()).unwrap();
        let time = |offset| u32::try_from(now + offset).unwrap().into();
        let input = SigInput {
            type_covered: first.record_type(),
            algorithm: Algorithm::ED25519,
            num_labels: owner.num_labels(),
            original_ttl: first.ttl,
            sig_expiration: time(self.times.1),
            sig_inception: time(self.times.0),
            key_tag: self.dnskey().unwrap().calculate_key_tag().unwrap(),
            signer_name: self.apex.clone(),
        };
        let signed = TBS::from_input(&first.name, DNSClass::IN, &input, records.iter()).unwrap();
        let signature = RRSIG::from_sig(input, key.sign(&signed).unwrap());
        records.push(Record::from_rdata(
            first.name,
            first.ttl,
            RData::DNSSEC(DNSSECRData::RRSIG(signature)),
        ));
        records
    }

    /// Owners and their types.
    fn owners(&self) -> BTreeMap<Name, BTreeSet<RecordType>> {
        let mut owners: BTreeMap<Name, BTreeSet<RecordType>> = BTreeMap::new();
        for record in self.all() {
            let types = owners.entry(record.name.clone()).or_default();
            types.insert(record.record_type());
        }
        owners
    }

    /// The SOA and every record of the chain.
    pub(super) fn negative(&self) -> Vec<Record> {
        let mut section = self.signed(self.set(&self.apex, RecordType::SOA), &self.apex);
        if self.key.is_none() {
            return section;
        }
        let owners = self.owners();
        let proofs: Vec<Record> = match self.chain {
            Chain::Nsec => {
                let next = owners.keys().cycle().skip(1);
                let all = owners.iter().zip(next).map(|((owner, types), next)| {
                    let types = types.iter().copied();
                    let own = [RecordType::RRSIG, RecordType::NSEC];
                    let nsec = NSEC::new(next.clone(), types.chain(own));
                    Record::from_rdata(owner.clone(), 60, RData::DNSSEC(DNSSECRData::NSEC(nsec)))
                });
                all.collect()
            }
            Chain::Nsec3 {
                opt_out,
                iterations,
            } => {
                let mut hashed = BTreeMap::new();
                for (owner, types) in &owners {
                    let unsigned = self.is_delegation(owner) && !types.contains(&RecordType::DS);
                    if opt_out && unsigned {
                        continue;
                    }
                    let mut above = owner.clone();
                    while self.apex.zone_of(&above) {
                        let hash = hash(&above, iterations);
                        let own = if above == *owner {
                            types.clone()
                        } else {
                            BTreeSet::new()
                        };
                        hashed.entry(hash).or_insert_with(BTreeSet::new).extend(own);
                        if above.is_root() {
                            break;
                        }
                        above = above.base_name();
                    }
                }
                let next = hashed.keys().cycle().skip(1);
                let all = hashed.iter().zip(next).map(|((hash, types), next)| {
                    let data = NSEC3::new(
                        Nsec3HashAlgorithm::SHA1,
                        opt_out,
                        iterations,
                        vec![0xab],
                        next.clone(),
                        types.iter().copied(),
                    );
                    let owner = self.apex.prepend_label(base32(hash)).unwrap();
                    Record::from_rdata(owner, 60, RData::DNSSEC(DNSSECRData::NSEC3(data)))
                });
                all.collect()
            }
        };
        for proof in proofs {
            let owner = proof.name.clone();
            section.extend(self.signed(vec![proof], &owner));
        }
        section
    }

    /// Records of a type at a name, itself or of a wildcard, with their proof.
    fn find(&self, owner: &Name, record_type: RecordType, message: &mut Message) -> bool {
        let set = self.set(owner, record_type);
        if !set.is_empty() {
            message.answers.extend(self.signed(set, owner));
            return true;
        }
        let owners = self.owners();
        if owners.keys().any(|held| owner.zone_of(held)) {
            return false;
        }
        let mut above = owner.base_name();
        while !owners.keys().any(|held| above.zone_of(held)) {
            above = above.base_name();
        }
        let wildcard = above.prepend_label("*").unwrap();
        let set = self.signed(self.set(&wildcard, record_type), &wildcard);
        for mut record in set.iter().cloned() {
            record.name = owner.clone();
            message.answers.push(record);
        }
        if !set.is_empty() {
            message.authorities.extend(self.negative());
        }
        !set.is_empty()
    }

    fn exists(&self, owner: &Name) -> bool {
        let owners = self.owners();
        let mut above = owner.clone();
        while !owners.keys().any(|held| above.zone_of(held)) {
            above = above.base_name();
        }
        above == *owner || owners.contains_key(&above.prepend_label("*").unwrap())
    }
}

fn hash(name: &Name, iterations: u16) -> Vec<u8> {
    let digest = Nsec3HashAlgorithm::SHA1.hash(&[0xab], name, iterations);
    digest.unwrap().as_ref().to_vec()
}

fn base32(hash: &[u8]) -> String {
    let mut text = String::new();
    for chunk in hash.chunks(5) {
        let bits = chunk
            .iter()
            .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for place in (0..8).rev() {
            let value = u8::try_from(bits >> (place * 5) & 31).unwrap();
            text.push(char::from(
                b"0123456789abcdefghijklmnopqrstuv"[usize::from(value)],
            ));
        }
    }
    text
}

impl World {
    fn zone(&self, owner: &Name, record_type: RecordType) -> &Zone {
        let above = match record_type {
            RecordType::DS => owner.base_name(),
            _ => owner.clone(),
        };
        let zones = self.zones.iter().filter(|zone| zone.apex.zone_of(&above));
        zones.max_by_key(|zone| zone.apex.iter().count()).unwrap()
    }

    pub(super) fn answer(&self, query: &Message) -> Message {
        let mut message = Message::response(query.metadata.id, query.metadata.op_code);
        message.queries = query.queries.clone();
        let asked = query.queries[0].clone();
        let (mut owner, record_type) = (asked.name.clone(), asked.query_type);
        loop {
            let zone = self.zone(&owner, record_type);
            if zone.find(&owner, record_type, &mut message) {
                break;
            }
            if zone.find(&owner, RecordType::CNAME, &mut message) {
                let target = message
                    .answers
                    .iter()
                    .rev()
                    .find_map(|record| match &record.data {
                        RData::CNAME(target) => Some(target.0.clone()),
                        _ => None,
                    });
                owner = target.unwrap();
                continue;
            }
            message.authorities.extend(zone.negative());
            if !zone.exists(&owner) {
                message.metadata.response_code = ResponseCode::NXDomain;
            }
            break;
        }
        if let Some(tamper) = &self.tamper {
            tamper(&asked.name, record_type, &mut message);
        }
        message
    }
}

/// Name, type, DO and CD of a question.
pub(super) type Seen = (Name, RecordType, bool, bool);

/// The server; ends when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(super) async fn start(world: World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (world, seen) = (Arc::new(world), Arc::<Mutex<Vec<_>>>::default());
        let log = Arc::clone(&seen);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (world, log) = (Arc::clone(&world), Arc::clone(&log));
                connections.spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut query = vec![0; length.into()];
                        stream.read_exact(&mut query).await.unwrap();
                        let query = Message::from_vec(&query).unwrap();
                        let signed = query
                            .edns
                            .as_ref()
                            .is_some_and(|edns| edns.flags().dnssec_ok);
                        log.lock().unwrap().push((
                            query.queries[0].name.clone(),
                            query.queries[0].query_type,
                            signed,
                            query.metadata.checking_disabled,
                        ));
                        let bytes = world.answer(&query).to_vec().unwrap();
                        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                        if stream
                            .write_all(&[&length[..], &bytes].concat())
                            .await
                            .is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            address,
            seen,
            _tasks: tasks,
        }
    }

    pub(super) fn count(&self, record_type: RecordType) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(_, of, ..)| *of == record_type).count()
    }
}
