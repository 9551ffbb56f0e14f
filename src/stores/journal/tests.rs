//! Torn, damaged and strange journals.

use std::path::Path;

use proptest::prelude::*;

use super::{Journal, decode, frame, read};
use crate::stores::sample::{as_json, bare_record, record};
use crate::types::RequestRecord;

fn some_records() -> Vec<RequestRecord> {
    vec![record("req_1"), bare_record("req_2"), record("req_3")]
}

fn frames(records: &[RequestRecord]) -> Vec<Vec<u8>> {
    let encode = |record| frame::encode(record).expect("a frame");
    records.iter().map(encode).collect()
}

fn decoded(bytes: &[u8]) -> (Vec<String>, usize, usize) {
    let leftover = decode("segment".into(), bytes);
    let ids = leftover
        .records
        .iter()
        .map(|record| record.request_id.to_string());
    (ids.collect(), leftover.torn_bytes, leftover.strange)
}

#[test]
fn records_come_back_as_they_were() {
    let records = some_records();
    let leftover = decode("segment".into(), &frames(&records).concat());
    // The decision is raw text: its line ends became spaces, which JSON does not tell apart.
    let found: Vec<_> = leftover.records.iter().map(as_json).collect();
    let expected: Vec<_> = records.iter().map(as_json).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_prefix_gives_its_whole_records_and_no_other() {
    let frames = frames(&some_records());
    let bytes = frames.concat();
    for end in 0..=bytes.len() {
        let mut whole = 0;
        let mut start = 0;
        while whole < frames.len() && start + frames[whole].len() <= end {
            start += frames[whole].len();
            whole += 1;
        }
        let (ids, torn, strange) = decoded(&bytes[..end]);
        assert_eq!(
            (ids.len(), torn, strange),
            (whole, end - start, 0),
            "cut at {end}"
        );
    }
}

#[test]
fn what_is_no_record_of_ours_is_told_from_damage() {
    let body = br#"{"from":"the future"}"#;
    let strange = format!("{:08x} {:08x} ", body.len(), crc32fast::hash(body));
    let bytes = [
        &frames(&some_records())[0][..],
        strange.as_bytes(),
        body,
        b"\n",
    ]
    .concat();
    assert_eq!(decoded(&bytes), (vec!["req_1".to_owned()], 0, 1));
}

#[test]
fn money_does_not_wait_for_an_explanation_that_is_unknown() {
    let mut later = as_json(&record("req_1"));
    later["features"] = serde_json::json!({ "from": "another version" });
    let body = later.to_string();
    let line = format!(
        "{:08x} {:08x} {body}\n",
        body.len(),
        crc32fast::hash(body.as_bytes())
    );
    let leftover = decode("segment".into(), line.as_bytes());
    assert_eq!(leftover.records[0].cost, record("req_1").cost);
    assert!(leftover.records[0].features.is_none());
}

proptest! {
    /// One flipped byte costs at most the record that it is in.
    #[test]
    fn damage_costs_one_record(at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let frames = frames(&some_records());
        let mut bytes = frames.concat();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let (ids, ..) = decoded(&bytes);
        prop_assert!(ids.len() >= 2 || (bytes[at] == b'\n' || flip ^ bytes[at] == b'\n'));
        prop_assert!(ids.iter().all(|id| ["req_1", "req_2", "req_3"].contains(&id.as_str())));
    }

    /// Reading never fails, whatever the bytes.
    #[test]
    fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (ids, torn, _) = decoded(&bytes);
        prop_assert!(ids.is_empty());
        prop_assert!(torn <= bytes.len());
    }
}

fn segment_files(directory: &Path) -> usize {
    std::fs::read_dir(directory).expect("a directory").count()
}

#[test]
fn a_segment_goes_when_all_of_its_records_are_stored() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut journal = Journal::create(directory.path()).expect("a journal");
    let frame = frame::encode(&record("req_1")).expect("a frame");
    let first = journal.append(&frame).expect("written");
    assert_eq!(journal.append(&frame).expect("written"), first);
    let (place, id) = journal.next_segment();
    journal.rotate(super::create_segment(&place, id).expect("a segment"));
    let second = journal.append(&frame).expect("written");
    assert_ne!(first, second);
    journal.stored(first);
    assert!(journal.take_free().is_empty());
    journal.stored(first);
    let free = journal.take_free();
    assert_eq!(free.len(), 1);
    super::delete_segments(free);
    assert_eq!(segment_files(directory.path()), 1);
    journal.close();
    assert_eq!(
        segment_files(directory.path()),
        1,
        "its record is not stored"
    );
    let left = read(directory.path()).expect("readable");
    assert_eq!(left.iter().map(|left| left.records.len()).sum::<usize>(), 1);
}

#[test]
fn what_cannot_be_understood_is_kept_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    let body = b"{}";
    let line = format!("{:08x} {:08x} {{}}\n", body.len(), crc32fast::hash(body));
    std::fs::write(directory.path().join("0000000000000001.journal"), line).expect("written");
    for leftover in read(directory.path()).expect("readable") {
        assert_eq!(leftover.strange, 1);
        leftover.put_away().expect("put away");
    }
    assert!(directory.path().join("0000000000000001.rejected").exists());
    assert!(read(directory.path()).expect("readable").is_empty());
    let next = Journal::create(directory.path()).expect("a journal");
    assert_eq!(
        next.next_segment().1,
        3,
        "no later segment may take its place"
    );
}

impl Journal {
    /// A journal on a device on which every write fails as on a full disk.
    #[cfg(target_os = "linux")]
    pub(in crate::stores) fn full(directory: &Path) -> Self {
        let file = std::fs::File::options()
            .append(true)
            .open("/dev/full")
            .expect("the device");
        let mut journal = Self::create(directory).expect("a journal");
        journal.rotate(super::Segment::empty(2, directory.join("full"), file));
        journal
    }
}
