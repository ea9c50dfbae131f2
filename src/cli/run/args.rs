//! Arguments of `run`: flock(1)'s letters where it has them.
//! In: the command line. Out: a checked wish. Never: an environment variable for the name, which
//! the command itself inherits.

use std::ffi::OsString;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::client::SidecarUrl;
use crate::config::duration;

/// Hold a lock around a command, like flock(1)
///
/// Exits with the command's own code (128 + N if signal N ended it); with CODE of -E if the lock
/// was not had; 69 if there is no sidecar or no quorum; 75 if the lock was lost while the command
/// ran, which was then ended with SIGTERM and SIGKILL; 64 for wrong usage; 126 or 127 if the command
/// cannot be executed or found.
///
/// The command runs in a process group of its own and sees SIDELOCK_NAME, SIDELOCK_FENCING_TOKEN and
/// SIDELOCK_CLAIM. INT, TERM, HUP, QUIT, USR1 and USR2 are forwarded to the whole group. A process
/// that leaves the group, or outlives the command, is not guarded by the lock.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Fail at once if the lock is not free
    #[arg(
        short = 'n',
        long = "nonblock",
        visible_alias = "nb",
        conflicts_with = "wait"
    )]
    pub nonblock: bool,
    /// Fail after waiting so many seconds (fractions allowed); default: wait for ever
    #[arg(short = 'w', long, visible_alias = "timeout", value_name = "SECS", value_parser = seconds)]
    pub wait: Option<Duration>,
    /// Hold it together with other readers
    #[arg(short = 's', long, conflicts_with = "permits")]
    pub shared: bool,
    /// Hold so many permits of a semaphore with this limit
    #[arg(short = 'p', long, value_name = "PERMITS/LIMIT", value_parser = permits)]
    pub permits: Option<Permits>,
    /// Exit code when the lock is not had
    #[arg(
        short = 'E',
        long = "conflict-exit-code",
        value_name = "CODE",
        default_value_t = 1
    )]
    pub conflict_exit_code: u8,
    /// The lease, renewed while the command lives: how long the lock outlives a dead `run`
    #[arg(long, value_name = "TIME", env = "SIDELOCK_TTL", default_value = "10s",
          value_parser = duration::lease)]
    pub ttl: Duration,
    /// Keep the lock from others for at least so long, even if the command ends earlier: for a job that starts on
    /// several machines at about the same time and is to run once
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub min_hold: Option<Duration>,
    #[command(flatten)]
    pub sidecar: SidecarUrl,
    /// The lock
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What to run while holding it
    #[arg(
        value_name = "CMD",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<OsString>,
}

/// How much of a semaphore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permits {
    permits: u32,
    limit: u32,
}

impl Args {
    /// How long to wait in all; `None` for ever.
    pub fn patience(&self) -> Option<Duration> {
        if self.nonblock {
            Some(Duration::ZERO)
        } else {
            self.wait
        }
    }

    /// The body of the claim.
    pub fn claim_body(&self, wait: Duration) -> Value {
        let mut body = json!({
            "lock": self.name,
            "ttl_ms": millis(self.ttl),
            "wait_ms": millis(wait),
            "metadata": self.metadata(),
        });
        if self.shared {
            body["mode"] = json!("shared");
        }
        if let Some(Permits { permits, limit }) = self.permits {
            body["permits"] = json!(permits);
            body["limit"] = json!(limit);
        }
        if let Some(min_hold) = self.min_hold {
            body["min_hold_ms"] = json!(millis(min_hold));
        }
        body
    }

    /// For people who look at the lock: host, process and program, never its arguments, which may
    /// hold secrets.
    fn metadata(&self) -> Value {
        let short = |text: &str| text.chars().take(60).collect::<String>();
        let program = std::path::Path::new(&self.command[0]);
        let program = program.file_name().unwrap_or_default().to_string_lossy();
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        json!({
            "host": short(&host),
            "pid": std::process::id().to_string(),
            "command": short(&program),
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds with fractions, as flock(1) takes them; units are welcome too.
fn seconds(text: &str) -> Result<Duration, duration::DurationError> {
    duration::parse(text)
}

fn permits(text: &str) -> Result<Permits, String> {
    let wrong = || "expected PERMITS/LIMIT with 1 <= PERMITS <= LIMIT, such as 2/10".to_owned();
    let (permits, limit) = text.split_once('/').ok_or_else(wrong)?;
    match (permits.parse(), limit.parse()) {
        (Ok(permits), Ok(limit)) if (1..=limit).contains(&permits) => {
            Ok(Permits { permits, limit })
        }
        (Ok(_) | Err(_), _) => Err(wrong()),
    }
}
