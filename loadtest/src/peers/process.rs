//! A process that does not outlive its guard, and what is needed to start several.
//! In: a command. Out: a pid. Never: a process left behind, or one ended that is not ours.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use sidelock::world::clock::{BootClock, Clock};

/// How long a process may take to be ready.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A child that is killed, by pid, when the guard is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Its output goes to a file of this name, which is where to look when it does not start.
    pub fn start(folder: &Path, name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{name}.log")))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{}", command.get_program().display()))?;
        Ok(Self { child })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Err(error) = self.child.wait() {
            eprintln!("waiting for {}: {error}", self.child.id());
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // A child that has not been waited for keeps its pid, so this is no other process.
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
            eprintln!("{signal:?} to {}: {error}", self.child.id());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.kill();
        }
    }
}

/// Free now, and below the range that the kernel numbers outgoing connections from.
pub fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(12_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Asks until the answer is yes.
pub async fn wait_for(what: &str, mut ask: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
    let until = BootClock.now() + READY_WITHIN;
    while !ask().await {
        if BootClock.now() >= until {
            bail!("{what} is not ready after {READY_WITHIN:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The first line that a command prints, for the report.
pub fn first_line(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}
