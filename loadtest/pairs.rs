//! Pairs of acquire and release, as fast as they go or at a rate: Sidelock beside etcd's JSON gateway and
//! beside a bare echo.
//! In: targets and worker counts. Out: a line of JSON for each run. Never: a verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use sidelock::world::clock::{BootClock, Clock, Instant};
use tokio::net::TcpStream;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Peer {
    Sidelock,
    Etcd,
    /// Two requests of the same sizes, sent back.
    Echo,
}

/// Measures pairs of acquire and release.
#[derive(Debug, Parser)]
struct Args {
    /// What to speak to.
    #[arg(long)]
    peer: Peer,
    /// Base URLs; workers are spread over them.
    #[arg(long, value_delimiter = ',')]
    url: Vec<String>,
    /// Workers, each with a connection and a lock name of its own.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// How long to measure, after a second of warming up.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// All workers take this one lock, instead of each its own.
    #[arg(long)]
    lock: Option<String>,
    /// Of a hundred pairs, so many take the worker's own lock, the others that of some other worker.
    #[arg(long, default_value_t = 100)]
    locality: u8,
    /// How long a lock is held.
    #[arg(long, default_value_t = 0)]
    hold_ms: u64,
    /// So many pairs in a second are begun, whatever becomes of those before; refusals are counted.
    #[arg(long)]
    rate: Option<f64>,
    /// Take this many locks and hold them (TTL one hour) instead of pairs.
    #[arg(long)]
    hold: Option<usize>,
    /// Take and release this many locks three times over, so that they stay at the sidecar.
    #[arg(long)]
    keep: Option<usize>,
}

/// One connection that is kept open, as lean as a client can be: what it costs is taken off both peers.
struct Http {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Http {
    async fn to(base: &str) -> anyhow::Result<Self> {
        let host = base.strip_prefix("http://").context("not an http URL")?;
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            host: host.to_owned(),
        })
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(u16, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = serde_json::to_vec(body)?.into();
        let (status, answer) = self.send(Method::POST, path, body).await?;
        if !(200..300).contains(&status) {
            bail!("{path}: {status} {}", String::from_utf8_lossy(&answer));
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}

struct Worker {
    peer: Peer,
    http: Http,
    /// Number of the worker, and its URL.
    number: usize,
    url: String,
    name: String,
    lease: String,
}

impl Worker {
    async fn new(args: &Args, number: usize) -> anyhow::Result<Self> {
        let url = args.url[number % args.url.len()].clone();
        let mut worker = Self {
            peer: args.peer,
            http: Http::to(&url).await?,
            number,
            url,
            name: String::new(),
            lease: String::new(),
        };
        if let Peer::Etcd = args.peer {
            let ttl = json!({"TTL": "600"});
            let granted = worker.http.post("/v3/lease/grant", &ttl).await?;
            worker.lease = granted["ID"].as_str().context("no lease id")?.to_owned();
        }
        Ok(worker)
    }

    /// Returns what `release` needs.
    async fn acquire(&mut self) -> anyhow::Result<String> {
        match self.peer {
            Peer::Sidelock => {
                let body = json!({"lock": self.name, "wait_ms": 10_000, "ttl_ms": 3_600_000});
                let claim = self.http.post("/v1/claims", &body).await?;
                Ok(claim["claim_id"]
                    .as_str()
                    .context("no claim id")?
                    .to_owned())
            }
            Peer::Echo => {
                let body = json!({"lock": self.name, "wait_ms": 10_000, "ttl_ms": 3_600_000});
                self.http.post("/", &body).await?;
                Ok(String::new())
            }
            Peer::Etcd => {
                let body = json!({"name": base64(&self.name), "lease": self.lease});
                let lock = self.http.post("/v3/lock/lock", &body).await?;
                Ok(lock["key"].as_str().context("no key")?.to_owned())
            }
        }
    }

    async fn release(&mut self, held: &str) -> anyhow::Result<()> {
        match self.peer {
            Peer::Sidelock => {
                let path = format!("/v1/claims/{held}");
                let (status, _) = self.http.send(Method::DELETE, &path, Bytes::new()).await?;
                if status != 204 {
                    bail!("release: {status}");
                }
            }
            Peer::Echo => {
                self.http.post("/", &json!({"key": held})).await?;
            }
            Peer::Etcd => {
                self.http
                    .post("/v3/lock/unlock", &json!({"key": held}))
                    .await?;
            }
        }
        Ok(())
    }
}

/// Standard base64; etcd's gateway wants names in it.
fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk
            .iter()
            .fold(0u32, |sum, byte| sum << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * place) & 63).expect("six bits");
            out.push(if place <= chunk.len() {
                char::from(ALPHABET[index])
            } else {
                '='
            });
        }
    }
    out
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let index = ((sorted.len() - 1) as f64 * share) as usize;
    sorted[index].as_secs_f64() * 1000.0
}

