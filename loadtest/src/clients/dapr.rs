//! Dapr's lock building block through a daprd whose store is Redis.
//! In: a lock's name. Out: the owner that holds it. Never: a wait, since Dapr has none: we ask again.

use async_trait::async_trait;
use serde_json::json;

use super::http::Http;
use super::{Client, Failure, Held, LEASE, Patience, Want, unique};

/// A client of a daprd.
pub struct Dapr {
    http: Http,
}

impl Dapr {
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            http: Http::connect(url).await?,
        })
    }
}

#[async_trait]
impl Client for Dapr {
    async fn acquire(&mut self, want: Want<'_>) -> Result<Held, Failure> {
        let owner = unique();
        let ask = json!({"resourceId": want.lock, "lockOwner": owner,
                         "expiryInSeconds": LEASE.as_secs()});
        let mut patience = Patience::new();
        while self.http.post("/v1.0-alpha1/lock/locks", &ask).await?["success"] != true {
            patience.pause().await?;
        }
        Ok(Held(format!("{}\n{owner}", want.lock)))
    }

    async fn release(&mut self, held: &Held) -> Result<(), Failure> {
        let (lock, owner) = held
            .0
            .split_once('\n')
            .ok_or_else(|| anyhow::anyhow!("a key that no acquire gave"))?;
        let ask = json!({"resourceId": lock, "lockOwner": owner});
        let answer = self.http.post("/v1.0-alpha1/unlock/locks", &ask).await?;
        // A status of zero may be left out.
        match answer["status"].as_u64().unwrap_or(0) {
            0 => Ok(()),
            status => Err(Failure::Refused(format!("status {status}"))),
        }
    }
}
