//! Reads RocksDB's write-ahead log before RocksDB does: cuts a torn tail, refuses a damaged middle.
//! In: the `*.log` files of a database that is not open. Out: files that hold whole records only.
//! Never: a cut that may lose what was synced. (RocksDB's own modes either refuse a torn tail too, or
//! silently stop at the first bad record wherever it is.)
//!
//! A record is bad when its checksum fails or it is not all there. A crash leaves bad records only
//! among those never synced, and they look torn: short of bytes, or with a disk sector still zero.
//! So a bad record is damage, not a torn tail, if it is all there and no sector of it is zero, or if a
//! later record bears a mark that syncs had already covered more than is readable before the bad one.
//! One case stays open: damage in the length of the very last record can pass for a torn tail unless
//! its checksum still fits the bytes up to the end of the file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::storage::StorageError;

/// Records never cross a block except in fragments; from RocksDB's `db/log_format.h`.
const BLOCK: usize = 32 * 1024;
/// Checksum 4, length 2, type 1.
const HEADER: usize = 7;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// Begins the blob that bears a synced mark.
const MARK: &[u8; 8] = b"SLsynced";

/// The blob to put into every write: all up to this sequence number is durable already.
pub(super) fn synced_mark(synced: u64) -> [u8; 16] {
    let mut mark = [0; 16];
    mark[..8].copy_from_slice(MARK);
    // Big-endian, so that a record does not end in zero bytes, which would look torn.
    mark[8..].copy_from_slice(&synced.to_be_bytes());
    mark
}

/// Keeps other processes of ours out while the log is checked and cut; held until dropped.
pub(super) fn lock(dir: &Path) -> Result<File, StorageError> {
    let path = dir.join("SIDELOCK");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| StorageError::io(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StorageError::in_use(dir)),
        Err(TryLockError::Error(source)) => Err(StorageError::io(&path, source)),
    }
}

/// Leaves only whole records in the log files of `dir`, or says what is damaged.
pub(super) fn check_and_cut(dir: &Path) -> Result<(), StorageError> {
    let mut scan = Scan::default();
    for path in log_files(dir)? {
        scan.file(&path)
            .map_err(|source| StorageError::io(&path, source))?;
    }
    let Some(bad) = scan.bad else {
        return Ok(());
    };
    let place = format!(
        "the record at byte {} of {}",
        bad.offset,
        bad.path.display()
    );
    if let Some(why) = bad.damage {
        return Err(StorageError::damaged(place, why));
    }
    if scan.synced > bad.readable {
        let detail = format!(
            "it is not readable, but writes up to number {} were synced and only those up to {} \
             are readable before it",
            scan.synced, bad.readable
        );
        return Err(StorageError::damaged(place, detail));
    }
    cut(dir, &bad)
}

/// The bad record that ends what is readable.
struct Bad {
    path: PathBuf,
    offset: u64,
    /// The last sequence number before it.
    readable: u64,
    /// Why it cannot be a torn tail, if so.
    damage: Option<&'static str>,
}

/// What is known after some files.
#[derive(Default)]
struct Scan {
    /// The greatest sequence number read so far without a gap.
    readable: u64,
    /// The greatest mark read anywhere, before the bad record or after it.
    synced: u64,
    /// The first bad record. What is read after it counts for `synced` only.
    bad: Option<Bad>,
    /// The fragments of the record being read, and where it begins.
    partial: Option<(u64, Vec<u8>)>,
}

/// One fragment of a record, or what is there in its stead.
enum Piece<'a> {
    Whole { kind: u8, data: &'a [u8] },
    Torn,
    Damaged(&'static str),
}

impl Scan {
    fn file(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut start = 0;
        loop {
            let mut block = Vec::with_capacity(BLOCK);
            let read = (&mut file).take(BLOCK as u64).read_to_end(&mut block)?;
            self.block(path, start, &block);
            if read < BLOCK {
                break;
            }
            start += BLOCK as u64;
        }
        if let Some((from, _)) = self.partial {
            self.found_bad(path, from, None);
        }
        Ok(())
    }

    fn block(&mut self, path: &Path, start: u64, block: &[u8]) {
        let mut at = 0;
        while at < block.len() {
            if block.len() == BLOCK && BLOCK - at < HEADER {
                break; // filler before the next block
            }
            match piece(block, at) {
                Piece::Whole { kind, data } => {
                    self.fragment(path, start + at as u64, kind, data);
                    at += HEADER + data.len();
                }
                Piece::Torn => {
                    self.found_bad(path, start + at as u64, None);
                    at = next_whole(block, at + 1);
                }
                Piece::Damaged(why) => {
                    self.found_bad(path, start + at as u64, Some(why));
                    at = next_whole(block, at + 1);
                }
            }
        }
    }

    fn fragment(&mut self, path: &Path, offset: u64, kind: u8, data: &[u8]) {
        let lacks = Some("a part of it is missing, though what follows is whole");
        match (kind, self.partial.take()) {
            (FULL, None) => self.record(data),
            (FIRST, None) => self.partial = Some((offset, data.to_vec())),
            (MIDDLE, Some((from, mut record))) => {
                record.extend_from_slice(data);
                self.partial = Some((from, record));
            }
            (LAST, Some((_, mut record))) => {
                record.extend_from_slice(data);
                self.record(&record);
            }
            (FULL | FIRST, Some((from, _))) => {
                self.found_bad(path, from, lacks);
                self.fragment(path, offset, kind, data);
            }
            (MIDDLE | LAST, None) => self.found_bad(path, offset, lacks),
            // Other kinds describe the file to RocksDB; they hold no write.
            (_, partial) => self.partial = partial,
        }
    }

    fn record(&mut self, record: &[u8]) {
        let (last, synced) = numbers(record);
        if self.bad.is_none() {
            self.readable = self.readable.max(last);
        }
        self.synced = self.synced.max(synced);
    }

    /// Notes the first bad record, from where its first fragment begins.
    fn found_bad(&mut self, path: &Path, offset: u64, damage: Option<&'static str>) {
        let offset = self.partial.take().map_or(offset, |(from, _)| from);
        if self.bad.is_none() {
            self.bad = Some(Bad {
                path: path.to_owned(),
                offset,
                readable: self.readable,
                damage,
            });
        }
    }
}

/// The fragment at `at` of a block. A block that is not full is the end of its file.
fn piece(block: &[u8], at: usize) -> Piece<'_> {
    let left = &block[at..];
    if left.len() < HEADER {
        return Piece::Torn;
    }
    let kind = left[6];
    let end = HEADER + usize::from(u16::from_le_bytes([left[4], left[5]]));
    if end > left.len() {
        return if block.len() < BLOCK {
            match fits(left, left.len()) {
                true => Piece::Damaged("its length is not the one it was written with"),
                false => Piece::Torn,
            }
        } else {
            torn_or(block, at, block.len(), "its length cannot be")
        };
    }
    if kind != 0 && fits(left, end) {
        let data = &left[HEADER..end];
        return Piece::Whole { kind, data };
    }
    torn_or(block, at, at + end, "its checksum does not fit")
}

