//! Three servers that replicate, whatever they are: what the rest of the run needs of them.
//! In: started processes. Out: where to speak to them, their pids. Never: a server that outlives this.

use super::process::Process;
use super::{Door, Running};

/// They run.
pub struct Servers {
    pub processes: Vec<Process>,
    /// Of the leader, or of all.
    pub url: String,
    pub version: String,
    /// Dropped last: they write to it.
    pub _folder: tempfile::TempDir,
}

impl Running for Servers {
    fn url(&self, _door: Door) -> String {
        self.url.clone()
    }

    fn processes(&self) -> Vec<(&'static str, u32)> {
        let pids = self.processes.iter().map(Process::pid);
        pids.map(|pid| ("server", pid)).collect()
    }

    fn version(&self) -> String {
        self.version.clone()
    }
}
