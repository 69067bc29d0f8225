//! PURE. What answers are found by: the name in lower case and the type, as on the wire, DO and CD. Called by the cache, and
//! by who reads questions off the wire.

use hickory_proto::rr::Name;

use super::super::Question;
use super::super::wire::TYPE_AND_CLASS;

/// The longest name, and a type.
const LONGEST: usize = 255 + 2;

/// The key of a question.
#[derive(Clone, Debug)]
pub struct Key {
    bytes: [u8; LONGEST],
    length: usize,
    bits: u8,
}

impl Key {
    /// Of a question that was read off the wire: name, type and class, not compressed, in any spelling.
    pub fn of_wire(question: &[u8], dnssec_ok: bool, checking_disabled: bool) -> Self {
        let name = question
            .len()
            .saturating_sub(TYPE_AND_CLASS)
            .min(LONGEST - 2);
        let mut key = Self {
            bytes: [0; LONGEST],
            length: name + 2,
            bits: bits(dnssec_ok, checking_disabled),
        };
        let (to, rest) = key.bytes.split_at_mut(name);
        let (from, after) = question.split_at(name);
        to.copy_from_slice(from);
        // The octets of length are no letters: they are 63 at most.
        to.make_ascii_lowercase();
        for (to, from) in rest.iter_mut().zip(after.iter().take(2)) {
            *to = *from;
        }
        key
    }

    /// Of a question.
    pub fn of(question: &Question) -> Self {
        let mut bytes = [0; LONGEST];
        let name = write_name(&question.name, &mut bytes);
        let code = u16::from(question.record_type).to_be_bytes();
        for (to, from) in bytes.iter_mut().skip(name).zip(code) {
            *to = from;
        }
        Self {
            bytes,
            length: name + code.len(),
            bits: bits(question.dnssec_ok, question.checking_disabled),
        }
    }

    /// Name and type.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// DO and CD.
    pub(super) fn bits(&self) -> u8 {
        self.bits
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits && self.bytes() == other.bytes()
    }
}

impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(self.bytes());
        state.write_u8(self.bits);
    }
}

/// DO and CD as one octet.
fn bits(dnssec_ok: bool, checking_disabled: bool) -> u8 {
    u8::from(dnssec_ok) | u8::from(checking_disabled) << 1
}

/// Writes a name in lower case and says how long it is, its root included.
fn write_name(name: &Name, bytes: &mut [u8; LONGEST]) -> usize {
    let mut at = 0;
    for label in name.iter() {
        let end = at + 1 + label.len();
        if let Some((length, text)) = bytes.get_mut(at..end).and_then(<[u8]>::split_first_mut) {
            *length = u8::try_from(label.len()).unwrap_or(u8::MAX);
            text.copy_from_slice(label);
            text.make_ascii_lowercase();
        }
        at = end;
    }
    // The root's own octet is there already.
    at + 1
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::RecordType;

    use super::*;

    fn question(text: &str) -> Question {
        Question {
            name: Name::from_ascii(text).unwrap(),
            record_type: RecordType::HTTPS,
            dnssec_ok: false,
            checking_disabled: false,
        }
    }

    fn wire(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in text.split_terminator('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.bytes());
        }
        bytes.extend([0, 0, 65, 0, 1]);
        bytes
    }

    #[test]
    fn a_question_has_the_same_key_however_it_is_spelt_and_wherever_it_was_read() {
        let long = format!("{0}.{0}.{0}.{1}.", "a".repeat(63), "b".repeat(61));
        for text in [".", "example.", "wWw.Example.", &long] {
            let key = Key::of(&question(text));
            assert_eq!(key, Key::of_wire(&wire(text), false, false), "{text}");
            let spelt = text.to_ascii_uppercase();
            assert_eq!(key, Key::of(&question(&spelt)));
            assert_eq!(key, Key::of_wire(&wire(&spelt), false, false));
        }
    }

    #[test]
    fn another_name_type_do_or_cd_is_another_key() {
        let base = question("www.example.");
        let others = [
            question("ww.example."),
            Question {
                // 65 is `A` where a type is read as text.
                record_type: RecordType::Unknown(97),
                ..base.clone()
            },
            Question {
                dnssec_ok: true,
                ..base.clone()
            },
            Question {
                checking_disabled: true,
                ..base.clone()
            },
        ];
        for other in others {
            assert_ne!(Key::of(&base), Key::of(&other), "{other:?}");
        }
    }
}