/// Torn if a sector of `block[from..to]` is all zeros, as if it had never reached the disk.
fn torn_or(block: &[u8], from: usize, to: usize, damage: &'static str) -> Piece<'static> {
    let mut at = from;
    while at < to {
        let sector_end = to.min((at / SECTOR + 1) * SECTOR);
        if block[at..sector_end].iter().all(|byte| *byte == 0) {
            return Piece::Torn;
        }
        at = sector_end;
    }
    Piece::Damaged(damage)
}

/// Whether the checksum in the header fits a fragment of `end` bytes, header included.
fn fits(fragment: &[u8], end: usize) -> bool {
    let stored = u32::from_le_bytes([fragment[0], fragment[1], fragment[2], fragment[3]]);
    let crc = crc32c::crc32c(&fragment[6..end]);
    // Masked as RocksDB does, since a checksum of data that holds checksums is weak.
    stored == crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Where the next whole fragment begins, if the reader has lost its place; the block's end if nowhere.
fn next_whole(block: &[u8], from: usize) -> usize {
    (from..block.len())
        .find(|at| {
            let left = &block[*at..];
            // The kind is looked at first: it excludes nearly all places without a checksum.
            left.len() >= HEADER
                && (FULL..=LAST).contains(&left[6])
                && matches!(piece(block, *at), Piece::Whole { .. })
        })
        .unwrap_or(block.len())
}

/// The last sequence number of a record, and its greatest synced mark (0 if it bears none).
fn numbers(record: &[u8]) -> (u64, u64) {
    let mut reader = Bytes(record);
    let (Some(first), Some(count)) = (reader.take(8), reader.take(4)) else {
        return (0, 0);
    };
    let first = u64::from_le_bytes(first.try_into().expect("8 bytes were taken"));
    let count = u32::from_le_bytes(count.try_into().expect("4 bytes were taken"));
    let mut synced = 0;
    while let Some(blob) = reader.next_change() {
        if let Some(mark) = blob.strip_prefix(MARK)
            && let Ok(mark) = mark.try_into()
        {
            synced = synced.max(u64::from_be_bytes(mark));
        }
    }
    ((first + u64::from(count)).saturating_sub(1), synced)
}

/// Reads a record's changes; see RocksDB's `db/write_batch.cc` and `db/dbformat.h` for the tags.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// The next change: its blob if it is one, else nothing of it. `None` at the end.
    fn next_change(&mut self) -> Option<&'a [u8]> {
        let (family, strings) = match self.take(1)?[0] {
            0x00 => (false, 1),        // delete
            0x01 | 0x0f => (false, 2), // put, delete range
            0x03 => return self.string(),
            0x04 => (true, 1),        // delete in a family
            0x05 | 0x0e => (true, 2), // put, delete range in a family
            0x0d => (false, 0),       // nothing
            _ => return None,
        };
        if family {
            self.varint()?;
        }
        for _ in 0..strings {
            self.string()?;
        }
        Some(&[])
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.varint()?;
        self.take(length as usize)
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Cuts the bad record and all after it, in its file and in later ones: none of it was ever synced.
/// The latest file goes first: if this is interrupted, the bad record is still there and is found again.
fn cut(dir: &Path, bad: &Bad) -> Result<(), StorageError> {
    for path in log_files(dir)?.iter().rev() {
        let first = *path == bad.path;
        let length = if first { bad.offset } else { 0 };
        let lost = shorten(path, length).map_err(|source| StorageError::io(path, source))?;
        tracing::warn!(
            file = %path.display(), bytes = lost, "cut the torn tail of the write-ahead log",
        );
        if first {
            break;
        }
    }
    Ok(())
}

/// Cuts a file, durably; returns how many bytes went.
fn shorten(path: &Path, length: u64) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).open(path)?;
    let lost = file.metadata()?.len().saturating_sub(length);
    file.set_len(length)?;
    file.sync_all()?;
    Ok(lost)
}

/// The log files, oldest first: their names are numbers of at least six digits.
fn log_files(dir: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let mut files = Vec::new();
    let entries = fs::read_dir(dir).map_err(|source| StorageError::io(dir, source))?;
    for entry in entries {
        let path = entry
            .map_err(|source| StorageError::io(dir, source))?
            .path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (Some(number), Some("log")) = (number, path.extension().and_then(|e| e.to_str())) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}
