//! PURE. Sets of records and their signatures (RFC 4034 sections 3 and 6, RFC 4035 section 5.3). Called by the other
//! files of this room.
//!
//! What is signed is put together here and not by hickory, whose order of records is not the canonical one where
//! names within them have capital letters.

use hickory_proto::dnssec::Verifier;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::limits::{Budget, MAX_SAME_TAG, MAX_SIGNATURES};
use super::reason::{Bogus, ede};

/// A zone that is known to be signed, and by which keys.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    /// Its name.
    pub(super) apex: Name,
    /// Its keys with their tags.
    pub(super) keys: Vec<(u16, DNSKEY)>,
}

/// All records of one name and type in a section, and what signs them.
#[derive(Clone, Debug)]
pub(super) struct Set<'a> {
    /// The owner.
    pub(super) name: &'a Name,
    /// The type.
    pub(super) record_type: RecordType,
    /// The records, at least one.
    pub(super) records: Vec<&'a Record>,
    /// Their signatures.
    pub(super) signatures: Vec<&'a RRSIG>,
}

/// What a good signature says of its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verified {
    /// So many labels of the owner are those of the wildcard that it was made of.
    pub(super) wildcard: Option<u8>,
    /// How long it may be kept, in seconds (RFC 4035 section 5.3.3).
    pub(super) ttl: u32,
}

/// The sets of a section in its order; signatures of what is not there are passed over.
pub(super) fn sets(records: &[Record]) -> Vec<Set<'_>> {
    let mut sets: Vec<Set<'_>> = Vec::new();
    for record in records {
        let record_type = record.record_type();
        if record_type == RecordType::RRSIG {
            continue;
        }
        let same = |set: &&mut Set<'_>| set.record_type == record_type && *set.name == record.name;
        match sets.iter_mut().find(same) {
            Some(set) => set.records.push(record),
            None => sets.push(Set {
                name: &record.name,
                record_type,
                records: vec![record],
                signatures: Vec::new(),
            }),
        }
    }
    for record in records {
        if let RData::DNSSEC(DNSSECRData::RRSIG(signature)) = &record.data {
            let covered = signature.input().type_covered;
            let of = |set: &&mut Set<'_>| set.record_type == covered && *set.name == record.name;
            if let Some(set) = sets.iter_mut().find(of) {
                set.signatures.push(signature);
            }
        }
    }
    sets
}

