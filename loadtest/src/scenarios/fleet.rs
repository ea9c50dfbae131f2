//! Many simulated sidecars, in processes of their own.
//! In: core nodes, how many. Out: what all of them have seen. Never: one left behind.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::peers::process::{Process, wait_for};
use crate::peers::scratch;

/// Sidecars of one process, each with three connections.
const IN_PROCESS_MAX: usize = 2_500;

/// They run.
pub struct Fleet {
    processes: Vec<Process>,
    folder: tempfile::TempDir,
}

/// What they have seen, all together.
#[derive(Debug, Default)]
pub struct Seen {
    pub attached: u64,
    pub acknowledged: u64,
    pub lost: u64,
    pub jeopardies: u64,
}

impl Fleet {
    /// Waits until each has its session.
    pub async fn start(cores: &[String], sidecars: usize, more: &[String]) -> anyhow::Result<Self> {
        let folder = scratch("fleet")?;
        let mut processes = Vec::new();
        let count = sidecars.div_ceil(IN_PROCESS_MAX);
        for place in 0..count {
            let share = (sidecars / count).to_string();
            let mut command = Command::new(std::env::current_exe()?);
            command
                .args(["sessions", "--core", &cores.join(","), "--count", &share])
                .args(more);
            let name = place.to_string();
            processes.push(Process::start(folder.path(), &name, &mut command)?);
        }
        let fleet = Self { processes, folder };
        let wanted = u64::try_from(sidecars / count * count)?;
        wait_for("a session for each sidecar", async || {
            tokio::time::sleep(Duration::from_millis(500)).await;
            fleet.seen().is_ok_and(|seen| seen.attached >= wanted)
        })
        .await?;
        Ok(fleet)
    }

    pub fn seen(&self) -> anyhow::Result<Seen> {
        let mut all = Seen::default();
        for place in 0..self.processes.len() {
            all.add(self.folder.path(), place)?;
        }
        Ok(all)
    }
}

impl Seen {
    /// By the last whole line that a process wrote.
    fn add(&mut self, folder: &Path, place: usize) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(folder.join(format!("{place}.log")))?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let line = whole.lines().next_back().context("no line yet")?;
        let seen: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let of = |name: &str| seen[name].as_u64().unwrap_or(0);
        self.attached += of("attached");
        self.acknowledged += of("acknowledged");
        self.lost += of("lost");
        self.jeopardies += of("jeopardies");
        Ok(())
    }
}
