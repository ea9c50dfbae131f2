//! PURE: the bars of speed, and whether they are reached.
//! In: medians. Out: wanted, measured, yes or no. Never: a bar called reached that was not measured.

use sidelock::core::group::Timings;

use super::table::Table;

/// One bar.
#[derive(Debug, PartialEq)]
pub struct Bar {
    pub name: String,
    pub wanted: String,
    /// Nothing if the run had no such scenario.
    pub measured: Option<f64>,
    pub reached: Option<bool>,
}

/// Which side of the number is good.
#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

/// All bars, in the order of the report.
pub fn bars(table: &Table) -> Vec<Bar> {
    let mut bars = pairs(table);
    bars.extend(contention(table));
    bars.extend(size(table));
    bars.extend(time(table));
    bars
}

fn pairs(table: &Table) -> Vec<Bar> {
    use Wanted::{AtLeast, AtMost};
    let rate = |ours, theirs| table.ratio("pairs", "64 workers", (ours, theirs), "pairs_per_s");
    let single = |theirs| table.ratio("single", "1 worker", ("sidelock", theirs), "acquire_p50_ms");
    let saturated = ["256 workers", "64 workers"].into_iter().find_map(|case| {
        let of = |name| median(table, "pairs", case, "sidelock", name);
        of("operations_per_sync").or_else(|| of("operations_per_entry"))
    });
    let elections = table.cases("pairs").filter_map(|case| {
        let sidelock = case.peers.iter().find(|peer| peer.name == "sidelock")?;
        Some(sidelock.figure("elections")?.max)
    });
    vec![
        bar(
            "uncached pairs, 64 workers, times etcd's gateway",
            AtLeast(5.0),
            rate("sidelock", "etcd-gateway"),
        ),
        bar(
            "uncached pairs, 64 workers, times etcd's gRPC lock",
            AtLeast(4.0),
            rate("sidelock", "etcd-grpc"),
        ),
        bar(
            "p50 of a single acquire, of etcd's gRPC `Lock`",
            AtMost(0.6),
            single("etcd-grpc"),
        ),
        bar(
            "operations that one sync serves at saturation",
            AtLeast(20.0),
            saturated,
        ),
        bar(
            "kept pairs, 64 workers, times Redis without persistence",
            AtLeast(1.0),
            rate("sidelock-kept", "redis"),
        ),
        bar(
            "or: kept pairs, 64 workers, of the echo",
            AtLeast(0.85),
            rate("sidelock-kept", "echo"),
        ),
        bar(
            "kept pairs with traces of 1 %, of those without",
            AtLeast(0.97),
            median(
                table,
                "tracing",
                "traces of 1 %",
                "sidelock-kept",
                "of_untraced",
            ),
        ),
        bar(
            "false elections in one run of pairs, at most",
            AtMost(0.0),
            elections.reduce(f64::max),
        ),
    ]
}

fn contention(table: &Table) -> Vec<Bar> {
    use Wanted::AtMost;
    let mut bars = Vec::new();
    for pods in ["1 pod", "8 pods"] {
        for peer in ["sidelock-kept", "sidelock"] {
            let of = |waiters: usize, figure| {
                let case = format!("{waiters} waiters in {pods}");
                median(table, "hot", &case, peer, figure)
            };
            let gap = |waiters| of(waiters, "gap_mean_ms");
            let grown = gap(1000).zip(gap(2)).map(|(many, few)| many / few);
            let sent = of(1000, "operations_per_grant").or_else(|| of(1000, "frames_per_grant"));
            bars.push(bar(
                &format!("gap at 1000 waiters, times that at 2 ({peer}, {pods})"),
                AtMost(1.2),
                grown,
            ));
            bars.push(bar(
                &format!("core messages per contended grant ({peer}, {pods})"),
                AtMost(2.0),
                sent,
            ));
        }
    }
    let cases = || table.cases("fifo").flat_map(|case| &case.peers);
    let most = |figure| {
        cases()
            .filter_map(|peer| Some(peer.figure(figure)?.max))
            .reduce(f64::max)
    };
    bars.push(bar(
        "overtaken within a pod",
        AtMost(0.0),
        most("overtaken_in_pod"),
    ));
    bars.push(bar(
        "overtaken among pods",
        AtMost(0.0),
        most("overtaken_among_pods"),
    ));
    bars
}

