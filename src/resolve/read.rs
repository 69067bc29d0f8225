//! PURE. A message of a server, from its octets. Called by `upstream` and by the cache.

use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::DecodeError;

/// The third octet of a header, in which the opcode is, and the opcode of an UPDATE there (RFC 2136 section 2.2).
const OPCODE: usize = 2;
const UPDATE: u8 = 5 << 3;

/// Reads the answer to a query.
///
/// # Errors
///
/// What is wrong with the message.
pub(super) fn read_message(bytes: &[u8]) -> Result<Message, DecodeError> {
    match Message::from_vec(bytes) {
        Err(DecodeError::InvalidEmptyRecord) => read_with_empty_records(bytes),
        read => read,
    }
}

/// The parser takes records without data for those of an UPDATE. But a type that it does not know may have no data
/// (RFC 3597 section 5), as APL and NULL may.
fn read_with_empty_records(bytes: &[u8]) -> Result<Message, DecodeError> {
    let mut update = bytes.to_vec();
    if let Some(octet) = update.get_mut(OPCODE) {
        *octet |= UPDATE;
    }
    let mut message = Message::from_vec(&update)?;
    message.metadata.op_code = OpCode::Query;
    let sections = [
        &mut message.answers,
        &mut message.authorities,
        &mut message.additionals,
    ];
    for record in sections.into_iter().flatten() {
        record.data = match &record.data {
            RData::Update0(code @ (RecordType::Unknown(_) | RecordType::NULL)) => RData::Unknown {
                code: *code,
                rdata: NULL::new(),
            },
            RData::Update0(_) => return Err(DecodeError::InvalidEmptyRecord),
            _ => continue,
        };
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer about the root with one record, of this type and with this data.
    fn answer(record_type: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 1];
        bytes.push(0);
        bytes.extend(record_type.to_be_bytes());
        bytes.extend([0, 1, 0]);
        bytes.extend(record_type.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
        // OPT, which is empty too.
        bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn a_type_that_is_not_known_may_have_no_data_and_is_passed_on_as_it_came() {
        for record_type in [65_281, 42, 10] {
            let bytes = answer(record_type, &[]);
            let message = read_message(&bytes).unwrap();
            assert_eq!(message.metadata.op_code, OpCode::Query);
            assert_eq!(u16::from(message.answers[0].record_type()), record_type);
            assert!(message.edns.is_some());
            assert_eq!(message.to_vec().unwrap(), bytes);
        }
    }

    #[test]
    fn an_address_without_data_is_none() {
        assert!(read_message(&answer(1, &[])).is_err());
        assert!(read_message(&answer(1, &[192, 0, 2, 1])).is_ok());
    }
}
