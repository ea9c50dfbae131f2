//! Idle sidecars, simulated, in a process of their own: one process may not open enough files for all.
//! In: core nodes, how many, certificates. Out: a line of JSON each second. Never: a claim.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;

use sidelock::tls::connect::Connector;
use sidelock::tls::credentials::{Credentials, Files};

use crate::clients::session::{Counts, PING_EVERY, Session, Way};

/// Sessions that are opened at a time.
const OPENING_MAX: usize = 64;
/// How often deadlines are looked at; four times for each line.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Lives until it is ended.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The core's nodes
    #[arg(long, value_delimiter = ',', required = true)]
    core: Vec<String>,
    /// How many sidecars
    #[arg(long)]
    count: usize,
    /// Certificate, key and authorities, PEM, where the nodes want certificates
    #[arg(long, num_args = 3, value_names = ["CERT", "KEY", "CA"])]
    tls: Option<Vec<PathBuf>>,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let counts = Arc::new(Counts::default());
    let way = Way {
        ping: PING_EVERY,
        connector: Connector::new(args.tls.as_deref().map(credentials).transpose()?),
    };
    let opening = futures::stream::iter(0..args.count)
        .map(|number| Session::open(&args.core, number, &way, Arc::clone(&counts)))
        .buffer_unordered(OPENING_MAX);
    let opened = async {
        let all: Vec<_> = opening.collect().await;
        let all: anyhow::Result<Vec<Session>> = all.into_iter().collect();
        // Alive until the process is ended.
        let _sessions = all?;
        std::future::pending::<anyhow::Result<()>>().await
    };
    let told = async {
        for round in 1_u64.. {
            tokio::time::sleep(LOOK_EVERY).await;
            counts.look();
            if round % 4 == 0 {
                println!("{}", line(&counts));
            }
        }
    };
    tokio::select! {
        failed = opened => failed,
        () = told => Ok(()),
    }
}

/// From certificate, key and authorities.
pub fn credentials(paths: &[PathBuf]) -> anyhow::Result<Credentials> {
    let [chain, key, authorities] = paths else {
        anyhow::bail!("certificate, key and authorities are needed");
    };
    let own = Some((chain.clone(), key.clone()));
    let authorities = authorities.clone();
    Ok(Credentials::load(&Files { own, authorities })?)
}

fn line(counts: &Counts) -> serde_json::Value {
    json!({
        "attached": counts.attached.load(Ordering::Relaxed),
        "acknowledged": counts.acknowledged.load(Ordering::Relaxed),
        "lost": counts.lost.load(Ordering::Relaxed),
        "jeopardies": counts.jeopardies.load(Ordering::Relaxed),
    })
}
