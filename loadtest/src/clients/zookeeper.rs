//! ZooKeeper's lock recipe: an ephemeral sequential node, and a watch on the one before it.
//! In: a lock's name. Out: the node's path. Never: a session shared by two workers.

use async_trait::async_trait;
use zookeeper_client::{Acls, Client as Session, CreateMode, LockOptions, LockPrefix};

use super::{Client, Failure, Held, Want};

/// A client of a ZooKeeper ensemble.
pub struct Zookeeper {
    session: Session,
}

impl Zookeeper {
    pub async fn connect(cluster: &str) -> anyhow::Result<Self> {
        Ok(Self {
            session: Session::connect(cluster).await?,
        })
    }
}

#[async_trait]
impl Client for Zookeeper {
    async fn acquire(&mut self, want: Want<'_>) -> Result<Held, Failure> {
        let folder = format!("/{}", want.lock);
        let prefix = LockPrefix::new_curator(&folder, "lock-")?;
        let parents = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let options = LockOptions::new(Acls::anyone_all()).with_ancestor_options(parents)?;
        let lock = self.session.lock(prefix, b"", options).await?;
        let key = lock.lock_path().to_owned();
        // Its destructor would delete the node unseen; `release` does it and waits for the answer.
        std::mem::forget(lock);
        Ok(Held(key))
    }

    async fn release(&mut self, held: &Held) -> Result<(), Failure> {
        self.session.delete(&held.0, None).await?;
        Ok(())
    }
}
