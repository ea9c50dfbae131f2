//! `sidelock locks list|get|why|break|verify`: what operators ask about locks.
//! In: names, tokens, reasons. Out: tables or JSON of the sidecar's answers. Never: a guess.

use std::num::NonZeroUsize;

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, PATIENCE, SidecarUrl, segment};
use super::exit::{self, Outcome};
use super::worth::Old;
use super::{print, why};

/// The verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the locks that are in use
    List(List),
    /// Show one lock: its holders and who waits
    Get(Get),
    /// Explain one lock: who holds it and since when, who waits for whom, what happened last
    Why(Get),
    /// Take a lock away from its holders
    Break(Break),
    /// Check a fencing token; exits with 1 if it is no longer current
    Verify(Verify),
}

/// What all of them share.
#[derive(Debug, clap::Args)]
pub struct Common {
    #[command(flatten)]
    sidecar: SidecarUrl,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    /// How to print the answer
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For machines
    Json,
}

impl Common {
    pub(super) fn client(&self) -> Result<Client, exit::Failure> {
        self.sidecar.client()
    }

    pub(super) fn wants_json(&self) -> bool {
        self.json || self.output == Format::Json
    }
}

/// Arguments of `locks list`.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    common: Common,
    /// Only names that start with this
    #[arg(long, default_value = "")]
    prefix: String,
    /// Only locks in this state: held, contended or closed
    #[arg(long)]
    state: Option<String>,
    /// At most so many
    #[arg(long, default_value = "1000")]
    limit: NonZeroUsize,
}

/// Arguments of `locks get` and `locks why`.
#[derive(Debug, clap::Args)]
pub struct Get {
    #[command(flatten)]
    pub(super) common: Common,
    /// The lock
    pub(super) name: String,
}

/// Arguments of `locks break`.
#[derive(Debug, clap::Args)]
pub struct Break {
    #[command(flatten)]
    common: Common,
    /// The lock
    name: String,
    /// Why; kept in the lock's history
    #[arg(long)]
    reason: String,
    /// Free it at once. The old holder may still act: only the fencing token stops it
    #[arg(long)]
    force: bool,
}

/// Arguments of `locks verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    #[command(flatten)]
    common: Common,
    /// The lock
    name: String,
    /// The token of a grant
    token: u64,
}

/// Runs one of the verbs.
pub async fn run(command: Command) -> Outcome {
    match command {
        Command::List(args) => list(args).await,
        Command::Get(args) => get(args).await,
        Command::Why(args) => why::run(args).await,
        Command::Break(args) => break_lock(args).await,
        Command::Verify(args) => verify(args).await,
    }
}

async fn list(args: List) -> Outcome {
    let mut query = format!("prefix={}", segment(&args.prefix));
    if let Some(state) = &args.state {
        query.push_str(&format!("&state={}", segment(state)));
    }
    let client = args.common.client()?;
    let items = pages(&client, "/v1/locks", &query, args.limit.get()).await?;
    if args.common.wants_json() {
        return print::json(&json!({ "items": items }));
    }
    let rows = items.iter().map(row).collect();
    print::table(
        &["NAME", "STATE", "HOLDER", "TOKEN", "SIDECAR", "WAITERS"],
        rows,
        "no locks in use",
    )
}

/// One lock on one line: with several holders, the first and how many more.
fn row(lock: &Value) -> Vec<String> {
    let holders = lock["holders"].as_array().map_or(&[][..], Vec::as_slice);
    let holder = holders.first().unwrap_or(&Value::Null);
    let more = match holders.len() {
        0 | 1 => String::new(),
        count => format!(" +{}", count - 1),
    };
    vec![
        print::cell(&lock["name"]),
        print::cell(&lock["state"]),
        print::cell(&holder["claim_id"]) + &more,
        print::cell(&holder["token"]),
        print::cell(&holder["identity"]),
        print::cell(&lock["queue_length"]),
    ]
}

