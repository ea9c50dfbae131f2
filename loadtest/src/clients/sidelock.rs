//! A sidecar's HTTP: POST a claim, DELETE it.
//! In: what is wanted. Out: the claim's id. Never: a claim that waits longer than the others do.

use anyhow::Context;
use async_trait::async_trait;
use hyper::Method;
use serde_json::{Value, json};

use super::http::Http;
use super::{Client, Failure, Held, LEASE, Shape, WAIT, Want};

/// A client of a sidecar.
pub struct Sidelock {
    http: Http,
}

impl Sidelock {
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            http: Http::connect(url).await?,
        })
    }
}

/// The body of a claim.
pub fn body(want: Want<'_>) -> Value {
    let mut body = json!({"wait_ms": millis(WAIT), "ttl_ms": millis(LEASE)});
    match want.shape {
        Shape::Exclusive => body["lock"] = json!(want.lock),
        Shape::Shared => {
            body["lock"] = json!(want.lock);
            body["mode"] = json!("shared");
        }
        Shape::Permit(limit) => {
            body["lock"] = json!(want.lock);
            body["permits"] = json!(1);
            body["limit"] = json!(limit);
        }
        Shape::Several(count) => {
            let locks = (0..count).map(|place| json!({"name": format!("{}/{place}", want.lock)}));
            body["locks"] = locks.collect();
        }
    }
    body
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("an hour in milliseconds")
}

#[async_trait]
impl Client for Sidelock {
    async fn acquire(&mut self, want: Want<'_>) -> Result<Held, Failure> {
        let claim = self.http.post("/v1/claims", &body(want)).await?;
        let id = claim["claim_id"].as_str().context("no claim id")?;
        Ok(Held(id.to_owned()))
    }

    async fn release(&mut self, held: &Held) -> Result<(), Failure> {
        let path = format!("/v1/claims/{}", held.0);
        let answer = self.http.send(Method::DELETE, &path, Vec::new()).await?;
        match answer.status {
            204 => Ok(()),
            _ => Err(answer.refusal()),
        }
    }
}
