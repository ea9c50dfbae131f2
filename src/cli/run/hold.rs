//! Holds the lock while the command runs, and ends both in the right order.
//! In: the wish. Out: the exit code. Never: a running command without a certain hold.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;

use super::acquire::{self, Hold};
use super::args::Args;
use super::child::{self, Child};
use super::lease::Lease;
use super::signals::{Signals, asks_to_end};
use crate::cli::client::Client;
use crate::cli::exit::{self, Failure, Outcome};
use crate::world::clock::{BootClock, Clock, Instant};

/// Wake-ups are at most this late after a suspend, which timers do not count but the deadline does.
const TICK: Duration = Duration::from_millis(100);
/// After a loss the lock may be another's at once: the command gets only this to end by itself.
const LOST_GRACE: Duration = Duration::from_millis(500);
/// Least time between two renewals that fail.
const RENEW_PAUSE_MIN: Duration = Duration::from_millis(50);

/// How the time with the command ended.
enum End {
    /// By itself, with this code.
    Exited(u8),
    /// The lock went first, and the command was ended.
    Lost(String),
}

/// `sidelock run`.
pub async fn run(args: Args) -> Outcome {
    let mut signals = Signals::new().map_err(anyhow::Error::from)?;
    let client = args.sidecar.client()?;
    let id = format!("run-{:032x}", rand::random::<u128>());
    let acquired = tokio::select! {
        acquired = acquire::acquire(&client, &args, &id) => acquired?,
        code = asked_to_end(&mut signals) => {
            // The closed connection cancels the claim as well; this also uses up its id.
            acquire::release(&client, &id).await.ok();
            return Ok(code);
        }
    };
    let Some(hold) = acquired else {
        return Ok(args.conflict_exit_code);
    };
    let end = guard(&client, &args, &hold, &mut signals).await;
    let released = acquire::release(&client, &hold.id).await;
    match end? {
        End::Exited(code) => match released {
            Err(refusal) if refusal.code() == "claim-lost" => Err(lost(
                &args.name,
                &format!("before the command ended with code {code}"),
            )),
            Err(refusal) => {
                // The lease ends it; the command's own result stands.
                eprintln!("sidelock: not released: {}", Failure::from(refusal).text);
                Ok(code)
            }
            Ok(_) => Ok(code),
        },
        End::Lost(why) => Err(lost(&args.name, &why)),
    }
}

fn lost(name: &str, why: &str) -> Failure {
    Failure::new(exit::LOST, format_args!("lock {name:?} was lost: {why}"))
}

async fn asked_to_end(signals: &mut Signals) -> u8 {
    loop {
        let signal = signals.next().await;
        if asks_to_end(signal) {
            // Signal numbers are at most 64.
            return 128 + u8::try_from(signal.as_raw()).unwrap_or(0);
        }
    }
}

/// Runs the command under the hold.
async fn guard(
    client: &Client,
    args: &Args,
    hold: &Hold,
    signals: &mut Signals,
) -> Result<End, Failure> {
    let mut child = Child::start(
        &args.command,
        &[
            ("SIDELOCK_NAME", args.name.clone()),
            ("SIDELOCK_FENCING_TOKEN", hold.token.to_string()),
            ("SIDELOCK_CLAIM", hold.id.clone()),
        ],
    )?;
    let (sender, lease) = watch::channel(hold.lease);
    let mut keeping = pin!(keep(client, &hold.id, args.ttl, &sender));
    let mut watching = pin!(acquire::ended(client, &hold.id));
    loop {
        let why = tokio::select! {
            biased;
            status = child.wait() => return Ok(End::Exited(child::code(status?))),
            why = &mut keeping => why,
            why = &mut watching => why,
            signal = signals.next() => {
                child.signal(signal);
                continue;
            }
            () = until(&lease) => {
                let kill_at = lease.borrow().kill_at();
                child.end(kill_at).await;
                return Ok(End::Lost("the sidecar could not confirm it in time".to_owned()));
            }
        };
        let kill_at = lease.borrow().kill_at().min(BootClock.now() + LOST_GRACE);
        child.end(kill_at).await;
        return Ok(End::Lost(why));
    }
}

/// Until the command must be told to end, as the leases known so far say.
async fn until(lease: &watch::Receiver<Lease>) {
    loop {
        let left = lease.borrow().term_at().since(BootClock.now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(TICK)).await;
    }
}

/// Renews for as long as that works; returns why it cannot any more.
async fn keep(client: &Client, id: &str, ttl: Duration, lease: &watch::Sender<Lease>) -> String {
    loop {
        let next = lease.borrow().renew_at();
        sleep_until(next).await;
        match acquire::renew(client, id, ttl).await {
            Ok(renewed) => {
                lease.send_modify(|lease| *lease = lease.latest(renewed));
                // An answer with little left would have us renew at once, over and over.
                tokio::time::sleep(RENEW_PAUSE_MIN).await;
            }
            Err(refusal) if matches!(refusal.code(), "claim-lost" | "not-found") => {
                return Failure::from(refusal).text;
            }
            // Jeopardy, no answer: the deadline decides, not the number of failures.
            Err(_) => tokio::time::sleep(RENEW_PAUSE_MIN * 4).await,
        }
    }
}

async fn sleep_until(instant: Instant) {
    loop {
        let left = instant.since(BootClock.now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(TICK)).await;
    }
}
