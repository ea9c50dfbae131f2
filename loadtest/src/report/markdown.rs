//! report.md, and the short table for the README.
//! In: raw data, the table made of it. Out: Markdown. Never: a number without its least and greatest.

use std::fmt::Write;

use super::bars::bars;
use super::raw::Raw;
use super::table::{Case, Spread, Table};

/// Where the short table goes.
pub const START: &str = "<!-- bench:start -->";
/// See [`START`].
pub const END: &str = "<!-- bench:end -->";

/// The figures that are shown of a scenario, with their headings; of others all.
const COLUMNS: &[(&str, &[(&str, &str)])] = &[
    (
        "single",
        &[
            ("acquire_p50_ms", "p50 ms"),
            ("acquire_p99_ms", "p99 ms"),
            ("acquire_max_ms", "max ms"),
        ],
    ),
    (
        "pairs",
        &[
            ("pairs_per_s", "pairs/s"),
            ("acquire_p50_ms", "p50 ms"),
            ("acquire_p99_ms", "p99 ms"),
            ("acquire_p999_ms", "p99.9 ms"),
            ("operations_per_entry", "operations per entry"),
            ("operations_per_sync", "operations per sync"),
            ("errors", "errors"),
        ],
    ),
    (
        "hot",
        &[
            ("gap_mean_ms", "gap ms, mean"),
            ("gap_p50_ms", "gap ms, p50"),
            ("gap_p99_ms", "gap ms, p99"),
            ("acquire_p50_ms", "wait ms, p50"),
            ("jain_workers", "Jain, workers"),
            ("jain_pods", "Jain, pods"),
            ("frames_per_grant", "frames per grant"),
            ("operations_per_grant", "operations per grant"),
        ],
    ),
    ("locality", RATES),
    ("ping-pong", RATES),
    ("shapes", RATES),
    (
        "greedy",
        &[
            ("pairs_per_s", "pairs/s"),
            ("jain_pods", "Jain, pods"),
            ("acquire_max_ms", "longest wait ms"),
        ],
    ),
    (
        "jeopardy",
        &[
            ("jeopardies", "deadlines passed"),
            ("jeopardies_before", "before the kill"),
            ("renewals_per_s", "renewals/s"),
            ("lost_streams", "streams lost"),
        ],
    ),
    (
        "tracing",
        &[
            ("pairs_per_s", "pairs/s"),
            ("of_untraced", "of those without, in the same round"),
            ("cpu_sidecar_us_per_pair", "sidecar µs each"),
        ],
    ),
    (
        "overload",
        &[
            ("pairs_per_s", "pairs/s"),
            ("grants_per_s", "grants/s"),
            ("goodput_of_peak", "of the peak"),
            ("service_p99_ms", "p99 ms, from the asking"),
            ("p99_of_peak", "p99, times the peak's"),
            ("refused_per_s", "refused/s"),
            ("refused_p50_ms", "refused after ms, p50"),
            ("refused_p99_ms", "p99"),
            ("unserved", "never begun"),
            ("sidecar_rss_mb", "sidecar MB"),
        ],
    ),
    (
        "expiry",
        &[
            ("acquire_p50_ms", "p50 ms"),
            ("acquire_p99_ms", "p99 ms"),
            ("acquire_max_ms", "max ms"),
            ("some_left", "some left"),
        ],
    ),
    (
        "renewals",
        &[
            ("wanted_per_s", "wanted/s"),
            ("renewals_per_s", "renewals/s"),
            ("acquire_p50_ms", "p50 ms"),
            ("acquire_p99_ms", "p99 ms"),
            ("cpu_sidecar_us_per_pair", "sidecar µs each"),
            ("entries", "log entries"),
        ],
    ),
    (
        "hand-over",
        &[
            ("acquire_p50_ms", "p50 ms"),
            ("acquire_p99_ms", "p99 ms"),
            ("acquire_max_ms", "max ms"),
        ],
    ),
    (
        "long",
        &[
            ("pairs_per_s", "pairs/s"),
            ("acquire_p50_ms", "p50 ms"),
            ("acquire_p99_ms", "p99 ms"),
            ("acquire_p999_ms", "p99.9 ms"),
            ("p999_of_p50", "p99.9 of p50"),
            ("sidecar_rss_mb_end", "sidecar MB"),
            ("core1_rss_mb_end", "core MB"),
            ("core1_disk_mb_end", "disk MB"),
            ("unserved", "never begun"),
            ("errors", "errors"),
        ],
    ),
];

const RATES: &[(&str, &str)] = &[
    ("pairs_per_s", "pairs/s"),
    ("acquire_p50_ms", "p50 ms"),
    ("acquire_p99_ms", "p99 ms"),
    ("frames_sent", "frames"),
    ("errors", "errors"),
];

