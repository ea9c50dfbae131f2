//! The machine that measured: what a reader needs to know to judge the numbers.
//! In: /proc, git. Out: facts by name. Never: a name of the machine or of whoever ran it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::peers::process::first_line;

/// All facts but the versions of the peers.
pub fn facts() -> BTreeMap<String, String> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let number = release.split('-').next().unwrap_or(&release);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let facts = [
        ("processor", field("/proc/cpuinfo", "model name")),
        ("cores", cores.to_string()),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("kernel", format!("Linux {number}")),
        ("file system", file_system(&std::env::temp_dir())),
        (
            "revision",
            first_line(Command::new("git").args(["rev-parse", "--short=12", "HEAD"])),
        ),
        ("rustc", first_line(Command::new("rustc").arg("--version"))),
    ];
    let named = facts
        .into_iter()
        .map(|(name, fact)| (name.to_owned(), fact));
    named.collect()
}

/// What stands behind `NAME :` in a file of /proc.
fn field(path: &str, name: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()));
    value.unwrap_or_else(|| "unknown".to_owned())
}

/// The type of the file system that a folder is on.
fn file_system(folder: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let best = mounts
        .filter(|(at, _)| folder.starts_with(at))
        .max_by_key(|(at, _)| at.len());
    best.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}
