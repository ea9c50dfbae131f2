//! Idle sidecars, simulated, in a process of their own: one process may not open enough files for all.
//! In: core nodes, how many. Out: a line of JSON each second. Never: a claim.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;

use crate::clients::session::{Counts, PING_EVERY, Session};

/// Sessions that are opened at a time.
const OPENING_MAX: usize = 64;

/// Lives until it is ended.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The core's nodes
    #[arg(long, value_delimiter = ',', required = true)]
    core: Vec<String>,
    /// How many sidecars
    #[arg(long)]
    count: usize,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let counts = Arc::new(Counts::default());
    let opening = futures::stream::iter(0..args.count)
        .map(|number| Session::open(&args.core, (number, PING_EVERY), Arc::clone(&counts)))
        .buffer_unordered(OPENING_MAX);
    let opened = async {
        let all: Vec<_> = opening.collect().await;
        let all: anyhow::Result<Vec<Session>> = all.into_iter().collect();
        // Alive until the process is ended.
        let _sessions = all?;
        std::future::pending::<anyhow::Result<()>>().await
    };
    let told = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            println!("{}", line(&counts));
        }
    };
    tokio::select! {
        failed = opened => failed,
        () = told => Ok(()),
    }
}

fn line(counts: &Counts) -> serde_json::Value {
    json!({
        "attached": counts.attached.load(Ordering::Relaxed),
        "acknowledged": counts.acknowledged.load(Ordering::Relaxed),
        "lost": counts.lost.load(Ordering::Relaxed),
    })
}
