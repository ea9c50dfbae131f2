//! etcd's gRPC lock (v3lockpb), under a lease that the worker keeps, or with one for each acquire.
//! In: a lock's name. Out: etcd's key. Never: a channel shared by two workers.

use async_trait::async_trait;
use tonic::transport::{Channel, Endpoint};

use super::{Client, Failure, Held, LEASE, Want};
use etcdserverpb::LeaseGrantRequest;
use etcdserverpb::lease_client::LeaseClient;
use v3lockpb::lock_client::LockClient;
use v3lockpb::{LockRequest, UnlockRequest};

#[allow(clippy::all, clippy::pedantic)]
mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

#[allow(clippy::all, clippy::pedantic)]
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
        Ok(Held(String::from_utf8(lock.key)?))
    }

    async fn release(&mut self, held: &Held) -> Result<(), Failure> {
        let key = held.0.clone().into_bytes();
        self.client.unlock(UnlockRequest { key }).await?;
        Ok(())
    }
}
