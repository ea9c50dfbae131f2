//! `sidelock locks why`: one lock explained.
//! In: its name. Out: a sentence, then who holds, who waits and what happened last, or JSON.
//! Never: more than the sidecar's answer says.

use serde_json::Value;

use super::client::segment;
use super::exit::Outcome;
use super::locks::Get;
use super::print;
use super::worth::Old;

/// Asks and prints.
pub async fn run(args: Get) -> Outcome {
    let client = args.common.client()?;
    let path = format!("/v1/locks/{}/why", segment(&args.name));
    let lock = client.get(&path).await?;
    if args.common.wants_json() {
        return print::json(&lock);
    }
    let why = format!(
        "{}: {}",
        print::cell(&lock["name"]),
        print::cell(&lock["why"])
    );
    print::line(&print::clean(&why))?;
    section(
        &lock["holders"],
        &[
            "HOLDER", "MODE", "TOKEN", "HELD", "OWNER", "SIDECAR", "NOTE",
        ],
        holder,
    )?;
    section(
        &lock["queue"],
        &["WAITER", "MODE", "PLACE", "OWNER", "SIDECAR", "WHY"],
        waiter,
    )?;
    section(
        &lock["history"],
        &[
            "REVISION", "EVENT", "CAUSE", "CLAIM", "SIDECAR", "HELD", "NOTE",
        ],
        record,
    )?;
    match Old::of_body(&lock) {
        Some(old) => print::line(&format!("\n{}", print::clean(&old.sentence()))),
        None => Ok(super::exit::OK),
    }
}

/// A table of its own, unless it would be empty.
fn section(rows: &Value, headings: &[&str], row: fn(&Value) -> Vec<String>) -> Outcome {
    let rows: Vec<Vec<String>> = rows.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return Ok(super::exit::OK);
    }
    print::line("")?;
    print::table(headings, rows, "")
}

fn holder(holder: &Value) -> Vec<String> {
    let user = &holder["user"]["claim_id"];
    let kept = match (holder["delegated"].as_bool(), user.as_str()) {
        (Some(true), Some(user)) => format!("kept there, used by {user}"),
        (Some(true), None) => "kept there".to_owned(),
        _ if holder["breaking"] == Value::Bool(true) => "asked to let go".to_owned(),
        _ => String::new(),
    };
    vec![
        print::cell(&holder["claim_id"]),
        print::cell(&holder["mode"]),
        print::cell(&holder["token"]),
        print::millis(&holder["held_ms"]),
        print::cell(&holder["owner"]),
        print::cell(&holder["identity"]),
        kept,
    ]
}

fn waiter(waiter: &Value) -> Vec<String> {
    vec![
        print::cell(&waiter["claim_id"]),
        print::cell(&waiter["mode"]),
        print::cell(&waiter["position"]),
        print::cell(&waiter["owner"]),
        print::cell(&waiter["identity"]),
        print::cell(&waiter["why"]),
    ]
}

fn record(record: &Value) -> Vec<String> {
    vec![
        print::cell(&record["revision"]),
        print::cell(&record["event"]),
        print::cell(&record["cause"]),
        print::cell(&record["claim_id"]),
        print::cell(&record["identity"]),
        print::millis(&record["held_ms"]),
        print::cell(&record["note"]),
    ]
}