impl Set<'_> {
    /// Whether the zone has signed this.
    ///
    /// # Errors
    ///
    /// [`Bogus`] where no signature holds, with the reason that is nearest to a good one.
    pub(super) fn check(
        &self,
        zone: &Zone,
        now: u32,
        budget: &mut Budget,
    ) -> Result<Verified, Bogus> {
        let mut best = self.bogus(ede::SIGNATURES_MISSING, "has no signature");
        let mut canonical = None;
        let labels = self.name.num_labels();
        let of_zone = |signature: &&&RRSIG| {
            let input = signature.input();
            input.signer_name == zone.apex && input.num_labels <= labels
        };
        for signature in self.signatures.iter().filter(of_zone).take(MAX_SIGNATURES) {
            let input = signature.input();
            if !input.algorithm.is_supported() {
                continue;
            }
            let (from, until) = (input.sig_inception.get(), input.sig_expiration.get());
            if is_after(now, until) {
                best.improve(self.bogus(ede::EXPIRED, "has an expired signature"));
                continue;
            }
            if is_after(from, now) {
                best.improve(self.bogus(ede::NOT_YET_VALID, "has a signature of the future"));
                continue;
            }
            let of_signature = |(tag, key): &&(u16, DNSKEY)| {
                *tag == input.key_tag && key.algorithm() == input.algorithm
            };
            let mut keys = zone.keys.iter().filter(of_signature).peekable();
            if keys.peek().is_none() {
                best.improve(self.bogus(ede::KEY_MISSING, "is signed by a key not there"));
                continue;
            }
            let canonical = match &canonical {
                Some(canonical) => canonical,
                None => canonical.insert(self.canonical()?),
            };
            let signed = self.signed_data(signature, canonical)?;
            for (_, key) in keys.take(MAX_SAME_TAG) {
                budget.check()?;
                if key.verify(&signed, signature.sig()).is_ok() {
                    let ttl = self.records.iter().map(|record| record.ttl).min();
                    return Ok(Verified {
                        wildcard: (input.num_labels < labels).then_some(input.num_labels),
                        ttl: ttl
                            .unwrap_or(0)
                            .min(input.original_ttl)
                            .min(until.wrapping_sub(now)),
                    });
                }
            }
            best.improve(self.bogus(ede::BOGUS, "has a wrong signature"));
        }
        Err(best)
    }

    /// The names that claim to have signed this, each once: only those that could, which are at or above the owner.
    /// A DS is its parent's.
    pub(super) fn signers(&self) -> Vec<&Name> {
        let mut signers = Vec::new();
        for signature in &self.signatures {
            let signer = &signature.input().signer_name;
            let own_ds = self.record_type == RecordType::DS && signer == self.name;
            if signer.zone_of(self.name)
                && (!own_ds || signer.is_root())
                && !signers.contains(&signer)
            {
                signers.push(signer);
            }
        }
        signers
    }

    /// An error that begins with what this set is.
    pub(super) fn bogus(&self, code: u16, what: &str) -> Bogus {
        Bogus::new(
            code,
            format!("{} {} {what}", self.name.to_lowercase(), self.record_type),
        )
    }

    /// The data of the records in canonical form and order, each once (RFC 4034 section 6).
    fn canonical(&self) -> Result<Vec<Vec<u8>>, Bogus> {
        let mut all = Vec::with_capacity(self.records.len());
        for record in &self.records {
            let mut data = self.encode(|encoder| record.data.emit(encoder))?;
            // hickory leaves the data of a DNAME as it came. It is one name, and no octet of length is a letter.
            if self.record_type == RecordType::DNAME {
                data.make_ascii_lowercase();
            }
            all.push(data);
        }
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// RFC 4034 section 3.1.8.1: the signature's own data without the signature, then every record.
    fn signed_data(&self, signature: &RRSIG, canonical: &[Vec<u8>]) -> Result<Vec<u8>, Bogus> {
        let input = signature.input();
        let owner = if input.num_labels < self.name.num_labels() {
            wildcard(&self.name.trim_to(input.num_labels.into()))
        } else {
            self.name.clone()
        };
        let mut input = input.clone();
        input.signer_name = input.signer_name.to_lowercase();
        let mut signed = self.encode(|encoder| input.emit(encoder))?;
        let owner = self.encode(|encoder| owner.to_lowercase().emit(encoder))?;
        for data in canonical {
            signed.extend_from_slice(&owner);
            signed.extend_from_slice(&u16::from(self.record_type).to_be_bytes());
            signed.extend_from_slice(&1_u16.to_be_bytes());
            signed.extend_from_slice(&input.original_ttl.to_be_bytes());
            let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
            signed.extend_from_slice(&length.to_be_bytes());
            signed.extend_from_slice(data);
        }
        Ok(signed)
    }

    fn encode(
        &self,
        emit: impl FnOnce(&mut BinEncoder<'_>) -> Result<(), hickory_proto::ProtoError>,
    ) -> Result<Vec<u8>, Bogus> {
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_canonical_form(true);
        encoder.set_name_encoding(NameEncoding::Uncompressed);
        match emit(&mut encoder) {
            Ok(()) => Ok(bytes),
            Err(_) => Err(self.bogus(ede::BOGUS, "cannot be written")),
        }
    }
}

/// `*` below this name.
pub(super) fn wildcard(name: &Name) -> Name {
    // Only a name of the greatest length has no room for one, and nothing is below that.
    name.prepend_label("*").unwrap_or_else(|_| name.clone())
}

/// Labels, a `*` included, unlike [`Name::num_labels`].
pub(super) fn depth(name: &Name) -> usize {
    name.iter().count()
}

/// Whether a time is after another, in serial number arithmetic (RFC 4034 section 3.1.5).
fn is_after(time: u32, other: u32) -> bool {
    let distance = time.wrapping_sub(other);
    distance != 0 && distance < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_after_the_counter_has_wrapped() {
        assert!(is_after(2, 1) && !is_after(1, 2) && !is_after(7, 7));
        assert!(is_after(5, u32::MAX - 5) && !is_after(u32::MAX - 5, 5));
    }

    #[test]
    fn a_wildcard_counts_as_a_label_where_names_are_walked() {
        let name = Name::from_ascii("*.example.").unwrap();
        assert_eq!((depth(&name), depth(&Name::root())), (2, 0));
        assert_eq!(wildcard(&Name::from_ascii("example.").unwrap()), name);
    }
}
