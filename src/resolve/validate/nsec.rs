//! PURE. Proofs by NSEC (RFC 4035 section 5.4, RFC 6840 section 4.1). Called by `denial`.

use hickory_proto::dnssec::rdata::NSEC;
use hickory_proto::rr::{Name, RecordType};

use super::denial::{Cut, cut, lacks};
use super::sets::{depth, wildcard};

type Records<'a> = [(&'a Name, &'a NSEC)];

/// No such name, and no wildcard that stands for it.
pub(super) fn no_name(records: &Records<'_>, name: &Name) -> bool {
    covering(records, name).is_some_and(|(owner, nsec)| {
        let wildcard = wildcard(&encloser(name, owner, nsec));
        !name.zone_of(nsec.next_domain_name())
            && covering(records, &wildcard)
                .is_some_and(|(_, nsec)| !wildcard.zone_of(nsec.next_domain_name()))
    })
}

/// No records of the type at the name itself, at one that only has names below it, or at the wildcard for it.
pub(super) fn no_data(records: &Records<'_>, name: &Name, record_type: RecordType) -> bool {
    if let Some(nsec) = matching(records, name) {
        return lacks(|of| nsec.type_set().contains(of), name, record_type);
    }
    covering(records, name).is_some_and(|(owner, nsec)| {
        let wildcard = wildcard(&encloser(name, owner, nsec));
        name.zone_of(nsec.next_domain_name())
            || matching(records, &wildcard).is_some_and(|nsec| {
                lacks(|of| nsec.type_set().contains(of), &wildcard, record_type)
            })
    })
}

/// No such name, nor one between it and the wildcard with so many labels.
pub(super) fn wildcard_of(records: &Records<'_>, name: &Name, labels: u8) -> bool {
    covering(records, name)
        .is_some_and(|(owner, nsec)| depth(&encloser(name, owner, nsec)) == usize::from(labels))
}

/// What the name is, if it has no DS.
pub(super) fn no_ds(records: &Records<'_>, name: &Name) -> Option<Cut> {
    if let Some(nsec) = matching(records, name) {
        return cut(|of| nsec.type_set().contains(of));
    }
    let (_, nsec) = covering(records, name)?;
    Some(if name.zone_of(nsec.next_domain_name()) {
        Cut::None
    } else {
        Cut::NoName
    })
}

fn matching<'a>(records: &Records<'a>, name: &Name) -> Option<&'a NSEC> {
    let mut same = records.iter().filter(|(owner, _)| *owner == name);
    same.next().map(|(_, nsec)| *nsec)
}

/// The record in whose gap the name is. One of the parent of a zone, or above a DNAME, says nothing of what is below
/// (RFC 6840 section 4.1).
fn covering<'a>(records: &Records<'a>, name: &Name) -> Option<(&'a Name, &'a NSEC)> {
    let mut covering = records.iter().filter(|(owner, nsec)| {
        let next = nsec.next_domain_name();
        let last = next <= *owner;
        *owner < name
            && (name < next || (last && next.zone_of(name)))
            && !(nsec.is_ancestor_delegation() && owner.zone_of(name))
    });
    covering.next().copied()
}

/// The longest name above this one that exists, which the ends of the gap show.
fn encloser(name: &Name, owner: &Name, nsec: &NSEC) -> Name {
    let common = |other: &Name| {
        let pairs = name.iter().rev().zip(other.iter().rev());
        pairs
            .take_while(|(one, other)| one.eq_ignore_ascii_case(other))
            .count()
    };
    name.trim_to(common(owner).max(common(nsec.next_domain_name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn nsec(next: &str, types: &[RecordType]) -> NSEC {
        NSEC::new(name(next), types.iter().copied())
    }

    #[test]
    fn a_gap_proves_what_is_in_it_and_the_last_one_what_is_after_it() {
        let (first, last) = (
            nsec("d.test.", &[RecordType::A]),
            nsec("test.", &[RecordType::A]),
        );
        let (apex, d) = (name("test."), name("d.test."));
        let both = [(&apex, &first), (&d, &last)];
        assert!(no_name(&both, &name("b.test.")) && no_name(&both, &name("x.test.")));
        assert!(!no_name(&both, &name("d.test.")) && !no_name(&both, &name("other.")));
        assert!(
            !no_name(&both[1..], &name("x.test.")),
            "a wildcard may be there"
        );
    }

    #[test]
    fn a_delegation_says_nothing_of_its_child_and_a_child_nothing_of_its_ds() {
        let parent = nsec("z.test.", &[RecordType::NS]);
        let owner = name("child.test.");
        let records = [(&owner, &parent)];
        assert_eq!(no_ds(&records, &owner), Some(Cut::Unsigned));
        assert_eq!(no_ds(&records, &name("a.child.test.")), None);
        assert!(!no_data(&records, &owner, RecordType::A));
        assert!(no_data(&records, &owner, RecordType::DS));
        let child = nsec("a.child.test.", &[RecordType::NS, RecordType::SOA]);
        let records = [(&owner, &child)];
        assert_eq!(no_ds(&records, &owner), None);
        assert!(!no_data(&records, &owner, RecordType::DS));
        assert!(no_data(&records, &owner, RecordType::A));
    }

    #[test]
    fn a_name_that_only_has_names_below_it_exists() {
        let (record, owner) = (nsec("a.b.test.", &[RecordType::A]), name("a.test."));
        let records = [(&owner, &record)];
        let empty = name("b.test.");
        assert!(no_data(&records, &empty, RecordType::A) && !no_name(&records, &empty));
        assert_eq!(no_ds(&records, &empty), Some(Cut::None));
    }

    #[test]
    fn a_wildcard_stands_only_for_names_without_a_nearer_one() {
        let (record, owner) = (nsec("x.test.", &[RecordType::A]), name("*.test."));
        let records = [(&owner, &record)];
        assert!(wildcard_of(&records, &name("b.test."), 1));
        let (near, near_owner) = (nsec("z.b.test.", &[RecordType::A]), name("a.b.test."));
        assert!(!wildcard_of(&[(&near_owner, &near)], &name("m.b.test."), 1));
    }
}
