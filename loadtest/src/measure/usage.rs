//! What processes use, from /proc: processor time, memory, files and their size.
//! In: pids, folders. Out: seconds, megabytes. Never: an error for a process that is gone.

use std::fs;
use std::path::Path;

/// Processor seconds of a process until now, its ended threads included.
#[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^52")]
pub fn cpu_seconds(pid: u32) -> f64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return 0.0;
    };
    // The name in parentheses may hold spaces.
    let after = stat.rsplit(')').next().unwrap_or("");
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Of several processes.
pub fn cpu_seconds_of(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| cpu_seconds(*pid)).sum()
}

/// Resident memory in megabytes.
#[expect(clippy::cast_precision_loss, reason = "kilobytes are far below 2^52")]
pub fn rss_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) as f64 / 1024.0
}

/// All files under a folder, in megabytes.
#[expect(clippy::cast_precision_loss, reason = "bytes on a disk are below 2^52")]
pub fn disk_mb(folder: &Path) -> f64 {
    fn bytes(folder: &Path) -> u64 {
        let Ok(entries) = fs::read_dir(folder) else {
            return 0;
        };
        let sizes = entries.flatten().map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        });
        sizes.sum()
    }
    bytes(folder) as f64 / f64::from(1 << 20)
}
