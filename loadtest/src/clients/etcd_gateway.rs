//! etcd's JSON gateway: /v3/lock/lock and /v3/lock/unlock, under a lease that the worker keeps.
//! In: a lock's name. Out: etcd's key. Never: a lease for each pair.

use anyhow::Context;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::http::Http;
use super::{Client, Failure, Held, LEASE, Want};

/// A client of etcd's gateway.
pub struct EtcdGateway {
    http: Http,
    lease: String,
}

impl EtcdGateway {
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let mut http = Http::connect(url).await?;
        let ttl = json!({"TTL": LEASE.as_secs().to_string()});
        let granted = match http.post("/v3/lease/grant", &ttl).await {
            Ok(granted) => granted,
            Err(Failure::Refused(word)) => anyhow::bail!("no lease: {word}"),
            Err(Failure::Broken(error)) => return Err(error),
        };
        let lease = granted["ID"].as_str().context("no lease id")?.to_owned();
        Ok(Self { http, lease })
    }
}

#[async_trait]
impl Client for EtcdGateway {
    async fn acquire(&mut self, want: Want<'_>) -> Result<Held, Failure> {
        let ask = json!({"name": STANDARD.encode(want.lock), "lease": self.lease});
        let lock = self.http.post("/v3/lock/lock", &ask).await?;
        Ok(Held(lock["key"].as_str().context("no key")?.to_owned()))
    }

    async fn release(&mut self, held: &Held) -> Result<(), Failure> {
        let ask = json!({"key": held.0});
        self.http.post("/v3/lock/unlock", &ask).await?;
        Ok(())
    }
}
