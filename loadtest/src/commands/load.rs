//! `lockbench load`: one run against something that runs already, for profiling it.
//! In: a peer, its URLs, how to load it. Out: one line of JSON. Never: a process started or ended.

use std::time::Duration;

use anyhow::{Context, bail};
use hyper::Method;
use serde_json::{Value, json};

use crate::clients::http::Http;
use crate::clients::{Protocol, Shape, Want, body};
use crate::measure::load::{self, Locks, Pace, Plan, Target};
use crate::measure::{fairness, usage};

/// Loads a running peer.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to speak to
    #[arg(long)]
    peer: Protocol,
    /// Where it is; workers are spread over several. A socket is unix:PATH
    #[arg(long, value_delimiter = ',', required = true)]
    url: Vec<String>,
    /// Workers, each with a connection and a lock of its own
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// How long to measure
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How long to warm up before
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Begin so many pairs a second, whatever becomes of those before; latencies count from when each was due
    #[arg(long)]
    rate: Option<f64>,
    /// Workers take these locks in turn, instead of each its own
    #[arg(long)]
    lock: Vec<String>,
    /// Of a hundred pairs, so many take the worker's own lock, the others that of any worker
    #[arg(long, default_value_t = 100)]
    locality: u8,
    /// How long a lock is held
    #[arg(long, default_value_t = 0)]
    hold_ms: u64,
    /// Take it shared, but for so many of a hundred
    #[arg(long, value_name = "WRITERS")]
    shared: Option<u8>,
    /// Take one permit of so many
    #[arg(long, value_name = "LIMIT")]
    permits: Option<u32>,
    /// Take so many locks at once
    #[arg(long, value_name = "COUNT")]
    several: Option<u32>,
    /// Processes whose processor time is told too
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// Take this many locks and hold them, instead of pairs (Sidelock)
    #[arg(long)]
    held: Option<usize>,
    /// Take and release this many locks three times over, so that they stay at the sidecar (Sidelock)
    #[arg(long)]
    keep: Option<usize>,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(count) = args.held.or(args.keep) {
        let rounds = if args.keep.is_some() { 3 } else { 0 };
        hold(&args.url, args.workers, count, rounds).await?;
        println!("{}", json!({"locks": count, "rounds": rounds}));
        return Ok(());
    }
    let plan = args.plan()?;
    let target = Target {
        protocol: args.peer,
        urls: args.url,
    };
    let me = std::process::id();
    let used = || (usage::cpu_seconds(me), usage::cpu_seconds_of(&args.pid));
    let before = used();
    let outcome = load::run(&target, &plan).await?;
    let after = used();
    let mut line = json!(outcome.figures());
    line["peer"] = json!(format!("{:?}", target.protocol));
    line["workers"] = json!(plan.workers);
    line["refusals"] = json!(outcome.refusals);
    line["error_kinds"] = json!(outcome.errors);
    line["pairs_by_url"] = json!(outcome.by_url);
    // Over the whole run, warm-up and connecting included.
    line["client_cpu_s"] = json!(after.0 - before.0);
    line["pids_cpu_s"] = json!(after.1 - before.1);
    if plan.log_grants {
        let grants = outcome
            .grants
            .iter()
            .map(|grant| grant.granted_ns)
            .collect();
        let mut gaps = fairness::gaps(grants);
        gaps.sort_unstable();
        line["gap_p50_ns"] = json!(gaps.get(gaps.len() / 2));
    }
    println!("{line}");
    Ok(())
}

impl Args {
    fn plan(&self) -> anyhow::Result<Plan> {
        let shapes = [
            self.shared.map(|_| Shape::Shared),
            self.permits.map(Shape::Permit),
            self.several.map(Shape::Several),
        ];
        let mut shapes = shapes.into_iter().flatten();
        let shape = shapes.next().unwrap_or(Shape::Exclusive);
        if shapes.next().is_some() {
            bail!("--shared, --permits and --several exclude each other");
        }
        let folder = "bench".to_owned();
        let locks = match (self.lock.is_empty(), self.locality) {
            (false, _) => Locks::Named(self.lock.clone()),
            (true, 100..) => Locks::Own(folder),
            (true, percent) => Locks::Local { folder, percent },
        };
        Ok(Plan {
            workers: self.workers,
            warm_up: Duration::try_from_secs_f64(self.warm_up)?,
            measured: Duration::try_from_secs_f64(self.seconds)?,
            pace: match self.rate {
                None => Pace::Closed,
                Some(per_second) => Pace::Open { per_second },
            },
            locks,
            shape,
            writers_percent: self.shared.unwrap_or(0),
            hold: Duration::from_millis(self.hold_ms),
            log_grants: !self.lock.is_empty(),
        })
    }
}

/// Takes locks and holds them (`rounds` 0), or takes and releases each so often.
pub async fn hold(
    urls: &[String],
    workers: usize,
    count: usize,
    rounds: usize,
) -> anyhow::Result<Vec<String>> {
    let mut tasks = Vec::new();
    for number in 0..workers {
        let url = urls[number % urls.len()].clone();
        tasks.push(tokio::spawn(async move {
            let mut http = Http::connect(&url).await?;
            let mut held = Vec::new();
            for lock in (number..count).step_by(workers) {
                for _ in 0..rounds {
                    let id = claim(&mut http, lock).await?;
                    let path = format!("/v1/claims/{id}");
                    http.send(Method::DELETE, &path, Vec::new()).await?;
                }
                if rounds == 0 {
                    held.push(claim(&mut http, lock).await?);
                }
            }
            anyhow::Ok(held)
        }));
    }
    let mut held = Vec::new();
    for task in tasks {
        held.extend(task.await??);
    }
    Ok(held)
}

async fn claim(http: &mut Http, lock: usize) -> anyhow::Result<String> {
    let name = format!("held/{lock}");
    let want = Want {
        lock: &name,
        shape: Shape::Exclusive,
    };
    let answer = http
        .send(Method::POST, "/v1/claims", serde_json::to_vec(&body(want))?)
        .await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let claim: Value = serde_json::from_slice(&answer.body).with_context(|| text.clone())?;
    let id = claim["claim_id"].as_str().context(text)?;
    Ok(id.to_owned())
}
