//! The file of a state directory, torn and damaged in place.
//! In: dice. Out: what all records up to some point add up to, or nothing. Never: a claim that no record
//! says.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use sidelock::sidecar::saved::{Record, Saved};
use sidelock::sidecar::state_dir::StateDir;
use tempfile::TempDir;

use crate::dice::Dice;
use crate::{records, throw};

thread_local! {
    static DIR: TempDir = TempDir::new().expect("a directory");
}

#[test]
fn a_damaged_file_says_nothing_and_a_torn_one_what_was_written_up_to_some_record() {
    throw!(|mut dice: Dice| DIR.with(|dir| damaged(&mut dice, dir.path())));
}

fn damaged(dice: &mut Dice, dir: &Path) {
    let written: Vec<Record> = (0..dice.below(8)).map(|_| records::record(dice)).collect();
    let (first, second) = written.split_at(written.len() / 2);
    let (place, _) = StateDir::open(dir).expect("opens");
    let mut book = place.begin(first).expect("is written");
    book.write(second).expect("is written");
    drop(book);
    let path = dir.join("claims");
    let whole = std::fs::read(&path).expect("is there");
    let mut bytes = whole.clone();
    match dice.below(4) {
        0 => {}
        1 => bytes.truncate(dice.below(whole.len() + 1)),
        2 => bytes.extend((0..dice.below(20)).map(|_| dice.byte())),
        _ => dice.damage(&mut bytes),
    }
    let mut file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&path)
        .expect("is there");
    file.write_all(&bytes).expect("is written");
    let (_, read) = StateDir::open(dir).expect("opens all the same");
    let mut so_far = Saved::default();
    let mut known = vec![so_far.clone()];
    for record in written {
        so_far.apply(record);
        known.push(so_far.clone());
    }
    match read {
        Some(read) if bytes == whole => assert_eq!(read, so_far),
        // What has its length but not its bytes is damaged, not torn: nothing of it may be believed.
        Some(read) if bytes.len() == whole.len() => panic!("{read:?} out of a damaged file"),
        Some(read) => assert!(known.contains(&read), "{read:?} of {known:?}"),
        None => assert_ne!(bytes, whole, "a whole file is not read"),
    }
}
