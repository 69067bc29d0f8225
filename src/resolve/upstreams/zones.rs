//! PURE. Which domains have servers of their own (`[[dns.upstream.zone]]`): the longest suffix decides.

use std::collections::HashMap;

use hickory_proto::rr::{Name, RecordType};

/// Domains, each with what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Domains<T> {
    table: HashMap<Name, T>,
    longest: u8,
}

impl<T> Domains<T> {
    /// What belongs to a name.
    pub(super) fn of_name(&self, name: &Name) -> Option<&T> {
        if self.table.is_empty() {
            return None;
        }
        let name = name.to_lowercase();
        (0..=name.num_labels().min(self.longest))
            .rev()
            .find_map(|labels| self.table.get(&name.trim_to(usize::from(labels))))
    }

    /// What belongs to a question: DS stands on the parent's side of a cut (RFC 4035 section 3.1.4.1), and the domain
    /// of a table is taken for one.
    pub(super) fn of_question(&self, name: &Name, record_type: RecordType) -> Option<&T> {
        if record_type == RecordType::DS && !name.is_root() {
            return self.of_name(&name.base_name());
        }
        self.of_name(name)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.table.values()
    }
}

impl<T> FromIterator<(Name, T)> for Domains<T> {
    fn from_iter<I: IntoIterator<Item = (Name, T)>>(domains: I) -> Self {
        let table: HashMap<Name, T> = domains
            .into_iter()
            .map(|(mut name, value)| {
                name.set_fqdn(true);
                (name.to_lowercase(), value)
            })
            .collect();
        let longest = table.keys().map(Name::num_labels).max().unwrap_or_default();
        Self { table, longest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn domains() -> Domains<u8> {
        [
            ("example.", 1),
            ("Corp.Example.", 2),
            ("10.in-addr.arpa.", 3),
        ]
        .map(|(domain, value)| (name(domain), value))
        .into_iter()
        .collect()
    }

    #[test]
    fn the_longest_suffix_decides_by_whole_labels() {
        for (asked, found) in [
            ("example.", Some(1)),
            ("a.b.example.", Some(1)),
            ("CORP.example.", Some(2)),
            ("www.corp.EXAMPLE.", Some(2)),
            ("notcorp.example.", Some(1)),
            ("badexample.", None),
            ("1.0.0.10.in-addr.arpa.", Some(3)),
            ("arpa.", None),
            (".", None),
        ] {
            assert_eq!(domains().of_name(&name(asked)).copied(), found, "{asked}");
        }
    }

    #[test]
    fn ds_of_a_domain_is_asked_of_its_parents_servers() {
        let of = |text, record_type| domains().of_question(&name(text), record_type).copied();
        assert_eq!(of("corp.example.", RecordType::DS), Some(1));
        assert_eq!(of("corp.example.", RecordType::DNSKEY), Some(2));
        assert_eq!(of("example.", RecordType::DS), None);
        assert_eq!(of("www.corp.example.", RecordType::DS), Some(2));
        assert_eq!(of(".", RecordType::DS), None);
    }

    #[test]
    fn the_root_has_servers_for_everything_else() {
        let domains: Domains<u8> = [(Name::root(), 1), (name("corp.example."), 2)]
            .into_iter()
            .collect();
        assert_eq!(domains.of_name(&name("a.test.")), Some(&1));
        assert_eq!(domains.of_name(&name("a.corp.example.")), Some(&2));
    }
}
