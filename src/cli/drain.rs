//! `sidelock drain`: asks a sidecar to stop in order, and follows it to its end.
//! In: its URL. Out: a line for each step, and success once it is gone.
//! Never: success while it still runs.

use std::time::Duration;

use reqwest::Method;

use super::client::{PATIENCE, Refusal, SidecarUrl};
use super::exit::Outcome;
use super::print;

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Stop a sidecar in order: no new claims, waiters told, holders waited for.
///
/// What a holder has not released when the sidecar's --drain-timeout is over stays locked until the
/// session expires. A sidecar as a container of a pod: make this its preStop hook.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    sidecar: SidecarUrl,
    /// Return as soon as it drains, without following it to its end
    #[arg(long)]
    no_wait: bool,
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let client = args.sidecar.client()?;
    let mut told = None;
    loop {
        let look = client.call(Method::POST, "/v1/drain", None, PATIENCE).await;
        let progress = match look {
            Ok(progress) => progress,
            // It has stopped listening: nobody was left to wait for.
            Err(Refusal::Unreachable(_)) if told.is_some() => return print::line("drained"),
            Err(refusal) => return Err(refusal.into()),
        };
        let holders = progress["claims_granted"].as_u64();
        if told != Some(holders) {
            let left = print::millis(&progress["stops_in_ms"]);
            let holders = holders.unwrap_or_default();
            print::line(&format!(
                "draining: {holders} holders; stops in {left} at the latest"
            ))?;
        }
        told = Some(holders);
        if args.no_wait {
            return Ok(super::exit::OK);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