/// What became of one worker's pairs within the time measured.
#[derive(Default)]
struct Tally {
    url: String,
    acquires: Vec<Duration>,
    /// How long it took to be refused.
    refused: Vec<Duration>,
}

async fn pairs(
    mut worker: Worker,
    args: Arc<Args>,
    from: Instant,
    until: Instant,
) -> anyhow::Result<Tally> {
    let mut rng = StdRng::seed_from_u64(worker.number as u64);
    let mut tally = Tally {
        url: worker.url.clone(),
        ..Tally::default()
    };
    #[expect(clippy::cast_precision_loss)]
    let interval = args
        .rate
        .map(|rate| Duration::from_secs_f64(args.workers as f64 / rate));
    let mut next = BootClock.now()
        + interval.map_or(Duration::ZERO, |all| {
            all.mul_f64(rng.random_range(0.0..1.0))
        });
    loop {
        if let Some(interval) = interval {
            tokio::time::sleep(next.since(BootClock.now())).await;
            next = next + interval;
        }
        let own = rng.random_range(0..100) < args.locality;
        let of = match own {
            true => worker.number,
            false => rng.random_range(0..args.workers),
        };
        worker.name = match &args.lock {
            Some(lock) => lock.clone(),
            None => format!("bench/{of}"),
        };
        let before = BootClock.now();
        if before >= until {
            return Ok(tally);
        }
        let counts = |after: Instant| before >= from && after < until;
        match worker.acquire().await {
            Ok(held) => {
                let after = BootClock.now();
                if args.hold_ms > 0 {
                    tokio::time::sleep(Duration::from_millis(args.hold_ms)).await;
                }
                worker.release(&held).await?;
                if counts(BootClock.now()) {
                    tally.acquires.push(after.since(before));
                }
            }
            // What a rate beyond the capacity is about; else a mistake.
            Err(_refused) if args.rate.is_some() => {
                let after = BootClock.now();
                if counts(after) {
                    tally.refused.push(after.since(before));
                }
            }
            Err(error) => return Err(error),
        }
    }
}

async fn hold(args: &Args, count: usize, rounds: usize) -> anyhow::Result<()> {
    let workers = args.workers;
    let mut tasks = Vec::new();
    for number in 0..workers {
        let base = args.url[number % args.url.len()].clone();
        tasks.push(tokio::spawn(async move {
            let mut http = Http::to(&base).await?;
            for lock in (number..count).step_by(workers) {
                let body = json!({"lock": format!("held/{lock}"), "ttl_ms": 3_600_000});
                for _ in 0..rounds {
                    let claim = http.post("/v1/claims", &body).await?;
                    let id = claim["claim_id"].as_str().context("no claim id")?;
                    let path = format!("/v1/claims/{id}");
                    http.send(Method::DELETE, &path, Bytes::new()).await?;
                }
                if rounds == 0 {
                    http.post("/v1/claims", &body).await?;
                }
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    println!("{}", json!({"held": count}));
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Arc::new(Args::parse());
    if let Some(count) = args.hold {
        return hold(&args, count, 0).await;
    }
    if let Some(count) = args.keep {
        return hold(&args, count, 3).await;
    }
    let mut workers = Vec::new();
    for number in 0..args.workers {
        workers.push(Worker::new(&args, number).await?);
    }
    let from = BootClock.now() + Duration::from_secs(1);
    let until = from + Duration::from_secs(args.seconds);
    let tasks: Vec<_> = workers
        .into_iter()
        .map(|worker| tokio::spawn(pairs(worker, args.clone(), from, until)))
        .collect();
    let mut by_url: BTreeMap<String, usize> = BTreeMap::new();
    let (mut acquires, mut refused) = (Vec::new(), Vec::new());
    for task in tasks {
        let tally = task.await??;
        *by_url.entry(tally.url).or_default() += tally.acquires.len();
        acquires.extend(tally.acquires);
        refused.extend(tally.refused);
    }
    acquires.sort_unstable();
    refused.sort_unstable();
    #[expect(clippy::cast_precision_loss)]
    let per_second = |count: usize| json!((count as f64 / args.seconds as f64).round());
    let mut line = BTreeMap::new();
    line.insert("peer", json!(format!("{:?}", args.peer).to_lowercase()));
    line.insert("workers", json!(args.workers));
    line.insert("pairs_per_s", per_second(acquires.len()));
    line.insert("acquire_p50_ms", json!(percentile(&acquires, 0.5)));
    line.insert("acquire_p99_ms", json!(percentile(&acquires, 0.99)));
    line.insert("acquire_max_ms", json!(percentile(&acquires, 1.0)));
    line.insert("refused_per_s", per_second(refused.len()));
    line.insert("refused_p50_ms", json!(percentile(&refused, 0.5)));
    line.insert("refused_p99_ms", json!(percentile(&refused, 0.99)));
    line.insert("pairs_by_url", json!(by_url));
    println!("{}", serde_json::to_string(&line)?);
    Ok(())
}
