//! PURE. A message as servers write it. Shared by the scripted servers of all tests.

use hickory_proto::op::Message;

/// Records point to the name in the question, whatever its case.
pub(crate) fn octets(mut reply: Message) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let spelt = reply.to_vec().ok()?;
    let length = match reply.queries.as_mut_slice() {
        [query] => {
            query.name = query.name.to_lowercase();
            query.name.len()
        }
        _ => return Some(spelt),
    };
    let mut octets = reply.to_vec().ok()?;
    let question = HEADER..HEADER + length;
    octets
        .get_mut(question.clone())?
        .copy_from_slice(spelt.get(question)?);
    Some(octets)
}
