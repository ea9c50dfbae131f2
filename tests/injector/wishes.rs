//! Annotations: what they do, and that a broken one gives a warning and the default, not a broken pod.

use serde_json::json;
use sidelock::injector::decide::Outcome;

use crate::support::{ask, injected, option, pod, review, settings, sidecar, variable, wishing};

#[test]
fn ttl_and_log_level_and_socket() {
    let pod_with_ttl = injected(&wishing("sidelock.dev/ttl", "30s"));
    assert_eq!(option(&pod_with_ttl, "--session-ttl"), Some("30s"));
    let pod_with_log = injected(&wishing("sidelock.dev/log-level", "debug"));
    assert_eq!(
        variable(sidecar(&pod_with_log), "SIDELOCK_LOG"),
        Some("debug")
    );
    let pod_with_socket = injected(&wishing("sidelock.dev/socket", "/srv/sidelock/api.sock"));
    assert_eq!(
        option(&pod_with_socket, "--socket"),
        Some("/srv/sidelock/api.sock")
    );
    let plain = injected(&pod(Some("true")));
    assert_eq!(option(&plain, "--session-ttl"), None);
    assert_eq!(option(&plain, "--socket"), None);
    assert_eq!(variable(sidecar(&plain), "SIDELOCK_LOG"), None);
    let refused = injected(&wishing("sidelock.dev/socket", "false"));
    assert_eq!(option(&refused, "--socket"), None);
}

#[test]
fn resources() {
    let plain = injected(&pod(Some("true")));
    assert_eq!(
        sidecar(&plain)["resources"],
        json!({"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}})
    );
    let mut given = pod(Some("true"));
    given["metadata"]["annotations"] = json!({
        "sidelock.dev/cpu-request": "50m",
        "sidelock.dev/cpu-limit": "0.5",
        "sidelock.dev/memory-request": "64Mi",
        "sidelock.dev/memory-limit": "1Gi",
    });
    assert_eq!(
        sidecar(&injected(&given))["resources"],
        json!({"requests": {"cpu": "50m", "memory": "64Mi"},
               "limits": {"cpu": "0.5", "memory": "1Gi"}})
    );
}

#[test]
fn a_broken_wish_is_told_and_counts_as_none() {
    for (name, value) in [
        ("ttl", "soon"),
        ("ttl", "10ms"),
        ("ttl", "1h"),
        ("ttl", ""),
        ("socket", "yes"),
        ("socket", "sidelock.sock"),
        ("socket", "/etc/passwd"),
        ("socket", "/run/sidelock/../../etc/x"),
        ("log-level", "loud"),
        ("log-level", "info $(cat /etc/passwd)"),
        ("cpu-request", "-1"),
        ("cpu-limit", "many"),
        ("cpu-limit", "0"),
        ("memory-request", "400m"),
        ("memory-limit", "64"),
        ("memory-limit", "64MB"),
        ("memory-limit", "1000Ti"),
        ("name-prefix", "other/"),
        ("tl", "10s"),
    ] {
        let name = format!("sidelock.dev/{name}");
        let given = wishing(&name, value);
        let reviewed = ask(&review(&given, "shop"), &settings());
        assert_eq!(reviewed.outcome, Outcome::Injected, "{name}: {value}");
        let [warning] = &reviewed.warnings[..] else {
            panic!("{name}: {value}: {:?}", reviewed.warnings);
        };
        assert!(
            warning.contains(&name) && warning.contains("ignored"),
            "{warning}"
        );
        let mut wanted = injected(&pod(Some("true")));
        wanted["metadata"]["annotations"][&name] = json!(value);
        assert_eq!(reviewed.pod, wanted, "{name}: {value}");
    }
}

#[test]
fn several_broken_wishes_are_all_told() {
    let mut given = pod(Some("maybe"));
    given["metadata"]["annotations"] = json!({
        "sidelock.dev/ttl": "x",
        "sidelock.dev/inject": "true",
        "sidelock.dev/memory-request": "1Gi",
        "sidelock.dev/memory-limit": "512Mi",
    });
    let reviewed = ask(&review(&given, "shop"), &settings());
    assert_eq!(reviewed.outcome, Outcome::Injected);
    let told = reviewed.warnings.join("\n");
    for words in [
        "the label sidelock.dev/inject is \"maybe\"",
        "is a label, not an annotation",
        "sidelock.dev/ttl",
        "sidelock.dev/memory-request is above sidelock.dev/memory-limit",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(reviewed.warnings.len(), 4, "{told}");
}

#[test]
fn warnings_stay_short_whatever_was_written() {
    let mut given = pod(Some("true"));
    let mut annotations = serde_json::Map::new();
    for n in 0..200 {
        annotations.insert(format!("sidelock.dev/{n}\n"), json!("\u{7}".repeat(10_000)));
    }
    annotations.insert("sidelock.dev/ttl".to_owned(), json!("ü".repeat(10_000)));
    given["metadata"]["annotations"] = json!(annotations);
    let reviewed = ask(&review(&given, "shop"), &settings());
    assert_eq!(reviewed.outcome, Outcome::Injected);
    let sum: usize = reviewed.warnings.iter().map(String::len).sum();
    assert!(sum <= 4096, "{sum} bytes");
    for warning in &reviewed.warnings {
        assert!(!warning.contains(char::is_control), "{warning:?}");
    }
}
