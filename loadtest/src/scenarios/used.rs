//! What a run used: processor time by role, and what Sidelock's own counters say.
//! In: processes, before and after. Out: figures. Never: a counter that is not there as zero.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::measure::scrape::{self, Counters, grown};
use crate::measure::usage;
use crate::peers::Running;

/// Processor seconds by role, and counters by role.
pub struct Sample {
    cpu: BTreeMap<&'static str, f64>,
    counters: Vec<(&'static str, Counters)>,
}

/// A process that is busier than this does not hold up a run; then there are no counters.
const SCRAPE_MAX: Duration = Duration::from_millis(250);

impl Sample {
    /// Processor time is read at once, counters as soon as they come.
    pub async fn of(running: &dyn Running) -> Self {
        let mut cpu = BTreeMap::new();
        let client = ("client", std::process::id());
        for (role, pid) in running.processes().into_iter().chain([client]) {
            *cpu.entry(role).or_default() += usage::cpu_seconds(pid);
        }
        let counters = tokio::time::timeout(SCRAPE_MAX, running.counters()).await;
        Self {
            cpu,
            counters: counters.unwrap_or_default(),
        }
    }

    /// What was used and counted from here to there.
    pub fn until(self, later: &Self) -> Used {
        let cpu = self.cpu.into_iter().map(|(role, before)| {
            let after = later.cpu.get(role).copied().unwrap_or(before);
            (role, after - before)
        });
        Used {
            cpu: cpu.collect(),
            counters: Counted::between(&self.counters, &later.counters),
        }
    }
}

/// What was used within the time measured.
pub struct Used {
    cpu: BTreeMap<&'static str, f64>,
    counters: Counted,
}

/// What Sidelock's own counters say; nothing where there are none.
#[derive(Debug, Default, Clone, Copy)]
struct Counted {
    /// Grants without the core.
    local: Option<f64>,
    /// Frames from sidecars to cores.
    frames: Option<f64>,
    /// Operations in them.
    operations: Option<f64>,
    /// Entries of the leader's log.
    entries: Option<f64>,
    /// Syncs of the leader's log.
    syncs: Option<f64>,
    /// New terms.
    elections: Option<f64>,
}

impl Counted {
    fn between(before: &[(&str, Counters)], after: &[(&str, Counters)]) -> Self {
        let growths = |role: &str, name: &str| {
            let pairs = before.iter().zip(after).filter(|((of, _), _)| *of == role);
            let grown = pairs.filter_map(|((_, old), (_, new))| grown(old, new, name));
            grown.collect::<Vec<_>>()
        };
        let sum = |role, name| growths(role, name).into_iter().reduce(|a, b| a + b);
        let most = |role, name| growths(role, name).into_iter().reduce(f64::max);
        Self {
            local: sum("sidecar", scrape::LOCAL_GRANTS),
            frames: sum("sidecar", scrape::FRAMES_SENT),
            operations: sum("sidecar", scrape::OPERATIONS_SENT),
            entries: most("core", scrape::LAST_INDEX),
            syncs: most("core", scrape::LOG_SYNCS),
            elections: most("core", scrape::TERM),
        }
    }

    /// As figures. Of `pairs`, those of locks that stay at the sidecar are no operations of the core.
    fn figures(&self, pairs: f64) -> Vec<(String, f64)> {
        let asked = 2.0 * (pairs - self.local.unwrap_or(0.0)).max(0.0);
        let operations = self.operations.unwrap_or(asked);
        let per = |count: Option<f64>| {
            let count = count.filter(|count| *count > 0.0 && operations > 0.0);
            count.map(|count| operations / count)
        };
        let figures = [
            ("frames_sent", self.frames),
            ("local_grants", self.local),
            ("operations_sent", self.operations),
            ("entries", self.entries),
            ("log_syncs", self.syncs),
            ("elections", self.elections),
            ("operations_per_entry", per(self.entries)),
            ("operations_per_sync", per(self.syncs)),
        ];
        let there = figures
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        there.collect()
    }
}

impl Used {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a run are far below 2^52"
    )]
    pub fn per_pair(&self, pairs: u64) -> Vec<(String, f64)> {
        let pairs = pairs as f64;
        let mut figures = self.counters.figures(pairs);
        for (role, seconds) in &self.cpu {
            figures.push((format!("cpu_{role}_s"), *seconds));
            if pairs > 0.0 {
                figures.push((format!("cpu_{role}_us_per_pair"), seconds / pairs * 1e6));
            }
        }
        figures
    }
}
