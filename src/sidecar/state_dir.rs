//! The state directory: a file of records from which the next process of this sidecar goes on.
//! In: records, each written before anything follows from it. Out: what an earlier process has left.
//! Never: a file of another boot, a copy, or one that another process has open.
//!
//! What is written is not synced: a crash of the process loses nothing that the kernel has, and after a
//! crash of the machine (another boot) the file is not used.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use rustix::fs::{AtFlags, FlockOperation, StatxFlags, flock, statx};
use rustix::io::Errno;

use super::saved::{Record, Saved};
use super::saved_codec::{decode, encode};
use crate::wire::state;

/// The form of the file; another one is not read.
const FORMAT: u32 = 2;
/// Below this the file is not written anew. Small, as is the next: an injected sidecar's directory is memory of
/// 1 MiB, where for a moment the old file and the new one have to be side by side.
const REWRITE_FROM: u64 = 1 << 17;
/// It is written anew when it has grown to so many times its size after the last time.
const REWRITE_GROWTH: u64 = 2;
/// The file's name.
const CLAIMS: &str = "claims";
/// Before each record: its length, the checksum of those bytes, and that of the record. A length that may be
/// wrong would make damage look like a record that was not written whole.
const HEAD: usize = 12;

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A call of the system failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// On what.
        path: PathBuf,
        /// How.
        error: io::Error,
    },
    /// Another process has it.
    #[error("{}: another sidecar uses it", .0.display())]
    InUse(PathBuf),
}

/// The directory, locked for as long as this lives.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    _lock: File,
}

/// The open file in it.
#[derive(Debug)]
pub struct Book {
    place: StateDir,
    file: File,
    size: u64,
    size_rewritten: u64,
}

impl StateDir {
    /// Takes the directory, and what an earlier process has left in it, if that can be trusted.
    pub fn open(dir: &Path) -> Result<(Self, Option<Saved>), StateError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| StateError::Io { path, error }
        };
        std::fs::create_dir_all(dir).map_err(failed(dir))?;
        let lock = dir.join("lock");
        let held = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock);
        let held = held.map_err(failed(&lock))?;
        match flock(&held, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(StateError::InUse(dir.to_owned())),
            Err(error) => return Err(failed(&lock)(error.into())),
        }
        let path = dir.join(CLAIMS);
        let saved = match File::open(&path) {
            Ok(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).map_err(failed(&path))?;
                read(&bytes, &origin(&file).map_err(failed(&path))?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&path)(error)),
        };
        let place = Self {
            dir: dir.to_owned(),
            _lock: held,
        };
        Ok((place, saved))
    }

    /// Begins a file with these records, which are all that there is, in place of an earlier one.
    pub fn begin(self, records: &[Record]) -> io::Result<Book> {
        let (file, size) = write_anew(&self.dir, records)?;
        Ok(Book {
            place: self,
            file,
            size,
            size_rewritten: size,
        })
    }
}

impl Book {
    /// Appends records.
    pub fn write(&mut self, records: &[Record]) -> io::Result<()> {
        self.size += write_all(&mut self.file, records)?;
        Ok(())
    }

    /// Whether most of it is out of date.
    pub fn is_bloated(&self) -> bool {
        self.size > REWRITE_FROM.max(self.size_rewritten * REWRITE_GROWTH)
    }

    /// As [`StateDir::begin`].
    pub fn rewrite(&mut self, records: &[Record]) -> io::Result<()> {
        (self.file, self.size) = write_anew(&self.place.dir, records)?;
        self.size_rewritten = self.size;
        Ok(())
    }

    /// Removes the file: nothing is left to go on from, or it cannot be trusted any more.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(self.place.dir.join(CLAIMS))
    }
}

/// A new file that knows where it comes from, whole before it takes the place of the old one.
fn write_anew(dir: &Path, records: &[Record]) -> io::Result<(File, u64)> {
    let path = dir.join("claims.new");
    // Never an old one anew: a new file has another inode, or another birth.
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .append(true)
        .open(&path)?;
    let first = state::Record {
        record: Some(state::record::Record::Origin(origin(&file)?)),
    };
    let mut bytes = Vec::new();
    append(&mut bytes, &first);
    file.write_all(&bytes)?;
    let size = bytes.len() as u64 + write_all(&mut file, records)?;
    std::fs::rename(path, dir.join(CLAIMS))?;
    Ok((file, size))
}

fn write_all(file: &mut File, records: &[Record]) -> io::Result<u64> {
    let mut bytes = Vec::new();
    for record in records {
        append(&mut bytes, &encode(record));
    }
    file.write_all(&bytes)?;
    Ok(bytes.len() as u64)
}

/// Which file this is, in which boot.
fn origin(file: &File) -> io::Result<state::Origin> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = statx(file, "", AtFlags::EMPTY_PATH, flags)?;
    Ok(state::Origin {
        format: FORMAT,
        boot_id: boot_id.trim().to_owned(),
        device: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
        inode: stat.stx_ino,
        born_s: stat.stx_btime.tv_sec,
        born_ns: stat.stx_btime.tv_nsec,
    })
}

fn append(bytes: &mut Vec<u8>, record: &state::Record) {
    let body = record.encode_to_vec();
    let length = u32::try_from(body.len()).expect("a claim has at most some 100 KiB");
    let length = length.to_le_bytes();
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&crc32c::crc32c(&length).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
}

/// What the records of a file add up to; `None` if it is not the file that it says, or damaged.
fn read(bytes: &[u8], here: &state::Origin) -> Option<Saved> {
    let mut records = Records { rest: bytes };
    let first = records.next()??;
    let written_here = matches!(&first.record,
        Some(state::record::Record::Origin(origin)) if origin == here);
    if !written_here {
        tracing::warn!("the state directory is a copy, or of another boot: starting afresh");
        return None;
    }
    let mut saved = Saved::default();
    for record in records {
        let Some(record) = record.and_then(decode) else {
            tracing::error!("the state directory is damaged: starting afresh");
            return None;
        };
        saved.apply(record);
    }
    Some(saved)
}

/// The records of a file, up to one that was not written whole: nothing had followed from that.
struct Records<'a> {
    rest: &'a [u8],
}

impl Iterator for Records<'_> {
    /// `None` for a damaged one.
    type Item = Option<state::Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let (head, body) = self.rest.split_at_checked(HEAD)?;
        let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        if crc32c::crc32c(&head[..4]) != number(4)? {
            self.rest = &[];
            return Some(None);
        }
        let (body, rest) = body.split_at_checked(usize::try_from(number(0)?).ok()?)?;
        self.rest = rest;
        let whole = crc32c::crc32c(body) == number(8)?;
        Some(whole.then(|| state::Record::decode(body).ok()).flatten())
    }
}
