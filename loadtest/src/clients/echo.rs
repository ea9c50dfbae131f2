//! Two requests of a pair's sizes to a server that sends them back: the limit of local HTTP.
//! In: a lock's name, to make the sizes right. Out: nothing that is held. Never: a lock.

use async_trait::async_trait;
use serde_json::json;

use super::http::Http;
use super::{Client, Failure, Held, Want, body};

/// A client of the echo.
pub struct Echo {
    http: Http,
}

impl Echo {
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            http: Http::connect(url).await?,
        })
    }
}

#[async_trait]
impl Client for Echo {
    async fn acquire(&mut self, want: Want<'_>) -> Result<Held, Failure> {
        self.http.post("/", &body(want)).await?;
        Ok(Held("3f0c47bf-0000-4000-8000-000000000000".to_owned()))
    }

    async fn release(&mut self, held: &Held) -> Result<(), Failure> {
        self.http.post("/", &json!({"claim": held.0})).await?;
        Ok(())
    }
}
