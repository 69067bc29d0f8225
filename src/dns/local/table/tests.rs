//! What is put into a table is found in it, in order and once.

use super::*;

fn table(records: &[(&[u8], RecordType, u32, &[u8])]) -> Table {
    let mut table = Table::default();
    for (key, record_type, ttl, data) in records {
        let place = table.make(key, b"\x01z".len()).unwrap();
        table.add(place, *record_type, *ttl, data).unwrap();
    }
    table.seal();
    table
}

fn said(table: &Table, key: &[u8], record_type: RecordType) -> Vec<String> {
    let place = table.place(key).expect("a name");
    let records = table.set(place, record_type);
    records
        .records(&table.name(place))
        .map(|record| format!("{} {} {}", record.name, record.ttl, record.data))
        .collect()
}

#[test]
fn records_are_found_by_name_and_type_in_whatever_order_they_came() {
    use RecordType as T;
    let table = table(&[
        (b"\x01a\x01z", T::AAAA, 60, &[0; 16]),
        (b"\x01b\x01z", T::A, 60, &[10, 0, 0, 2]),
        (b"\x01a\x01z", T::A, 60, &[10, 0, 0, 9]),
        (b"\x01a\x01z", T::A, 30, &[10, 0, 0, 1]),
    ]);
    assert_eq!(
        said(&table, b"\x01a\x01z", T::A),
        ["a.z. 30 10.0.0.9", "a.z. 30 10.0.0.1"]
    );
    assert_eq!(said(&table, b"\x01a\x01z", T::AAAA), ["a.z. 60 ::"]);
    assert_eq!(said(&table, b"\x01b\x01z", T::A), ["b.z. 60 10.0.0.2"]);
    assert!(said(&table, b"\x01b\x01z", T::TXT).is_empty());
    let place = table.place(b"\x01a\x01z").expect("a name");
    assert_eq!(table.any_set(place).held.len(), 2);
}

#[test]
fn every_name_up_to_the_apex_exists_and_holds_nothing() {
    let table = table(&[(b"\x01a\x01b\x01c\x01z", RecordType::A, 60, &[10, 0, 0, 1])]);
    for key in [&b"\x01b\x01c\x01z"[..], b"\x01c\x01z", b"\x01z"] {
        let place = table.place(key).expect("a name");
        assert_eq!(table.key(place), key);
        assert!(!table.is_filled(place) && table.any_set(place).is_empty());
    }
    assert_eq!(table.place(b""), None);
    assert_eq!(table.place(b"\x01b\x01z"), None);
}

#[test]
fn equal_data_is_held_once_where_only_names_may_differ_in_case() {
    use RecordType as T;
    let table = table(&[
        (b"\x01z", T::NS, 60, b"\x02ns\x00"),
        (b"\x01z", T::NS, 60, b"\x02NS\x00"),
        (b"\x01z", T::TXT, 60, b"\x02ns"),
        (b"\x01z", T::TXT, 60, b"\x02NS"),
        (b"\x01z", T::TXT, 60, b"\x02ns"),
    ]);
    assert_eq!(said(&table, b"\x01z", T::NS), ["z. 60 ns."]);
    assert_eq!(said(&table, b"\x01z", T::TXT), ["z. 60 ns", "z. 60 NS"]);
}

#[test]
fn a_set_of_many_records_is_sealed_about_as_fast_as_many_sets() {
    let mut records = Vec::new();
    for number in (0..100_000_u32).chain([7, 99_999]) {
        records.push(number.to_be_bytes());
    }
    let mut table = Table::default();
    let place = table.make(b"\x01z", 2).unwrap();
    for data in &records {
        table.add(place, RecordType::A, 60, data).unwrap();
    }
    for text in ["ns", "NS"].repeat(FEW) {
        let txt = [&[2], text.as_bytes()].concat();
        table.add(place, RecordType::TXT, 60, &txt).unwrap();
        let name = [&[2], text.as_bytes(), &[0]].concat();
        table.add(place, RecordType::NS, 60, &name).unwrap();
    }
    table.seal();
    let count = |record_type| table.set(place, record_type).held.len();
    assert_eq!(count(RecordType::A), 100_000);
    assert_eq!((count(RecordType::TXT), count(RecordType::NS)), (2, 1));
}