fn size(table: &Table) -> Vec<Bar> {
    use Wanted::AtMost;
    let of = |scenario, case, figure| median(table, scenario, case, "sidelock", figure);
    let held = |figure| of("held", "1000000 held locks", figure);
    let idle = table
        .cases("idle")
        .last()
        .map(|case| case.name.clone())
        .unwrap_or_default();
    vec![
        bar(
            "leader with 1,000,000 held locks, MB",
            AtMost(1024.0),
            held("leader_rss_mb"),
        ),
        bar(
            "restart of a node with them, s",
            AtMost(10.0),
            held("restart_s"),
        ),
        bar(
            &format!("cores used by {}", or(&idle, "idle sidecars")),
            AtMost(1.0),
            of("idle", &idle, "cores_used"),
        ),
        bar(
            "idle sidecar, MB",
            AtMost(15.0),
            of("startup", "sidecar", "idle_rss_mb"),
        ),
        bar(
            "sidecar ready, ms",
            AtMost(300.0),
            of("startup", "sidecar", "ready_ms"),
        ),
        bar(
            "`sidelock dev` ready, ms",
            AtMost(1000.0),
            of("startup", "sidelock dev", "ready_ms"),
        ),
    ]
}

fn time(table: &Table) -> Vec<Bar> {
    use Wanted::AtMost;
    let election_ms = Timings::default().election_max.as_secs_f64() * 1e3;
    let failover = table.cases("failover").next().map(|case| case.name.clone());
    let first =
        failover.and_then(|case| median(table, "failover", &case, "sidelock", "first_grant_ms"));
    let long = |peer: &str, figure: &str| median(table, "long", "half load", peer, figure);
    let growth = |kind: &str| {
        let figures =
            (1..=3).filter_map(|place| long("sidelock", &format!("core{place}_{kind}_growth")));
        figures.reduce(f64::max)
    };
    let fleet = table.cases("jeopardy").last().map(|case| case.name.clone());
    let late = fleet.and_then(|case| median(table, "jeopardy", &case, "sidelock", "jeopardies"));
    let tail = long("sidelock", "p999_of_p50");
    let disk = long("fdatasync", "p999_of_p50").unwrap_or(0.0);
    vec![
        bar("election timeout, ms", AtMost(1000.0), Some(election_ms)),
        bar(
            "first grant after a leader's death, ms",
            AtMost(2.0 * election_ms),
            first,
        ),
        bar(
            "deadlines passed after a leader's death, sidecars over TLS",
            AtMost(0.0),
            late,
        ),
        bar(
            "long run: memory in the last third, times that in the middle one",
            AtMost(1.1),
            growth("rss_mb"),
        ),
        bar(
            "long run: disk in the last third, times that in the middle one",
            AtMost(1.1),
            growth("disk_mb"),
        ),
        bar(
            "long run: p99.9 of p50 (or the disk's own)",
            AtMost(disk.max(3.0)),
            tail,
        ),
    ]
}

fn median(table: &Table, scenario: &str, case: &str, peer: &str, figure: &str) -> Option<f64> {
    Some(table.figure(scenario, case, peer, figure)?.median)
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

fn bar(name: &str, wanted: Wanted, measured: Option<f64>) -> Bar {
    let (word, reached) = match wanted {
        Wanted::AtLeast(least) => (format!("≥ {least}"), measured.map(|value| value >= least)),
        Wanted::AtMost(most) => (
            format!("≤ {}", super::markdown::digits(most)),
            measured.map(|value| value <= most),
        ),
    };
    Bar {
        name: name.to_owned(),
        wanted: word,
        measured,
        reached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::raw::Run;

    fn run(scenario: &str, case: &str, peer: &str, figure: &str, value: f64) -> Run {
        Run {
            scenario: scenario.to_owned(),
            case: case.to_owned(),
            peer: peer.to_owned(),
            figures: [(figure.to_owned(), value)].into(),
            ..Run::default()
        }
    }

    #[test]
    fn a_bar_is_reached_missed_or_not_measured() {
        let runs = [
            run("pairs", "64 workers", "sidelock", "pairs_per_s", 900.0),
            run("pairs", "64 workers", "etcd-gateway", "pairs_per_s", 100.0),
            run("pairs", "64 workers", "etcd-grpc", "pairs_per_s", 300.0),
            run("hot", "2 waiters in 1 pod", "sidelock", "gap_mean_ms", 2.0),
            run(
                "hot",
                "1000 waiters in 1 pod",
                "sidelock",
                "gap_mean_ms",
                2.2,
            ),
        ];
        let bars = bars(&Table::new(&runs));
        let reached = |part: &str| {
            let bar = bars.iter().find(|bar| bar.name.contains(part));
            bar.expect("a bar of that name").reached
        };
        assert_eq!(reached("etcd's gateway"), Some(true));
        assert_eq!(reached("etcd's gRPC lock"), Some(false));
        assert_eq!(reached("times that at 2 (sidelock, 1 pod)"), Some(true));
        assert_eq!(reached("times that at 2 (sidelock-kept, 1 pod)"), None);
        assert_eq!(reached("1,000,000 held"), None);
    }
}
