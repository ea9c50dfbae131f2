//! `sidelock claims list`: the claims of one sidecar.
//! In: its URL. Out: a table or JSON. Never: a claim of another sidecar; locks show those.

use std::num::NonZeroUsize;

use serde_json::{Value, json};

use super::client::SidecarUrl;
use super::exit::Outcome;
use super::{locks, print};

/// The verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the claims of this sidecar that hold or wait
    List(List),
}

/// Arguments of `claims list`.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    sidecar: SidecarUrl,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    /// At most so many
    #[arg(long, default_value = "1000")]
    limit: NonZeroUsize,
}

/// Runs one of the verbs.
pub async fn run(command: Command) -> Outcome {
    match command {
        Command::List(args) => list(args).await,
    }
}

async fn list(args: List) -> Outcome {
    let client = args.sidecar.client()?;
    let items = locks::pages(&client, "/v1/claims", "", args.limit.get()).await?;
    if args.json {
        return print::json(&json!({ "items": items }));
    }
    let rows = items.iter().map(row).collect();
    print::table(
        &["CLAIM", "STATE", "LOCKS", "TOKEN", "EXPIRES IN", "SAFE FOR"],
        rows,
        "no claims",
    )
}

fn row(claim: &Value) -> Vec<String> {
    let locks = claim["locks"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<String> = locks
        .iter()
        .map(|lock| print::cell(&lock["name"]))
        .collect();
    let tokens: Vec<String> = locks
        .iter()
        .map(|lock| print::cell(&lock["token"]))
        .collect();
    let state = match claim["reason"].as_str() {
        Some(reason) => format!("{} ({reason})", print::cell(&claim["state"])),
        None => print::cell(&claim["state"]),
    };
    vec![
        print::cell(&claim["claim_id"]),
        state,
        names.join(", "),
        tokens.join(", "),
        print::millis(&claim["expires_in_ms"]),
        print::millis(&claim["safe_for_ms"]),
    ]
}
