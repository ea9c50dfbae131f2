//! Redis as a lock: `SET NX PX`, and a script that deletes only what is one's own.
//! In: a lock's name. Out: a value that only this holder knows. Never: a token, since Redis has none.

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;

use super::{Client, Failure, Held, LEASE, Patience, Want, unique};

/// Deletes the key if it still has the holder's value.
const RELEASE: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";

/// A client of a Redis server.
pub struct Redis {
    connection: MultiplexedConnection,
    release: redis::Script,
}

impl Redis {
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let client = redis::Client::open(url)?;
        Ok(Self {
            connection: client.get_multiplexed_async_connection().await?,
            release: redis::Script::new(RELEASE),
        })
    }
}

#[async_trait]
impl Client for Redis {
    async fn acquire(&mut self, want: Want<'_>) -> Result<Held, Failure> {
        let value = unique();
        let lease = u64::try_from(LEASE.as_millis())?;
        let mut patience = Patience::new();
        loop {
            let set: Option<String> = redis::cmd("SET")
                .arg(want.lock)
                .arg(&value)
                .arg("NX")
                .arg("PX")
                .arg(lease)
                .query_async(&mut self.connection)
                .await?;
            if set.is_some() {
                return Ok(Held(format!("{}\n{value}", want.lock)));
            }
            patience.pause().await?;
        }
    }

    async fn release(&mut self, held: &Held) -> Result<(), Failure> {
        let (lock, value) = held
            .0
            .split_once('\n')
            .ok_or_else(|| anyhow::anyhow!("a key that no acquire gave"))?;
        let deleted: u64 = self
            .release
            .key(lock)
            .arg(value)
            .invoke_async(&mut self.connection)
            .await?;
        match deleted {
            1 => Ok(()),
            _ => Err(Failure::Refused("lost".to_owned())),
        }
    }
}
