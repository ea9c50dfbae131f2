//! The Raft types of Sidelock: what an entry, a reply, a node and a snapshot are.
//! In: table commands. Out: one `TypeConfig` and its aliases. Never: serde; `wire::disk` owns every encoding.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use openraft::alias;
use openraft::impls::TokioRuntime;
use prost::Message;

use super::snapshot_file::Temporary;
use crate::table::{Command, Reply};
use crate::telemetry::traces::Trail;
use crate::wire::convert::disk::{self as stored, StoredError};
use crate::wire::disk;

openraft::declare_raft_types!(
    /// One shard's Raft group.
    pub TypeConfig:
        D = Batch,
        R = BatchReply,
        NodeId = u64,
        Node = Member,
        Term = u64,
        LeaderId = openraft::vote::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = TokioRuntime,
);

/// Term and index of an entry. (With one leader a term, the leader's id adds nothing.)
pub type LogId = alias::LogIdOf<TypeConfig>;
/// A node's vote.
pub type Vote = alias::VoteOf<TypeConfig>;
/// A log entry.
pub type Entry = alias::EntryOf<TypeConfig>;
/// Voters and learners, by Raft id.
pub type Membership = openraft::Membership<u64, Member>;
/// A membership with the entry that set it.
pub type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot covers.
pub type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot: meta and file.
pub type Snapshot = alias::SnapshotOf<TypeConfig, SnapshotFile>;

/// Commands proposed together: one log entry, applied in order, each whole. They are encoded once, by
/// whoever proposes: every log holds, and every follower is sent, the same bytes.
#[derive(Debug, Clone)]
pub struct Batch {
    commands: Arc<Vec<Command>>,
    encoded: Bytes,
    /// Its span, only where it was proposed: it rides along in memory, and is never stored or sent.
    /// Weak: the log keeps entries in memory for long, and the span ends with the answer.
    trail: Weak<Trail>,
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for Batch {}

impl Batch {
    /// Encodes what is to be proposed.
    pub fn new(commands: Vec<Command>) -> Self {
        Self {
            encoded: stored::batch(&commands).encode_to_vec().into(),
            commands: Arc::new(commands),
            trail: Weak::new(),
        }
    }

    /// The same, with a span.
    pub fn traced(self, trail: &Arc<Trail>) -> Self {
        Self {
            trail: Arc::downgrade(trail),
            ..self
        }
    }

    /// Its span, until it is answered.
    pub fn trail(&self) -> Option<Arc<Trail>> {
        self.trail.upgrade()
    }

    /// Reads what was proposed elsewhere or earlier, and keeps the bytes.
    ///
    /// # Errors
    /// If they are no batch that a node of this version would propose.
    pub fn decode(encoded: Bytes) -> Result<Self, StoredError> {
        let batch = disk::Batch::decode(encoded.clone())?;
        Ok(Self {
            commands: Arc::new(stored::commands(batch)?),
            encoded,
            trail: Weak::new(),
        })
    }

    /// In the order in which they apply.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// A `log.proto` Batch.
    pub fn encoded(&self) -> Bytes {
        self.encoded.clone()
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands", self.commands.len())
    }
}

/// The reply to each command of a [`Batch`], in order; empty for entries without commands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchReply(pub Vec<Reply>);

/// Names a disk: 128 random bits made with the data directory, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DiskId(pub u128);

impl fmt::Debug for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One node as the membership knows it. `Default` exists for openraft's test suite only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    /// The operator's node id, 1 to 65535.
    pub place: u16,
    /// Counts the disks that this place has had, from 1.
    pub incarnation: u16,
    /// The disk that this incarnation is bound to.
    pub disk: DiskId,
    /// `HOST:PORT` of its gRPC.
    pub grpc: String,
    /// `HOST:PORT` of its operator HTTP.
    pub http: String,
    /// Places that left the cell, and the last incarnation of each, so that a later disk there gets
    /// another Raft id. Some member carries each of them.
    pub retired: BTreeMap<u16, u16>,
}

impl Member {
    /// Its Raft id, never given to another disk: that would be a node that forgot its log.
    pub fn raft_id(&self) -> u64 {
        raft_id(self.place, self.incarnation)
    }
}

/// The Raft id of a place's incarnation: `place << 16 | incarnation`.
pub fn raft_id(place: u16, incarnation: u16) -> u64 {
    u64::from(place) << 16 | u64::from(incarnation)
}

/// Place and incarnation of a Raft id; `None` if it is not one of ours.
pub fn place_and_incarnation(id: u64) -> Option<(u16, u16)> {
    let place = u16::try_from(id >> 16).ok()?;
    let incarnation = (id & 0xffff) as u16;
    Some((place, incarnation))
}

/// A complete, durable snapshot file. Its format is that of `snapshot.rs`; Raft streams its bytes as
/// they are. It holds the file open, so a newer snapshot may replace it while it is being sent.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) bytes: u64,
    /// Removes the file with the last clone, until it has its final name.
    pub(super) _temporary: Option<Arc<Temporary>>,
}

impl SnapshotFile {
    /// Where it is, or was.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `buffer` from `offset` (both in bytes); less than its length only at the end. Blocks on
    /// the disk. Fails as the disk does.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self
                .file
                .read_at(&mut buffer[filled..], offset + filled as u64)?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        Ok(filled)
    }
}
