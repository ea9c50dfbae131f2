//! `sidelock cluster status|add|promote|remove|replace|transfer`: the core's nodes.
//! In: a core's operator URL. Out: tables or JSON. Never: a change that another node than the leader
//! made; the others point to it, and we follow.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Outcome;
use super::print;
use super::tls::Tls;

/// A membership change waits until the new node has caught up.
const CHANGE_PATIENCE: Duration = Duration::from_secs(120);

/// Look at the core's nodes and change them
///
/// Without certificates, changes are taken by the leader from its own machine only: run them there. With them, from
/// whoever the rules let administer the cell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Any node of the core: http://HOST:PORT of its operator HTTP, https with certificates
    #[arg(
        long,
        value_name = "URL",
        env = "SIDELOCK_CORE_URL",
        global = true,
        default_value = "http://127.0.0.1:5627"
    )]
    core_url: String,
    #[command(flatten)]
    tls: Tls,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// What to do with the nodes.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show the nodes: who leads, how far each one is, who waits to be admitted
    Status,
    /// Add a new node as a learner; it was started with --join and waits
    Add {
        /// Its place
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        node: u16,
    },
    /// Make a learner a voter
    Promote {
        /// Its place
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        node: u16,
    },
    /// Remove a node
    Remove {
        /// Its place
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        node: u16,
    },
    /// Admit a node that has lost its disk, in the place of its former self
    Replace {
        /// Its place
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        node: u16,
    },
    /// Let another node lead
    Transfer {
        /// Its place; without it, the one that is furthest
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        node: Option<u16>,
    },
}

/// Runs one of the verbs.
pub async fn run(args: Args) -> Outcome {
    let credentials = args.tls.credentials()?;
    let client = Client::new(&args.core_url, "core", credentials.as_ref())?;
    let (verb, node) = match args.verb {
        Verb::Status => {
            let answer = client.get("/v1/cluster").await?;
            return show(&answer, args.json);
        }
        Verb::Add { node } => ("add", Some(node)),
        Verb::Promote { node } => ("promote", Some(node)),
        Verb::Remove { node } => ("remove", Some(node)),
        Verb::Replace { node } => ("replace", Some(node)),
        Verb::Transfer { node } => ("transfer", node),
    };
    let body = node.map_or_else(|| json!({}), |node| json!({ "node": node }));
    let path = format!("/v1/cluster/{verb}");
    let answer = client
        .call(Method::POST, &path, Some(&body), CHANGE_PATIENCE)
        .await?;
    show(&answer, args.json)
}

fn show(answer: &Value, as_json: bool) -> Outcome {
    if as_json {
        return print::json(answer);
    }
    let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    let members = list("members");
    let head = match answer["leader"].as_u64() {
        Some(leader) => format!(
            "node {leader} leads in term {}; {} committed",
            answer["term"], answer["committed"]
        ),
        None if members.is_empty() => "the cell has not formed yet".to_owned(),
        None => "no leader is known".to_owned(),
    };
    print::line(&head)?;
    let applicants = list("applicants");
    let rows: Vec<_> = members
        .iter()
        .map(member)
        .chain(applicants.iter().map(applicant))
        .collect();
    let headings = ["NODE", "ROLE", "STATE", "APPLIED", "LAG", "GRPC", "HTTP"];
    print::table(&headings, rows, "no nodes are known")
}

fn member(member: &Value) -> Vec<String> {
    let yes = |key: &str| member[key] == json!(true);
    let state = match (yes("leader"), yes("reachable")) {
        (true, _) => "leader",
        (false, true) => "up",
        (false, false) => "not reachable",
    };
    vec![
        print::cell(&member["node"]),
        print::cell(&member["role"]),
        state.to_owned(),
        print::cell(&member["applied"]),
        print::cell(&member["lag"]),
        print::cell(&member["grpc"]),
        print::cell(&member["http"]),
    ]
}

/// A node with an empty directory that waits for `add` or `replace`.
fn applicant(applicant: &Value) -> Vec<String> {
    vec![
        print::cell(&applicant["node"]),
        "applicant".to_owned(),
        "waits".to_owned(),
        String::new(),
        String::new(),
        print::cell(&applicant["grpc"]),
        print::cell(&applicant["http"]),
    ]
}
