//! PURE. Proofs by NSEC3 (RFC 5155 section 8). Called by `denial`.

use hickory_proto::dnssec::rdata::NSEC3;
use hickory_proto::rr::{Name, RecordType};

use super::denial::{Cut, Proof, cut, lacks};
use super::limits::Budget;
use super::reason::{Bogus, ede};
use super::sets::{depth, wildcard};

/// The NSEC3 records of an answer, all hashed in the same way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain<'a> {
    /// The zone.
    pub(super) apex: &'a Name,
    /// Each with the hash that is its owner's first label.
    pub(super) records: &'a [(Vec<u8>, &'a NSEC3)],
    /// One of them, to hash alike.
    pub(super) parameters: &'a NSEC3,
}

/// The longest name above another that exists, and proof that the next longer one does not.
struct Encloser<'a> {
    name: Name,
    gap: &'a NSEC3,
}

impl<'a> Chain<'a> {
    /// No such name, and no wildcard that stands for it (section 8.4).
    pub(super) fn no_name(&self, name: &Name, budget: &mut Budget) -> Result<Option<Proof>, Bogus> {
        let Some(encloser) = self.encloser(name, budget)? else {
            return Ok(None);
        };
        let wildcard = self.hash(&wildcard(&encloser.name), budget)?;
        Ok(self.covering(&wildcard).map(|_| reach(encloser.gap)))
    }

    /// No records of the type (sections 8.5 to 8.7).
    pub(super) fn no_data(
        &self,
        name: &Name,
        record_type: RecordType,
        budget: &mut Budget,
    ) -> Result<Option<Proof>, Bogus> {
        if let Some(nsec3) = self.matching(&self.hash(name, budget)?) {
            let lacks = lacks(|of| nsec3.type_set().contains(of), name, record_type);
            return Ok(lacks.then_some(Proof::Secure));
        }
        let Some(encloser) = self.encloser(name, budget)? else {
            return Ok(None);
        };
        if encloser.gap.opt_out() {
            return Ok(Some(Proof::Insecure));
        }
        let wildcard = wildcard(&encloser.name);
        let nsec3 = self.matching(&self.hash(&wildcard, budget)?);
        Ok(nsec3
            .filter(|nsec3| lacks(|of| nsec3.type_set().contains(of), &wildcard, record_type))
            .map(|_| Proof::Secure))
    }

    /// No such name, nor one between it and the wildcard with so many labels (section 8.8).
    pub(super) fn wildcard(
        &self,
        name: &Name,
        labels: u8,
        budget: &mut Budget,
    ) -> Result<Option<Proof>, Bogus> {
        let next_closer = name.trim_to(usize::from(labels) + 1);
        let hash = self.hash(&next_closer, budget)?;
        Ok(self.covering(&hash).map(reach))
    }

    /// What the name is, if it has no DS (sections 8.6 and 8.9).
    pub(super) fn no_ds(&self, name: &Name, budget: &mut Budget) -> Result<Option<Cut>, Bogus> {
        if let Some(nsec3) = self.matching(&self.hash(name, budget)?) {
            return Ok(cut(|of| nsec3.type_set().contains(of)));
        }
        let encloser = self.encloser(name, budget)?;
        Ok(encloser.map(|encloser| match reach(encloser.gap) {
            Proof::Insecure => Cut::Unsigned,
            Proof::Secure => Cut::NoName,
        }))
    }

    /// Section 8.3. A record of the parent of a zone, or above a DNAME, says nothing of what is below.
    fn encloser(&self, name: &Name, budget: &mut Budget) -> Result<Option<Encloser<'a>>, Bogus> {
        if !self.apex.zone_of(name) {
            return Ok(None);
        }
        let mut next_closer = self.hash(name, budget)?;
        if self.matching(&next_closer).is_some() {
            return Ok(None);
        }
        for labels in (depth(self.apex)..depth(name)).rev() {
            let above = name.trim_to(labels);
            let hash = self.hash(&above, budget)?;
            if let Some(nsec3) = self.matching(&hash) {
                let gap = self.covering(&next_closer);
                return Ok(gap
                    .filter(|_| !nsec3.is_ancestor_delegation())
                    .map(|gap| Encloser { name: above, gap }));
            }
            next_closer = hash;
        }
        Ok(None)
    }

    fn matching(&self, hash: &[u8]) -> Option<&'a NSEC3> {
        let mut same = self.records.iter().filter(|(owner, _)| owner == hash);
        same.next().map(|(_, nsec3)| *nsec3)
    }

    fn covering(&self, hash: &[u8]) -> Option<&'a NSEC3> {
        let mut covering = self.records.iter().filter(|(owner, nsec3)| {
            let (owner, next) = (owner.as_slice(), nsec3.next_hashed_owner_name());
            if owner < next {
                owner < hash && hash < next
            } else {
                hash > owner || hash < next
            }
        });
        covering.next().map(|(_, nsec3)| *nsec3)
    }

    fn hash(&self, name: &Name, budget: &mut Budget) -> Result<Vec<u8>, Bogus> {
        budget.hash()?;
        let algorithm = self.parameters.hash_algorithm();
        algorithm
            .hash(self.parameters.salt(), name, self.parameters.iterations())
            .map(|digest| digest.as_ref().to_vec())
            .map_err(|_| Bogus::new(ede::BOGUS, format!("{name} cannot be hashed")))
    }
}

fn reach(gap: &NSEC3) -> Proof {
    if gap.opt_out() {
        Proof::Insecure
    } else {
        Proof::Secure
    }
}

/// The hash that is written in an owner's first label, in base32 with the extended hexadecimal alphabet (RFC 4648
/// section 7) without padding.
pub(super) fn owner_hash(label: &[u8]) -> Option<Vec<u8>> {
    let (mut bits, mut count) = (0_u32, 0_u32);
    let mut hash = Vec::with_capacity(label.len() * 5 / 8);
    for &letter in label {
        let value = match letter {
            b'0'..=b'9' => letter - b'0',
            b'a'..=b'v' => letter - b'a' + 10,
            b'A'..=b'V' => letter - b'A' + 10,
            _ => return None,
        };
        bits = (bits << 5 | u32::from(value)) & 0xffff;
        count += 5;
        if count >= 8 {
            count -= 8;
            hash.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use hickory_proto::dnssec::Nsec3HashAlgorithm;

    use super::*;

    #[test]
    fn hashes_are_read_as_they_are_written() {
        // RFC 5155 appendix A.
        let hash = owner_hash(b"0p9mhaveqvm6t7vbl5lop2u3t2rp3tom").unwrap();
        let name = Name::from_ascii("example.").unwrap();
        let salt = [0xaa, 0xbb, 0xcc, 0xdd];
        let made = Nsec3HashAlgorithm::SHA1.hash(&salt, &name, 12).unwrap();
        assert_eq!(hash, made.as_ref());
        assert_eq!(owner_hash(b"0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM"), Some(hash));
        assert_eq!(owner_hash(b"www"), None);
    }
}