/// All of report.md.
pub fn report(raw: &Raw, plots: &[String]) -> String {
    let table = Table::new(&raw.runs);
    let mut text = format!(
        "# Measured side by side, {} ({})\n\n",
        raw.facts.date, raw.facts.form
    );
    text.push_str("Medians over the rounds, in parentheses the least and the greatest. Compare only within this run.\n");
    text.push_str(&bars_table(&table));
    for scenario in table.scenarios() {
        write!(
            text,
            "\n## {scenario}\n\n{}",
            scenario_table(&table, scenario)
        )
        .expect(TO_STRING);
        for plot in plots.iter().filter(|plot| plot.starts_with(scenario)) {
            write!(text, "\n![{scenario}]({plot})\n").expect(TO_STRING);
        }
    }
    text.push_str(&processor(&table));
    text.push_str(&refusals(raw));
    text.push_str("\n## Machine\n\n");
    for (name, fact) in &raw.facts.machine {
        writeln!(text, "- {name}: {fact}").expect(TO_STRING);
    }
    if !raw.absent.is_empty() {
        text.push_str("\n## Absent\n\n");
    }
    for absent in &raw.absent {
        writeln!(text, "- {}: {}", absent.peer, absent.reason).expect(TO_STRING);
    }
    text
}

const TO_STRING: &str = "a String takes all that is written";

fn bars_table(table: &Table) -> String {
    let mut text =
        "\n## Bars\n\n| bar | wanted | measured | reached |\n|---|---|---|---|\n".to_owned();
    for bar in bars(table) {
        let measured = bar.measured.map_or_else(|| "-".to_owned(), digits);
        let reached = match bar.reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not in this run",
        };
        writeln!(
            text,
            "| {} | {} | {measured} | {reached} |",
            bar.name, bar.wanted
        )
        .expect(TO_STRING);
    }
    text
}

fn scenario_table(table: &Table, scenario: &str) -> String {
    let columns = columns(table, scenario);
    let compares = ["single", "pairs"].contains(&scenario);
    let mut heads: Vec<String> = vec!["case".into(), "peer".into()];
    heads.extend(columns.iter().map(|(_, head)| head.clone()));
    if compares {
        heads.extend(["× etcd gateway", "× etcd gRPC", "× echo"].map(str::to_owned));
    }
    let mut text = format!(
        "| {} |\n|{}\n",
        heads.join(" | "),
        "---|".repeat(heads.len())
    );
    for case in table.cases(scenario) {
        for peer in &case.peers {
            let mut cells = vec![case.name.clone(), peer.name.clone()];
            cells.extend(columns.iter().map(|(figure, _)| cell(peer.figure(figure))));
            if compares {
                cells.extend(ratios(table, case, &peer.name));
            }
            writeln!(text, "| {} |", cells.join(" | ")).expect(TO_STRING);
        }
    }
    text
}

/// Only those that some run of the scenario has.
fn columns(table: &Table, scenario: &str) -> Vec<(String, String)> {
    let peers = || table.cases(scenario).flat_map(|case| &case.peers);
    let chosen = COLUMNS.iter().find(|(name, _)| *name == scenario);
    let Some((_, columns)) = chosen else {
        let mut names: Vec<_> = peers()
            .flat_map(|peer| peer.figures().map(|(name, _)| name))
            .collect();
        names.sort_unstable();
        names.dedup();
        return names
            .into_iter()
            .map(|name| (name.to_owned(), name.replace('_', " ")))
            .collect();
    };
    let there = columns
        .iter()
        .filter(|(name, _)| peers().any(|peer| peer.figure(name).is_some()));
    there
        .map(|(name, head)| ((*name).to_owned(), (*head).to_owned()))
        .collect()
}

fn ratios(table: &Table, case: &Case, peer: &str) -> Vec<String> {
    let figure = if case.scenario == "single" {
        "acquire_p50_ms"
    } else {
        "pairs_per_s"
    };
    let bases = ["etcd-gateway", "etcd-grpc", "echo"];
    let ratio = |base| table.ratio(&case.scenario, &case.name, (peer, base), figure);
    bases
        .map(|base| ratio(base).map_or_else(String::new, digits))
        .to_vec()
}

/// Where the processor's time goes, at 64 workers.
fn processor(table: &Table) -> String {
    let mut text = "\n## Processor time per pair, 64 workers, µs\n\n\
                    | peer | client | sidecar | core | server |\n|---|---|---|---|---|\n"
        .to_owned();
    let mut cases = table.cases("pairs");
    let Some(case) = cases.find(|case| case.name == "64 workers") else {
        return String::new();
    };
    for peer in &case.peers {
        let of = |role: &str| cell(peer.figure(&format!("cpu_{role}_us_per_pair")));
        let cells = ["client", "sidecar", "core", "server"].map(of);
        writeln!(text, "| {} | {} |", peer.name, cells.join(" | ")).expect(TO_STRING);
    }
    text
}

