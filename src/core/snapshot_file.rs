//! The snapshot file: its format, its names, and how it gets its final one.
//! In: records or raw chunks. Out: a durable file that was read back whole. Never: a temporary file
//! that outlives its owner by more than a restart.
//!
//! `MAGIC`, then frames: a `SnapshotMeta`, a `SnapshotRecord` for each stored object, and a last one
//! with an empty key that counts them. A frame is its length (u32, little-endian), the message, and the
//! CRC-32C of both.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message;

use super::codec;
use super::keys::SealError;
use super::storage::StorageError;
use super::types::{Snapshot, SnapshotFile, SnapshotMeta};
use crate::table::id::ShardId;
use crate::wire::disk;

/// Format 1.
const MAGIC: &[u8; 8] = b"SLSNAP01";
/// No object is nearly as large; a length beyond it is damage, not a reason to allocate.
const FRAME_BYTES_MAX: usize = 16 << 20;
const FINAL: &str = "snap";
const TEMPORARY: &str = "tmp";

/// The snapshots of one shard: `snapshots/SHARD` in the data directory.
#[derive(Debug, Clone)]
pub(super) struct SnapshotDir(PathBuf);

impl SnapshotDir {
    /// It is made with its first file.
    pub fn new(dir: &Path, shard: ShardId) -> Self {
        Self(dir.join("snapshots").join(shard.to_string()))
    }

    /// An empty draft of a snapshot.
    pub fn draft(&self) -> io::Result<Draft> {
        let (file, temporary) = self.temporary()?;
        let mut draft = Draft {
            file: BufWriter::new(file),
            temporary,
            records: 0,
        };
        draft.file.write_all(MAGIC)?;
        Ok(draft)
    }

    /// An empty file for chunks from a leader.
    pub fn receive(&self) -> io::Result<Incoming> {
        let (file, temporary) = self.temporary()?;
        let file = BufWriter::new(file);
        Ok(Incoming { file, temporary })
    }

    /// Reads the newest snapshot up to entry `applied`; removes all other files. A newer one can be
    /// left by a crash between its rename and the sync of a later write; it covers more than the state.
    pub fn load(&self, applied: u64) -> Result<Option<Snapshot>, StorageError> {
        let mut newest: Option<Snapshot> = None;
        for path in self.files()? {
            if path.extension().is_some_and(|extension| extension == FINAL) {
                let found = open(&path)?;
                let meta = read(&found, &mut |_, _| Ok(()))?;
                let covered = meta.last_log_id.is_none_or(|last| last.index <= applied);
                let newer = |than: &Snapshot| than.meta.last_log_id < meta.last_log_id;
                if covered && newest.as_ref().is_none_or(newer) {
                    newest = Some(Snapshot {
                        meta,
                        snapshot: found,
                    });
                }
            }
        }
        let keep = newest.as_ref().map(|snapshot| snapshot.snapshot.path());
        self.remove_all_but(keep)
            .map_err(|source| StorageError::io(&self.0, source))?;
        Ok(newest)
    }

    fn files(&self) -> Result<Vec<PathBuf>, StorageError> {
        let list = || {
            let entries = fs::read_dir(&self.0)?;
            entries.map(|entry| Ok(entry?.path())).collect()
        };
        let files: io::Result<Vec<PathBuf>> = list();
        match files {
            Ok(files) => Ok(files),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(StorageError::io(&self.0, source)),
        }
    }

    fn remove_all_but(&self, keep: Option<&Path>) -> io::Result<()> {
        for path in self.files()? {
            if Some(&*path) != keep {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Removes older snapshots. Temporary files are their owners'.
    fn remove_finals_but(&self, keep: &Path) -> io::Result<()> {
        for path in self.files()? {
            if path != keep && path.extension().is_some_and(|extension| extension == FINAL) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn temporary(&self) -> io::Result<(File, Temporary)> {
        /// Two drafts of one process never share a name; those of earlier ones are gone.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(&self.0)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = self.0.join(format!("{number}.{TEMPORARY}"));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true);
        Ok((file.open(&path)?, Temporary(path)))
    }
}

/// A file that vanishes with its owner, unless it got its final name.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(file = %self.0.display(), %error, "cannot be removed"),
        }
    }
}

/// A snapshot being written.
pub(super) struct Draft {
    file: BufWriter<File>,
    temporary: Temporary,
    records: u64,
}

impl Draft {
    /// What it covers; first.
    pub fn meta(&mut self, meta: &SnapshotMeta) -> io::Result<()> {
        self.frame(&codec::snapshot_meta_to_proto(meta))
    }

    /// One stored object, by its key without the shard.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.records += 1;
        self.frame(&disk::SnapshotRecord {
            key: key.to_vec(),
            value: value.to_vec(),
            records: 0,
        })
    }

    /// Makes it durable, under its temporary name.
    pub fn finish(mut self) -> io::Result<SnapshotFile> {
        self.frame(&disk::SnapshotRecord {
            key: Vec::new(),
            value: Vec::new(),
            records: self.records,
        })?;
        SnapshotFile::durable(self.file, self.temporary)
    }

    fn frame(&mut self, message: &impl Message) -> io::Result<()> {
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        let length = length.to_le_bytes();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&length), &message);
        self.file.write_all(&length)?;
        self.file.write_all(&message)?;
        self.file.write_all(&checksum.to_le_bytes())
    }
}

/// A snapshot that a leader is sending, under a temporary name until it is whole. Dropped, it vanishes.
pub struct Incoming {
    file: BufWriter<File>,
    temporary: Temporary,
}

