//! Raw data: one line of JSON for each run, and one for the machine.
//! In: runs. Out: raw.jsonl, and the same back. Never: a line changed after it was written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::measure::histogram::Latencies;

/// The name of the file.
pub const FILE: &str = "raw.jsonl";

/// A line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    Facts(Facts),
    Version(Version),
    Run(Box<Run>),
    Absent(Absent),
}

/// The machine, and what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub date: String,
    pub form: String,
    /// By name: processor, cores, kernel, file system, revision; and the versions of the peers.
    pub machine: BTreeMap<String, String>,
}

/// One run of one peer in one case of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub scenario: String,
    /// The case in words, as "64 workers".
    pub case: String,
    /// Its place on an axis: workers, waiters.
    pub x: f64,
    pub peer: String,
    pub round: usize,
    /// By name; units are at the end of each: `_ms`, `_mb`, `_per_s`.
    pub figures: BTreeMap<String, f64>,
    /// By name, V2, deflated, base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub histograms: BTreeMap<String, String>,
    /// One value for each second of the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub series: BTreeMap<String, Vec<f64>>,
    /// Refusals and errors by their words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub words: BTreeMap<String, u64>,
}

/// What a peer says of itself, once it has been started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    pub peer: String,
    pub version: String,
}

/// A peer that could not be had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Absent {
    pub peer: String,
    pub reason: String,
}

impl Run {
    pub fn histogram(&self, name: &str) -> Option<Latencies> {
        Latencies::decode(self.histograms.get(name)?).ok()
    }
}

/// All of a folder.
#[derive(Debug, Default)]
pub struct Raw {
    pub facts: Facts,
    pub runs: Vec<Run>,
    pub absent: Vec<Absent>,
}

impl Raw {
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        Self::from_lines(BufReader::new(file).lines())
    }

    fn from_lines(lines: impl Iterator<Item = std::io::Result<String>>) -> anyhow::Result<Self> {
        let mut raw = Self::default();
        for (number, line) in lines.enumerate() {
            let line = serde_json::from_str(&line?);
            match line.with_context(|| format!("line {}", number + 1))? {
                Line::Facts(facts) => raw.facts = facts,
                Line::Version(Version { peer, version }) => {
                    raw.facts.machine.insert(peer, version);
                }
                Line::Run(run) => raw.runs.push(*run),
                Line::Absent(absent) => raw.absent.push(absent),
            }
        }
        Ok(raw)
    }
}

/// Writes lines as they come, so that an interrupted bench leaves what it had.
pub struct Writer {
    file: File,
}

impl Writer {
    pub fn create(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let file = File::create(folder.join(FILE))?;
        Ok(Self { file })
    }

    pub fn write(&mut self, line: &Line) -> anyhow::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut writer = Writer::create(folder.path()).expect("a new file");
        let facts = Facts {
            date: "2026-01-02".to_owned(),
            form: "quick".to_owned(),
            machine: BTreeMap::from([("cores".to_owned(), "2".to_owned())]),
        };
        let run = Run {
            scenario: "pairs".to_owned(),
            x: 64.0,
            figures: BTreeMap::from([("pairs_per_s".to_owned(), 12.5)]),
            ..Run::default()
        };
        let absent = Absent {
            peer: "consul".to_owned(),
            reason: "not built".to_owned(),
        };
        let version = Version {
            peer: "etcd".to_owned(),
            version: "3.7".to_owned(),
        };
        let lines = [
            Line::Facts(facts.clone()),
            Line::Version(version),
            Line::Run(Box::new(run.clone())),
            Line::Absent(absent.clone()),
        ];
        for line in &lines {
            writer.write(line).expect("room on the disk");
        }
        let mut raw = Raw::read(folder.path()).expect("what was just written");
        let etcd = raw.facts.machine.remove("etcd");
        assert_eq!(etcd.as_deref(), Some("3.7"));
        assert_eq!(
            (raw.facts, raw.runs, raw.absent),
            (facts, vec![run], vec![absent])
        );
    }
}
