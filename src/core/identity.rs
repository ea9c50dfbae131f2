//! Who a disk is: the place and cell it belongs to, bound to a random id made with the directory.
//! In: what formation and admission decide. Out: one durable record. Never: a second disk id.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use rand::TryRngCore;
use rand::rngs::OsRng;

use super::keys;
use super::storage::{StorageError, put_sealed, read_error, read_sealed};
use super::types::DiskId;
use crate::wire::disk;
use crate::world::engine::{Engine, Space, WriteBatch};

/// The identity of one data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The random id made with the directory.
    pub disk: DiskId,
    /// The operator's node id, 1 to 65535; `None` until known.
    pub place: Option<u16>,
    /// The cell it belongs to; `None` until it forms or joins one.
    pub cluster_id: Option<String>,
    /// Its Raft id in that cell; `None` until it forms or joins one.
    pub raft_id: Option<u64>,
}

/// The identity of an opened directory; made, and durable, if the directory is new.
pub(super) fn load_or_make(engine: &dyn Engine, dir: &Path) -> Result<Identity, StorageError> {
    let what = format!("the identity in {}", dir.display());
    let stored = read_sealed::<disk::Identity>(engine, Space::Meta, &keys::identity(), &what)?;
    if let Some(stored) = stored {
        return parse(stored).ok_or_else(|| StorageError::damaged(what, "it makes no sense"));
    }
    if !is_empty(engine).map_err(|error| read_error(&what, error))? {
        return Err(StorageError::damaged(what, "it is missing"));
    }
    let disk = random_disk().map_err(|error| StorageError::io(dir, error))?;
    let identity = Identity {
        disk: DiskId(disk),
        place: None,
        cluster_id: None,
        raft_id: None,
    };
    let written = engine
        .write(&record(&identity))
        .and_then(|()| engine.sync());
    written.map_err(|error| StorageError::io(dir, error))?;
    Ok(identity)
}

/// The write that stores an identity.
pub(super) fn record(identity: &Identity) -> WriteBatch {
    let mut batch = WriteBatch::default();
    let message = disk::Identity {
        disk: identity.disk.0.to_be_bytes().into(),
        place: identity.place.map(u32::from),
        cluster_id: identity.cluster_id.clone(),
        raft_id: identity.raft_id,
    };
    put_sealed(&mut batch, Space::Meta, keys::identity(), &message);
    batch
}

fn parse(stored: disk::Identity) -> Option<Identity> {
    let disk = u128::from_be_bytes(stored.disk.try_into().ok()?);
    let place = stored.place.map(u16::try_from).transpose().ok()?;
    Some(Identity {
        disk: DiskId(disk),
        place,
        cluster_id: stored.cluster_id,
        raft_id: stored.raft_id,
    })
}

/// Whether nothing was ever stored: an identity is the first thing that is.
fn is_empty(engine: &dyn Engine) -> io::Result<bool> {
    let mut empty = true;
    for space in [Space::Log, Space::Meta, Space::State] {
        engine.scan(space, &[], &[0xff; 5], &mut |_, _| {
            empty = false;
            ControlFlow::Break(())
        })?;
    }
    Ok(empty)
}

/// From the kernel: two disks with one id would pass for one node.
fn random_disk() -> io::Result<u128> {
    let mut bytes = [0; 16];
    OsRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(u128::from_be_bytes(bytes))
}