impl Incoming {
    /// Appends the next bytes. Blocks on the disk.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes it durable and checks every frame of it. Blocks on the disk. Fails with
    /// [`io::ErrorKind::InvalidData`] if it is not what a leader's snapshot file holds.
    pub fn finish(self) -> io::Result<SnapshotFile> {
        let file = SnapshotFile::durable(self.file, self.temporary)?;
        read(&file, &mut |_, _| Ok(()))?;
        Ok(file)
    }
}

impl SnapshotFile {
    fn durable(file: BufWriter<File>, temporary: Temporary) -> io::Result<Self> {
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(Self {
            path: temporary.0.clone(),
            bytes: file.metadata()?.len(),
            file: Arc::new(file),
            _temporary: Some(Arc::new(temporary)),
        })
    }

    /// Gives it its final name, durably, and removes older snapshots.
    pub(super) fn publish(self, dir: &SnapshotDir, meta: &SnapshotMeta) -> io::Result<Self> {
        if self.path.parent() != Some(&dir.0) {
            return self.copy_to(dir)?.publish(dir, meta);
        }
        let name = meta.last_log_id.map_or("empty".into(), |last| {
            format!("{}-{}", last.index, last.leader_id.term)
        });
        let path = dir.0.join(format!("{name}.{FINAL}"));
        if path != self.path {
            fs::rename(&self.path, &path)?;
        }
        File::open(&dir.0)?.sync_all()?;
        dir.remove_finals_but(&path)?;
        Ok(Self {
            path,
            file: self.file,
            bytes: self.bytes,
            _temporary: None,
        })
    }

    /// A copy in this directory: another node's file stays as it is. (Only in-process tests do that.)
    fn copy_to(&self, dir: &SnapshotDir) -> io::Result<Self> {
        let mut incoming = dir.receive()?;
        let mut reader = At {
            snapshot: self,
            offset: 0,
        };
        io::copy(&mut reader, &mut incoming.file)?;
        Self::durable(incoming.file, incoming.temporary)
    }
}

/// What is called for each record: its key without the shard, and its value as stored.
pub(super) type VisitRecord<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), SealError> + 'a;

/// Reads a snapshot from its beginning to its end, and checks all of it.
pub(super) fn read(
    snapshot: &SnapshotFile,
    visit: &mut VisitRecord<'_>,
) -> Result<SnapshotMeta, StorageError> {
    let what = snapshot.path.display().to_string();
    let mut frames = Frames {
        reader: BufReader::with_capacity(
            1 << 16,
            At {
                snapshot,
                offset: 0,
            },
        ),
        what: &what,
    };
    frames.magic()?;
    let meta = disk::SnapshotMeta::decode(&*frames.next()?);
    let meta = meta.map_err(|error| frames.damaged(error))?;
    let meta = codec::snapshot_meta_from_proto(meta).map_err(|error| frames.damaged(error))?;
    let mut records = 0;
    loop {
        let record = disk::SnapshotRecord::decode(&*frames.next()?);
        let record = record.map_err(|error| frames.damaged(error))?;
        if record.key.is_empty() {
            frames.end(record.records == records)?;
            return Ok(meta);
        }
        visit(&record.key, &record.value).map_err(|error| frames.damaged(error))?;
        records += 1;
    }
}

fn open(path: &Path) -> Result<SnapshotFile, StorageError> {
    let opened = || {
        let file = File::open(path)?;
        Ok((file.metadata()?.len(), file))
    };
    let (bytes, file) = opened().map_err(|source| StorageError::io(path, source))?;
    Ok(SnapshotFile {
        path: path.to_owned(),
        file: Arc::new(file),
        bytes,
        _temporary: None,
    })
}

/// Reads a shared file without moving its cursor.
struct At<'a> {
    snapshot: &'a SnapshotFile,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.snapshot.read_at(self.offset, buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}

struct Frames<'a> {
    reader: BufReader<At<'a>>,
    what: &'a str,
}

impl Frames<'_> {
    fn magic(&mut self) -> Result<(), StorageError> {
        let mut magic = [0; 8];
        self.fill(&mut magic)?;
        match &magic == MAGIC {
            true => Ok(()),
            false => Err(self.damaged("it does not begin as a snapshot of a known format")),
        }
    }

    fn next(&mut self) -> Result<Vec<u8>, StorageError> {
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let bytes = u32::from_le_bytes(length) as usize;
        if bytes > FRAME_BYTES_MAX {
            return Err(self.damaged("a length in it cannot be"));
        }
        let mut message = vec![0; bytes];
        self.fill(&mut message)?;
        let mut checksum = [0; 4];
        self.fill(&mut checksum)?;
        let expected = crc32c::crc32c_append(crc32c::crc32c(&length), &message);
        match u32::from_le_bytes(checksum) == expected {
            true => Ok(message),
            false => Err(self.damaged("a checksum in it does not fit")),
        }
    }

    fn end(&mut self, counted: bool) -> Result<(), StorageError> {
        let left = self.reader.read(&mut [0]);
        match left.map_err(|error| self.failed(error))? {
            0 if counted => Ok(()),
            _ => Err(self.damaged("it does not hold as many records as it says")),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), StorageError> {
        let filled = self.reader.read_exact(buffer);
        filled.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends too early"),
            _ => self.failed(error),
        })
    }

    fn damaged(&self, why: impl ToString) -> StorageError {
        StorageError::damaged(self.what, why.to_string())
    }

    fn failed(&self, error: io::Error) -> StorageError {
        StorageError::io(Path::new(self.what), error)
    }
}
