//! Gets the lock: claims, waits, and renews once before anything starts.
//! In: the wish. Out: a hold with its lease. Never: two claims with one id, or a wait beyond -w.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::Args;
use super::lease::Lease;
use crate::cli::client::{Client, PATIENCE, Refusal};
use crate::cli::exit::Failure;
use crate::world::clock::{BootClock, Clock, Instant};

/// Longest wait that one request may ask for (design 7).
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// A grant that took longer than this was waited for: renew once before starting.
const PROMPT: Duration = Duration::from_millis(100);
/// A release that is not answered is left to the lease; our caller wants its exit code.
const RELEASE_PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries when the answer gives no better figure.
const RETRY: Duration = Duration::from_millis(200);

/// A held lock.
pub struct Hold {
    /// The claim: it is the holder.
    pub id: String,
    /// What the resource compares.
    pub token: u64,
    /// What is known of its time.
    pub lease: Lease,
}

/// What `run` reads of a claim.
#[derive(Debug, Deserialize)]
pub struct Claim {
    /// Open enum.
    pub state: String,
    /// Open enum.
    pub reason: Option<String>,
    token: Option<u64>,
    expires_in_ms: Option<u64>,
    safe_for_ms: Option<u64>,
    #[serde(default)]
    waited_ms: u64,
    /// Counts its changes.
    #[serde(default)]
    pub revision: u64,
}

/// Claims the lock within the patience of `args`.
pub async fn acquire(client: &Client, args: &Args, id: &str) -> Result<Option<Hold>, Failure> {
    let began = BootClock.now();
    let mut attempt = 0_u32;
    loop {
        // The first attempt has all of it, to the millisecond that was asked for.
        let left = match attempt {
            0 => args.patience(),
            _ => left(args, began),
        };
        let wait = left.unwrap_or(WAIT_MAX).min(WAIT_MAX);
        // Ids are used up; the first one is known outside, so that a signal can cancel it.
        let id = if attempt == 0 {
            id.to_owned()
        } else {
            format!("{id}-{attempt}")
        };
        attempt += 1;
        let refusal = match claim(client, args, &id, wait).await {
            Ok(hold) => return Ok(Some(hold)),
            Err(refusal) => refusal,
        };
        let left = self::left(args, began);
        let may_retry = left.is_none_or(|left| left > Duration::ZERO);
        match (&refusal, refusal.code()) {
            (Refusal::Unreachable(_), _) => return Err(refusal.into()),
            (
                Refusal::Problem { retry_after, .. },
                "wait-timeout" | "lock-delay" | "claim-lost",
            ) if may_retry => {
                // Never past the end of our patience, and never at once in a loop.
                let pause = retry_after
                    .unwrap_or(RETRY)
                    .clamp(RETRY, Duration::from_secs(5));
                tokio::time::sleep(pause.min(left.unwrap_or(pause))).await;
            }
            (
                Refusal::Problem { detail, .. },
                code @ ("lock-held" | "wait-timeout" | "lock-delay" | "claim-lost" | "deadlock"
                | "lock-order" | "claim-conflict" | "semaphore-limit"),
            ) => {
                eprintln!("sidelock: {code}: {detail}");
                return Ok(None);
            }
            (Refusal::Problem { .. }, _) => return Err(refusal.into()),
        }
    }
}

/// What is left of the patience; `None` if it is endless.
fn left(args: &Args, began: Instant) -> Option<Duration> {
    let spent = BootClock.now().since(began);
    args.patience().map(|all| all.saturating_sub(spent))
}

/// One attempt with one id.
async fn claim(client: &Client, args: &Args, id: &str, wait: Duration) -> Result<Hold, Refusal> {
    let sent = BootClock.now();
    let body = args.claim_body(wait);
    let path = format!("/v1/claims/{id}");
    let answer = match client
        .call(Method::PUT, &path, Some(&body), wait + PATIENCE)
        .await
    {
        Ok(answer) => answer,
        Err(refusal) => {
            if matches!(refusal, Refusal::Unreachable(_)) {
                // It may have been heard all the same; give back what we never saw.
                release(client, id).await.ok();
            }
            return Err(refusal);
        }
    };
    let claim = read(&answer)?;
    let token = claim
        .token
        .ok_or_else(|| strange("the grant has no token"))?;
    // After a wait the figures count from the grant, which we cannot place: ask once more.
    let waited = claim.waited_ms > 0 || BootClock.now().since(sent) > PROMPT;
    let lease = if waited {
        renew(client, id, args.ttl).await?
    } else {
        lease(sent, &claim)
    };
    Ok(Hold {
        id: id.to_owned(),
        token,
        lease,
    })
}

/// Renews the app's lease. The answer counts from when the request was sent.
pub async fn renew(client: &Client, id: &str, ttl: Duration) -> Result<Lease, Refusal> {
    let sent = BootClock.now();
    let body = json!({ "ttl_ms": u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX) });
    let path = format!("/v1/claims/{id}/renew");
    // The sidecar answers from memory; one that takes a quarter of the lease is asked anew.
    let patience = (ttl / 4).clamp(RETRY, PATIENCE);
    let answer = client
        .call(Method::POST, &path, Some(&body), patience)
        .await?;
    Ok(lease(sent, &read(&answer)?))
}

/// Waits until the claim has ended, and says how. Errors are the renewals' business.
pub async fn ended(client: &Client, id: &str) -> String {
    let mut revision = 0;
    loop {
        let path = format!("/v1/claims/{id}?wait_revision={revision}&wait_ms=20000");
        let answer = client
            .call(Method::GET, &path, None, PATIENCE + PATIENCE * 2)
            .await;
        match answer.as_ref().map_err(Clone::clone).and_then(read) {
            Ok(claim) => match claim.state.as_str() {
                "lost" | "expired" | "revoked" | "released" | "cancelled" => {
                    let reason = claim
                        .reason
                        .map_or_else(String::new, |why| format!(" ({why})"));
                    return format!("{}{reason}", claim.state);
                }
                // Open enum: a state that we do not know is no reason to stop.
                _ => revision = claim.revision,
            },
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Gives it back.
pub async fn release(client: &Client, id: &str) -> Result<Value, Refusal> {
    let path = format!("/v1/claims/{id}");
    client
        .call(Method::DELETE, &path, None, RELEASE_PATIENCE)
        .await
}

fn lease(sent: Instant, claim: &Claim) -> Lease {
    // Absent figures mean that nothing is certain.
    let ms = |value: Option<u64>| Duration::from_millis(value.unwrap_or(0));
    Lease::new(sent, ms(claim.expires_in_ms), ms(claim.safe_for_ms))
}

fn read(answer: &Value) -> Result<Claim, Refusal> {
    Claim::deserialize(answer).map_err(|error| strange(&error.to_string()))
}

fn strange(what: &str) -> Refusal {
    Refusal::Problem {
        code: "unexpected-answer".to_owned(),
        detail: format!("is this a sidecar? {what}"),
        retry_after: None,
    }
}
