//! What scenarios share: peers made ready, a run measured with all that is to be told of it, progress.
//! In: plans. Out: lines of raw data. Never: a peer's absence as an error.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Form;
use super::used::Sample;
use crate::measure::load::{self, Outcome, Plan, Target};
use crate::measure::probe;
use crate::peers::{CONTESTANTS, Contestant, Field, Running};
use crate::report::raw::{Absent, Line, Run, Version, Writer};

/// Where a run belongs.
#[derive(Debug, Clone)]
pub struct Case {
    pub scenario: &'static str,
    pub name: String,
    /// Its place on an axis.
    pub x: f64,
}

/// A bench under way.
pub struct Bench {
    pub form: Form,
    pub rounds: usize,
    /// Of the scenario `long`.
    pub long_run_seconds: u64,
    pub field: Field,
    writer: Writer,
    /// Only these; all if empty.
    only: Vec<String>,
    /// Peers whose version was told.
    known: BTreeSet<&'static str>,
    absent: BTreeMap<&'static str, String>,
    /// What a terminal shows.
    bar: Option<ProgressBar>,
    runs: usize,
}

/// Who makes a run, and where it belongs.
#[derive(Debug, Clone)]
pub struct Who {
    case: Case,
    peer: &'static str,
    round: usize,
}

impl Case {
    pub fn new(scenario: &'static str, name: impl Into<String>, x: f64) -> Self {
        Self {
            scenario,
            name: name.into(),
            x,
        }
    }

    /// A run of it.
    pub fn by(&self, peer: &'static str, round: usize) -> Who {
        Who {
            case: self.clone(),
            peer,
            round,
        }
    }

    /// So many workers.
    pub fn workers(scenario: &'static str, workers: usize) -> Self {
        let name = match workers {
            1 => "1 worker".to_owned(),
            more => format!("{more} workers"),
        };
        Self::new(scenario, name, number(workers))
    }
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub fn number(count: usize) -> f64 {
    count as f64
}

impl Bench {
    pub fn new(form: Form, rounds: usize, field: Field, writer: Writer, only: Vec<String>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{spinner} {elapsed_precise} {pos} runs  {msg}")
                    .expect("a template that was tried");
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            form,
            rounds,
            long_run_seconds: 0,
            field,
            writer,
            only,
            known: BTreeSet::new(),
            absent: BTreeMap::new(),
            bar,
            runs: 0,
        }
    }

    /// Takes the progress off the screen.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        Ok(())
    }

    /// How many runs were written.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// One of three, by form.
    pub fn by_form<T>(&self, smoke: T, quick: T, full: T) -> T {
        match self.form {
            Form::Smoke => smoke,
            Form::Quick => quick,
            Form::Full => full,
        }
    }

    /// Says what is going on.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => eprintln!("{text}"),
        }
    }

    /// Says what stays on the screen.
    pub fn tell(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Whether a peer was asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == name)
    }

    /// Those that were asked for and can be had, in the order of the tables.
    pub async fn contestants(&mut self, names: &[&str]) -> anyhow::Result<Vec<Contestant>> {
        let mut ready = Vec::new();
        for one in CONTESTANTS {
            if !self.wants(one.name) || !(names.is_empty() || names.contains(&one.name)) {
                continue;
            }
            self.say(&format!("starting {}", one.name));
            match self.field.ready(*one).await {
                Ok(()) => {
                    self.note_version(*one)?;
                    ready.push(*one);
                }
                Err(reason) => self.note_absent(one.name, reason)?,
            }
        }
        Ok(ready)
    }

    fn note_version(&mut self, one: Contestant) -> anyhow::Result<()> {
        if self.known.insert(one.name) {
            let version = Version {
                peer: one.name.to_owned(),
                version: self.field.running(one).version(),
            };
            self.writer.write(&Line::Version(version))?;
        }
        Ok(())
    }

    fn note_absent(&mut self, peer: &'static str, reason: String) -> anyhow::Result<()> {
        if self.absent.insert(peer, reason.clone()).is_none() {
            self.tell(&format!("{peer} is absent: {reason}"));
            let peer = peer.to_owned();
            self.writer.write(&Line::Absent(Absent { peer, reason }))?;
        }
        Ok(())
    }

    /// One run of a contestant.
    pub async fn measure(
        &mut self,
        case: &Case,
        one: Contestant,
        round: usize,
        plan: &Plan,
    ) -> anyhow::Result<()> {
        let target = self.field.target(one);
        let running = self.field.running(one);
        let (_, run) = loaded(&case.by(one.name, round), &target, running, plan).await?;
        self.record(run)
    }

    /// The disk alone, beside the peers.
    pub async fn disk(
        &mut self,
        case: &Case,
        round: usize,
        measured: Duration,
    ) -> anyhow::Result<()> {
        if !self.wants("fdatasync") {
            return Ok(());
        }
        let folder = crate::peers::scratch("disk")?;
        let path = folder.path().to_owned();
        let probe = move || probe::fdatasync(&path, measured, Duration::ZERO);
        let latencies = tokio::task::spawn_blocking(probe).await??;
        let outcome = Outcome {
            acquire: latencies,
            seconds: measured.as_secs_f64(),
            ..Outcome::default()
        };
        self.record(case.by("fdatasync", round).latencies(&outcome))
    }

    /// Writes a run down.
    pub fn record(&mut self, run: Run) -> anyhow::Result<()> {
        self.runs += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        self.say(&summary(&run));
        self.writer.write(&Line::Run(Box::new(run)))
    }
}