/// Follows `next_cursor` until there are `limit` items or no more. Says on stderr if there may be more, and if
/// they are not current.
pub async fn pages(
    client: &Client,
    path: &str,
    query: &str,
    limit: usize,
) -> Result<Vec<Value>, exit::Failure> {
    let mut items = Vec::new();
    let mut cursor = Some(String::new());
    let mut oldest = None;
    while let Some(from) = cursor.take_if(|_| items.len() < limit) {
        let page = (limit - items.len()).min(1000);
        let (answer, old) = client
            .read(&format!("{path}?{query}&limit={page}{from}"))
            .await?;
        oldest = Old::older(oldest, old);
        items.extend(answer["items"].as_array().cloned().unwrap_or_default());
        let next = answer["next_cursor"].as_str();
        cursor = next.map(|next| format!("&cursor={}", segment(next)));
    }
    if let Some(old) = oldest {
        print::note(&old.sentence());
    }
    if cursor.is_some() {
        print::note(&format!(
            "these are the first {limit}, and there may be more: raise --limit"
        ));
    }
    Ok(items)
}

async fn get(args: Get) -> Outcome {
    let client = args.common.client()?;
    let path = format!("/v1/locks/{}", segment(&args.name));
    let lock = client.get(&path).await?;
    if let Some(old) = Old::of_body(&lock) {
        print::note(&old.sentence());
    }
    if args.common.wants_json() {
        return print::json(&lock);
    }
    print::line(&format!(
        "{}: {}, {} waiting",
        print::cell(&lock["name"]),
        print::cell(&lock["state"]),
        print::cell(&lock["queue_length"]),
    ))?;
    let empty = Vec::new();
    let party = |role: &str, item: &Value| {
        vec![
            role.to_owned(),
            print::cell(&item["claim_id"]),
            print::cell(&item["mode"]),
            print::cell(&item["token"]),
            print::cell(&item["owner"]),
            print::cell(&item["identity"]),
        ]
    };
    let holders = lock["holders"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(|h| party("holds", h));
    let queue = lock["queue"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(|w| party("waits", w));
    let rows: Vec<_> = holders.chain(queue).collect();
    if rows.is_empty() {
        return Ok(exit::OK);
    }
    print::table(
        &["", "CLAIM", "MODE", "TOKEN", "OWNER", "SIDECAR"],
        rows,
        "",
    )
}

async fn break_lock(args: Break) -> Outcome {
    let client = args.common.client()?;
    let path = format!("/v1/locks/{}/break", segment(&args.name));
    let body = json!({ "reason": args.reason, "force": args.force });
    let answer = client
        .call(Method::POST, &path, Some(&body), PATIENCE)
        .await?;
    if args.common.wants_json() {
        return print::json(&answer);
    }
    print::line(&format!(
        "{}: {}; {}",
        args.name,
        print::cell(&answer["outcome"]),
        print::cell(&answer["detail"]),
    ))
}

async fn verify(args: Verify) -> Outcome {
    let client = args.common.client()?;
    let path = format!("/v1/locks/{}/verify", segment(&args.name));
    let body = json!({ "token": args.token });
    let answer = client
        .call(Method::POST, &path, Some(&body), PATIENCE)
        .await?;
    let yes = |key: &str| answer[key] == json!(true);
    if args.common.wants_json() {
        print::json(&answer)?;
    } else {
        let current = if yes("current") {
            "current"
        } else {
            "outdated"
        };
        let held = if yes("held") { "held" } else { "not held" };
        let newest = match &answer["newest"] {
            Value::Null => "no grant known".to_owned(),
            newest => format!("newest token {newest}"),
        };
        print::line(&format!(
            "{} token {}: {current}, {held}; {newest}",
            args.name, args.token
        ))?;
    }
    Ok(if yes("current") {
        exit::OK
    } else {
        exit::FAILED
    })
}