/// What was refused, and what failed, in the peers' words.
fn refusals(raw: &Raw) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for run in &raw.runs {
        for (word, count) in &run.words {
            *counts.entry((&run.scenario, &run.peer, word)).or_insert(0) += count;
        }
    }
    if counts.is_empty() {
        return String::new();
    }
    let mut text =
        "\n## Refused and failed\n\n| scenario | peer | word | count |\n|---|---|---|---|\n"
            .to_owned();
    for ((scenario, peer, word), count) in counts {
        writeln!(text, "| {scenario} | {peer} | {word} | {count} |").expect(TO_STRING);
    }
    text
}

fn cell(spread: Option<Spread>) -> String {
    let Some(Spread { min, median, max }) = spread else {
        return String::new();
    };
    if min.total_cmp(&max).is_eq() {
        return digits(median);
    }
    format!("{} ({}–{})", digits(median), digits(min), digits(max))
}

/// Three significant digits.
pub fn digits(value: f64) -> String {
    let size = value.abs();
    let places = match size {
        _ if size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ if size >= 0.1 || size == 0.0 => 3,
        _ => 4,
    };
    let text = format!("{value:.places$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The short table: pairs, and a few other figures in a sentence.
pub fn short(raw: &Raw) -> String {
    let table = Table::new(&raw.runs);
    let mut text = "| | 1 worker: acquire p50, ms | 1 worker: pairs/s | 64 workers: pairs/s | × etcd gRPC |\n|---|---|---|---|---|\n".to_owned();
    let peers = table
        .cases("pairs")
        .find(|case| case.name == "64 workers")
        .map(|case| &case.peers);
    for peer in peers.into_iter().flatten() {
        let of = |scenario: &str, case: &str, figure: &str| {
            cell(table.figure(scenario, case, &peer.name, figure))
        };
        let ratio = table.ratio(
            "pairs",
            "64 workers",
            (&peer.name, "etcd-grpc"),
            "pairs_per_s",
        );
        let about = crate::peers::named(&peer.name).map_or("", |one| one.about);
        let cells = [
            format!("**{}**: {about}", peer.name),
            of("single", "1 worker", "acquire_p50_ms"),
            of("pairs", "1 worker", "pairs_per_s"),
            of("pairs", "64 workers", "pairs_per_s"),
            ratio.map_or_else(String::new, digits),
        ];
        writeln!(text, "| {} |", cells.join(" | ")).expect(TO_STRING);
    }
    let fact = |name: &str| {
        raw.facts
            .machine
            .get(name)
            .map_or("unknown", String::as_str)
    };
    write!(
        text,
        "\nMeasured on {} with {} cores ({}), {}.\n",
        fact("processor"),
        fact("cores"),
        fact("file system"),
        raw.facts.date
    )
    .expect(TO_STRING);
    text
}

/// The text with what stands between the markers replaced; nothing without markers.
pub fn between_markers(text: &str, new: &str) -> Option<String> {
    let (before, rest) = text.split_once(START)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{START}\n{new}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::raw::Run;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (12345.6, "12346"),
            (99.94, "99.9"),
            (4.0, "4"),
            (1.234, "1.23"),
            (0.1234, "0.123"),
            (0.01234, "0.0123"),
            (0.0, "0"),
            (100.0, "100"),
        ] {
            assert_eq!(digits(value), text);
        }
    }

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = format!("a\n{START}\nold\n{END}\nb\n");
        let new = between_markers(&text, "new\n").expect("both markers are there");
        assert_eq!(new, format!("a\n{START}\nnew\n{END}\nb\n"));
        assert_eq!(between_markers("no markers", "new"), None);
    }

    #[test]
    fn the_report_tells_medians_ratios_and_who_is_absent() {
        let run = |peer: &str, rate: f64| Run {
            scenario: "pairs".to_owned(),
            case: "64 workers".to_owned(),
            peer: peer.to_owned(),
            figures: [("pairs_per_s".to_owned(), rate)].into(),
            ..Run::default()
        };
        let raw = Raw {
            runs: vec![
                run("sidelock", 400.0),
                run("sidelock", 600.0),
                run("sidelock", 450.0),
                run("etcd-grpc", 90.0),
            ],
            absent: vec![crate::report::raw::Absent {
                peer: "dapr".to_owned(),
                reason: "not built".to_owned(),
            }],
            ..Raw::default()
        };
        let text = report(&raw, &[]);
        assert!(
            text.contains("| 64 workers | sidelock | 450 (400–600) |  | 5 |  |"),
            "{text}"
        );
        assert!(
            text.contains("| uncached pairs, 64 workers, times etcd's gRPC lock | ≥ 4 | 5 | yes |"),
            "{text}"
        );
        assert!(text.contains("- dapr: not built"), "{text}");
        assert!(
            short(&raw).contains("|  | 450 (400–600) | 5 |"),
            "{}",
            short(&raw)
        );
    }
}