/// A run in a line.
fn summary(run: &Run) -> String {
    let told = [
        ("pairs_per_s", "pairs/s"),
        ("acquire_p50_ms", "ms p50"),
        ("acquire_p99_ms", "ms p99"),
        ("gap_mean_ms", "ms gap"),
        ("ready_ms", "ms to ready"),
        ("first_grant_ms", "ms to the first grant"),
        ("restart_s", "s to restart"),
        ("cores_used", "cores"),
    ];
    let figures = told.iter().filter_map(|(name, unit)| {
        let value = run.figures.get(*name).filter(|value| **value > 0.0)?;
        Some(format!("{value:.3} {unit}"))
    });
    let figures: Vec<_> = figures.collect();
    let Run {
        scenario,
        case,
        peer,
        round,
        ..
    } = run;
    format!(
        "{scenario}, {case}, {peer}, round {}: {}",
        round + 1,
        figures.join(", ")
    )
}

/// One run of a target that `running` is, with what it used; not written down yet.
pub async fn loaded(
    who: &Who,
    target: &Target,
    running: &dyn Running,
    plan: &Plan,
) -> anyhow::Result<(Outcome, Run)> {
    let watch = async {
        let over = tokio::time::sleep(plan.measured);
        let before = Sample::of(running).await;
        over.await;
        before.until(&Sample::of(running).await)
    };
    let (outcome, used) = load::run_watched(target, plan, watch).await?;
    let mut run = who.run(&outcome);
    run.figures.extend(used.per_pair(outcome.pairs()));
    Ok((outcome, run))
}

/// The same for work of another kind, from its beginning to its end.
pub async fn loaded_by(
    who: &Who,
    running: &dyn Running,
    work: impl Future<Output = anyhow::Result<Outcome>>,
) -> anyhow::Result<(Outcome, Run)> {
    let before = Sample::of(running).await;
    let outcome = work.await?;
    let used = before.until(&Sample::of(running).await);
    let mut run = who.run(&outcome);
    run.figures.extend(used.per_pair(outcome.acquire.count()));
    Ok((outcome, run))
}

impl Who {
    /// A run with the figures and histograms that all loads have.
    pub fn run(&self, outcome: &Outcome) -> Run {
        let mut words = outcome.refusals.clone();
        words.extend(outcome.errors.clone());
        let histogram = ("acquire".to_owned(), outcome.acquire.encode());
        Run {
            histograms: BTreeMap::from([histogram]),
            words,
            ..self.with(outcome.figures())
        }
    }

    /// A run that has nothing but latencies.
    pub fn latencies(&self, outcome: &Outcome) -> Run {
        let mut run = self.run(outcome);
        run.figures.retain(|name, _| name.starts_with("acquire"));
        run
    }

    /// A run with these figures.
    pub fn with(&self, figures: impl IntoIterator<Item = (String, f64)>) -> Run {
        Run {
            scenario: self.case.scenario.to_owned(),
            case: self.case.name.clone(),
            x: self.case.x,
            peer: self.peer.to_owned(),
            round: self.round,
            figures: figures.into_iter().collect(),
            ..Run::default()
        }
    }

    /// A run with figures whose names are literals.
    pub fn figures<const N: usize>(&self, figures: [(&str, f64); N]) -> Run {
        self.with(figures.map(|(name, value)| (name.to_owned(), value)))
    }
}
