//! etcd's gRPC lock (v3lockpb), under a lease that the worker keeps, or with one for each acquire.
//! In: a lock's name. Out: etcd's key, the store's revision. Never: a channel shared by two workers.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tonic::transport::{Channel, Endpoint};

use super::{Client, Failure, Held, LEASE, Want};
use etcdserverpb::LeaseGrantRequest;
use etcdserverpb::lease_client::LeaseClient;
use v3lockpb::lock_client::LockClient;
use v3lockpb::{LockRequest, UnlockRequest};

#[expect(missing_docs, clippy::pedantic, reason = "generated")]
mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

#[expect(missing_docs, clippy::pedantic, reason = "generated")]
mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// A client of etcd.
pub struct EtcdGrpc {
    client: LockClient<Channel>,
    /// Zero: the server grants one each time.
    lease: i64,
}

impl EtcdGrpc {
    pub async fn connect(url: &str, keeps_lease: bool) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?
            .tcp_nodelay(true)
            .connect()
            .await?;
        let mut lease = 0;
        if keeps_lease {
            let ask = LeaseGrantRequest {
                ttl: i64::try_from(LEASE.as_secs())?,
                id: 0,
            };
            let granted = LeaseClient::new(channel.clone()).lease_grant(ask).await?;
            lease = granted.into_inner().id;
        }
        Ok(Self {
            client: LockClient::new(channel),
            lease,
        })
    }
}

#[async_trait]
impl Client for EtcdGrpc {
    async fn acquire(&mut self, want: Want<'_>) -> Result<Held, Failure> {
        let ask = LockRequest {
            name: want.lock.as_bytes().to_vec(),
            lease: self.lease,
        };
        let lock = self.client.lock(ask).await?.into_inner();
        Ok(Held {
            key: STANDARD.encode(&lock.key),
            token: lock.header.and_then(|h| u64::try_from(h.revision).ok()),
        })
    }

    async fn release(&mut self, held: &Held) -> Result<(), Failure> {
        let key = STANDARD.decode(&held.key)?;
        self.client.unlock(UnlockRequest { key }).await?;
        Ok(())
    }
}
