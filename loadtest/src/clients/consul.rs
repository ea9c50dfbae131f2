//! Consul's lock: a session that the worker keeps, and KV acquire and release.
//! In: a lock's name. Out: the key. Never: Consul's default lock-delay of 15 s, nor the 5 s sleep of its client.

use anyhow::Context;
use async_trait::async_trait;
use hyper::Method;
use serde_json::{Value, json};

use super::http::Http;
use super::{Client, Failure, Held, Patience, Want};

/// A client of a Consul agent.
pub struct Consul {
    http: Http,
    session: String,
}

impl Consul {
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let mut http = Http::connect(url).await?;
        let ask = json!({"LockDelay": "0s", "Behavior": "release", "NodeChecks": []});
        let body = serde_json::to_vec(&ask)?;
        let answer = http.send(Method::PUT, "/v1/session/create", body).await?;
        let created: Value = serde_json::from_slice(&answer.body)
            .with_context(|| String::from_utf8_lossy(&answer.body).into_owned())?;
        let session = created["ID"].as_str().context("no session id")?.to_owned();
        Ok(Self { http, session })
    }

    async fn put(&mut self, verb: &str, lock: &str) -> Result<bool, Failure> {
        let path = format!("/v1/kv/{lock}?{verb}={}", self.session);
        let answer = self.http.send(Method::PUT, &path, Vec::new()).await?;
        Ok(answer.success()?.as_bool().unwrap_or(false))
    }
}

#[async_trait]
impl Client for Consul {
    async fn acquire(&mut self, want: Want<'_>) -> Result<Held, Failure> {
        let mut patience = Patience::new();
        while !self.put("acquire", want.lock).await? {
            patience.pause().await?;
        }
        Ok(Held(want.lock.to_owned()))
    }

    async fn release(&mut self, held: &Held) -> Result<(), Failure> {
        match self.put("release", &held.0).await? {
            true => Ok(()),
            false => Err(Failure::Refused("not held".to_owned())),
        }
    }
}
