//! What Sidelock's processes say of themselves on /metrics.
//! In: their URLs. Out: counters by name, summed over labels. Never: a counter that is not there as zero.

use std::collections::BTreeMap;

use hyper::Method;
use serde_json::Value;

use crate::clients::http;

/// Of a sidecar: grants without the core, frames to core nodes, and the operations in them.
pub const LOCAL_GRANTS: &str = "sidelock_local_grants_total";
pub const FRAMES_SENT: &str = "sidelock_core_frames_sent_total";
pub const OPERATIONS_SENT: &str = "sidelock_core_operations_sent_total";
/// Of a core node: entries of its log, and how often it was synced; its term.
pub const LAST_INDEX: &str = "sidelock_raft_last_index";
pub const LOG_SYNCS: &str = "sidelock_log_syncs_total";
pub const TERM: &str = "sidelock_raft_term";

/// Counters and gauges by name.
pub type Counters = BTreeMap<String, f64>;

/// One process.
pub async fn scrape(url: &str) -> anyhow::Result<Counters> {
    let answer = http::once(Method::GET, url, "/metrics", &Value::Null).await?;
    Ok(parse(&String::from_utf8_lossy(&answer.body)))
}

/// Sums over labels, so that a counter's name is enough.
fn parse(text: &str) -> Counters {
    let mut counters = Counters::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let name = series.split('{').next().unwrap_or(series);
        if let Ok(value) = value.parse::<f64>() {
            *counters.entry(name.to_owned()).or_default() += value;
        }
    }
    counters
}

/// How much a counter grew; nothing if it is not there.
pub fn grown(before: &Counters, after: &Counters, name: &str) -> Option<f64> {
    Some(after.get(name)? - before.get(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_summed_and_comments_left_out() {
        let text = "# HELP a b\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\nb 1.5\n# EOF\n";
        let counters = parse(text);
        assert_eq!(counters.get("a_total"), Some(&5.0));
        assert_eq!(counters.get("b"), Some(&1.5));
        let later = parse("a_total 9\n");
        assert_eq!(grown(&counters, &later, "a_total"), Some(4.0));
        assert_eq!(grown(&counters, &later, "missing"), None);
    }
}
