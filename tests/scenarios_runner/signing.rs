//! Signs zones of a scripted upstream as it starts, by today's date: keys, DS in the zone above, NSEC, signatures
//! (RFC 4034, Ed25519 by RFC 8080), and the trust anchor of the topmost.

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::dnssec::crypto::Ed25519SigningKey;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, NSEC, RRSIG, SigInput};
use hickory_proto::dnssec::{Algorithm, DigestType, SigningKey as _, TBS};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// How long before and after now signatures hold, in seconds.
const DAY: u64 = 86_400;

/// What signing makes.
#[derive(Debug, Default)]
pub(crate) struct Signed {
    /// All records, with the signatures of those in signed zones.
    pub(crate) records: Vec<Record>,
    /// What a signed zone says where it has nothing: SOA, NSEC, and their signatures.
    pub(crate) denials: BTreeMap<Name, Vec<Record>>,
    /// The DS records of the topmost signed zones.
    pub(crate) anchor: String,
}

struct Key {
    key: Ed25519SigningKey,
    dnskey: DNSKEY,
}

/// The apex of the zone that a record of this type at this name is in.
pub(crate) fn zone<'a>(
    apexes: &'a [Name],
    owner: &Name,
    record_type: RecordType,
) -> Option<&'a Name> {
    let above = match record_type {
        RecordType::DS if !owner.is_root() => owner.base_name(),
        _ => owner.clone(),
    };
    let zones = apexes.iter().filter(|apex| apex.zone_of(&above));
    zones.max_by_key(|apex| apex.iter().count())
}

/// The names that have a SOA.
pub(crate) fn apexes(records: &[Record]) -> Vec<Name> {
    let is_soa = |record: &&Record| record.record_type() == RecordType::SOA;
    records
        .iter()
        .filter(is_soa)
        .map(|record| record.name.clone())
        .collect()
}

/// Signs these zones.
pub(crate) fn sign(mut records: Vec<Record>, wanted: &[Name]) -> Result<Signed, String> {
    let mut signed = Signed::default();
    if wanted.is_empty() {
        // As they are written, signatures that are made up included.
        signed.records = records;
        return Ok(signed);
    }
    let apexes = apexes(&records);
    let mut keys = BTreeMap::new();
    for apex in wanted {
        if !apexes.contains(apex) {
            return Err(format!("`{apex}` is to be signed, and has no SOA"));
        }
        let key = key().map_err(|error| error.to_string())?;
        let ds = ds(apex, &key.dnskey).map_err(|error| error.to_string())?;
        let dnskey = RData::DNSSEC(DNSSECRData::DNSKEY(key.dnskey.clone()));
        records.push(Record::from_rdata(apex.clone(), 3600, dnskey));
        let above = zone(&apexes, apex, RecordType::DS).filter(|above| *above != apex);
        if above.is_some_and(|above| wanted.contains(above)) {
            let ds = RData::DNSSEC(DNSSECRData::DS(ds));
            records.push(Record::from_rdata(apex.clone(), 3600, ds));
        } else {
            signed.anchor.push_str(&format!("{apex} IN DS {ds}\n"));
        }
        keys.insert(apex.clone(), key);
    }
    let mut sets: BTreeMap<(Name, u16), Vec<Record>> = BTreeMap::new();
    for record in records {
        let set = (record.name.clone(), u16::from(record.record_type()));
        sets.entry(set).or_default().push(record);
    }
    let mut owners: BTreeMap<Name, BTreeMap<Name, BTreeSet<RecordType>>> = BTreeMap::new();
    for ((owner, code), set) in &sets {
        let record_type = RecordType::from(*code);
        let Some(apex) = zone(&apexes, owner, record_type) else {
            signed.records.extend(set.iter().cloned());
            continue;
        };
        let types = owners.entry(apex.clone()).or_default();
        types.entry(owner.clone()).or_default().insert(record_type);
        // A delegation is known in the zone above, too.
        if apex == owner
            && let Some(above) = zone(&apexes, owner, RecordType::DS)
            && above != apex
        {
            let types = owners.entry(above.clone()).or_default();
            types
                .entry(owner.clone())
                .or_default()
                .insert(RecordType::NS);
        }
        signed
            .records
            .extend(with_signature(set, apex, keys.get(apex))?);
    }
    for (apex, key) in &keys {
        let soa = sets.get(&(apex.clone(), u16::from(RecordType::SOA)));
        let soa = soa.map_or(&[][..], Vec::as_slice);
        let mut denial = with_signature(soa, apex, Some(key))?;
        let owners = owners.get(apex).cloned().unwrap_or_default();
        let next = owners.keys().cycle().skip(1);
        for ((owner, types), next) in owners.iter().zip(next) {
            let own = [RecordType::RRSIG, RecordType::NSEC];
            let nsec = NSEC::new(next.clone(), types.iter().copied().chain(own));
            let nsec = RData::DNSSEC(DNSSECRData::NSEC(nsec));
            let nsec = Record::from_rdata(owner.clone(), 60, nsec);
            denial.extend(with_signature(&[nsec], apex, Some(key))?);
        }
        signed.denials.insert(apex.clone(), denial);
    }
    Ok(signed)
}

fn key() -> Result<Key, hickory_proto::dnssec::DnsSecError> {
    let key = Ed25519SigningKey::from_pkcs8(&Ed25519SigningKey::generate_pkcs8()?)?;
    let dnskey = DNSKEY::new(true, true, false, key.to_public_key()?);
    Ok(Key { key, dnskey })
}

fn ds(apex: &Name, key: &DNSKEY) -> Result<DS, hickory_proto::ProtoError> {
    let digest = key.to_digest(apex, DigestType::SHA256)?;
    let tag = key.calculate_key_tag()?;
    Ok(DS::new(
        tag,
        Algorithm::ED25519,
        DigestType::SHA256,
        digest.as_ref().to_vec(),
    ))
}

fn with_signature(set: &[Record], apex: &Name, key: Option<&Key>) -> Result<Vec<Record>, String> {
    let mut records = set.to_vec();
    let (Some(first), Some(key)) = (set.first(), key) else {
        return Ok(records);
    };
    let now = today();
    let time = |seconds: u64| u32::try_from(seconds).unwrap_or(u32::MAX).into();
    let input = SigInput {
        type_covered: first.record_type(),
        algorithm: Algorithm::ED25519,
        num_labels: first.name.num_labels(),
        original_ttl: first.ttl,
        sig_expiration: time(now + 30 * DAY),
        sig_inception: time(now - DAY),
        key_tag: key
            .dnskey
            .calculate_key_tag()
            .map_err(|error| error.to_string())?,
        signer_name: apex.clone(),
    };
    let signed = TBS::from_input(&first.name, DNSClass::IN, &input, set.iter());
    let signed = signed.map_err(|error| error.to_string())?;
    let signature = key.key.sign(&signed).map_err(|error| error.to_string())?;
    let signature = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
    records.push(Record::from_rdata(first.name.clone(), first.ttl, signature));
    Ok(records)
}

/// Signatures hold by the date of the real world.
fn today() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| since.as_secs())
}
