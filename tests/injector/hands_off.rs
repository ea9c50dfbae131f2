//! Pods that get no sidecar: nobody asked, or it would not work there. They start as they are.

use serde_json::{Value, json};
use sidelock::injector::decide::Outcome;

use crate::support::{
    ask, injected_by, left_out, named, option, pod, review, settings, sidecar, version, wishing,
};

fn outcome(pod: &Value, namespace: &str) -> Outcome {
    let reviewed = ask(&review(pod, namespace), &settings());
    if reviewed.outcome != Outcome::Injected {
        assert_eq!(reviewed.patch, [json!(null); 0]);
        assert_eq!(reviewed.pod, *pod);
    }
    reviewed.outcome
}

#[test]
fn the_label_decides_and_that_of_the_pod_wins() {
    assert_eq!(outcome(&pod(Some("true")), "shop"), Outcome::Injected);
    assert_eq!(outcome(&pod(Some("false")), "shop"), Outcome::NotAsked);
    // Its namespace has the label, or the API server would not ask.
    assert_eq!(outcome(&pod(None), "shop"), Outcome::Injected);
    // An annotation is no label.
    let annotated = wishing("sidelock.dev/inject", "false");
    assert_eq!(outcome(&annotated, "shop"), Outcome::Injected);
}

#[test]
fn own_namespace_and_kube_system_are_left_alone() {
    for namespace in ["sidelock", "kube-system"] {
        assert_eq!(outcome(&pod(None), namespace), Outcome::NotAsked);
        let reviewed = ask(&review(&pod(None), namespace), &settings());
        assert_eq!(reviewed.warnings, [""; 0]);
        // Who asks for it by name is told.
        let reviewed = ask(&review(&pod(Some("true")), namespace), &settings());
        assert_eq!(reviewed.outcome, Outcome::NotAsked);
        assert!(reviewed.warnings[0].contains(namespace));
    }
    assert_eq!(outcome(&pod(None), "sidelock-apps"), Outcome::Injected);
}

#[test]
fn a_namespace_may_be_told_by_the_pod_alone() {
    let mut given = pod(Some("true"));
    given["metadata"]["namespace"] = json!("kube-system");
    let mut review = review(&given, "");
    assert_eq!(ask(&review, &settings()).outcome, Outcome::NotAsked);
    review["request"]["object"]["metadata"]["namespace"] = json!("shop");
    let reviewed = ask(&review, &settings());
    assert_eq!(option(&reviewed.pod, "--name-prefix"), Some("shop/"));
}

#[test]
fn only_new_pods_are_looked_at() {
    for (key, value) in [
        ("operation", json!("UPDATE")),
        ("operation", json!("DELETE")),
        ("subResource", json!("ephemeralcontainers")),
        (
            "kind",
            json!({"group": "apps", "version": "v1", "kind": "Deployment"}),
        ),
    ] {
        let mut review = review(&pod(Some("true")), "shop");
        review["request"][key] = value;
        let reviewed = ask(&review, &settings());
        assert_eq!(reviewed.outcome, Outcome::NotAsked);
        assert_eq!(reviewed.patch, [json!(null); 0]);
        assert_eq!(reviewed.warnings, [""; 0]);
    }
}

#[test]
fn kubernetes_must_have_native_sidecars() {
    let mut settings = settings();
    for old in ["1.28", "1.27", "1.9"] {
        settings.kubernetes = Some(version(old));
        left_out(
            &pod(Some("true")),
            &settings,
            &format!("Kubernetes is {old}"),
        );
    }
    settings.kubernetes = None;
    left_out(&pod(Some("true")), &settings, "not known yet");
    for new in ["1.29", "1.30", "1.36"] {
        settings.kubernetes = Some(version(new));
        injected_by(&pod(Some("true")), &settings);
    }
}

#[test]
fn a_pod_in_the_hosts_network_gets_one_only_with_a_socket() {
    let mut given = pod(Some("true"));
    given["spec"]["hostNetwork"] = json!(true);
    given["spec"]["dnsPolicy"] = json!("ClusterFirstWithHostNet");
    left_out(&given, &settings(), "sidelock.dev/socket");

    given["metadata"]["annotations"] = json!({"sidelock.dev/socket": "true"});
    let pod = injected_by(&given, &settings());
    let sidecar = sidecar(&pod);
    // No port that a second such pod on the machine would want too.
    assert_eq!(option(&pod, "--admin"), None);
    assert_eq!(option(&pod, "--http"), Some("none"));
    assert!(sidecar.get("ports").is_none());
    let socket = option(&pod, "--socket").expect("an option");
    let command = sidecar["startupProbe"]["exec"]["command"]
        .as_array()
        .expect("a list");
    assert!(
        command.contains(&json!(format!("unix:{socket}"))),
        "{command:?}"
    );
    assert!(sidecar["livenessProbe"]["exec"].is_object());
    named(&pod["spec"]["volumes"], "sidelock-socket");

    given["spec"]["dnsPolicy"] = json!("ClusterFirst");
    let reviewed = ask(&review(&given, "shop"), &settings());
    assert_eq!(reviewed.outcome, Outcome::Injected);
    assert!(reviewed.warnings[0].contains("ClusterFirstWithHostNet"));
}

/// Words of the warning, and what is done to the specification of a pod.
type Case<'a> = (&'a str, &'a dyn Fn(&mut Value));

#[test]
fn what_would_break_is_left_out() {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut pod = pod(Some("true"));
        change(&mut pod["spec"]);
        pod
    };
    let cases: [Case<'_>; 8] = [
        ("container named sidelock", &|spec| {
            spec["containers"][0]["name"] = json!("sidelock")
        }),
        ("container named sidelock", &|spec| {
            spec["initContainers"] = json!([{"name": "sidelock"}]);
        }),
        ("volume named sidelock-state", &|spec| {
            spec["volumes"] = json!([{"name": "sidelock-state"}]);
        }),
        ("port 5625", &|spec| {
            spec["containers"][0]["ports"] = json!([{"containerPort": 5625}])
        }),
        ("port 5628", &|spec| {
            spec["initContainers"] = json!([{"name": "a", "ports": [{"containerPort": 5628}]}]);
        }),
        ("Windows", &|spec| spec["os"] = json!({"name": "windows"})),
        ("Windows", &|spec| {
            spec["nodeSelector"] = json!({"kubernetes.io/os": "windows"})
        }),
        (
            "not understood: spec.containers[0].env is not a list",
            &|spec| {
                spec["containers"][0]["env"] = json!("A=1");
            },
        ),
    ];
    for (words, change) in cases {
        left_out(&changed(change), &settings(), words);
    }
}

/// The kubelet runs them from files; the API server only shows them.
#[test]
fn mirrors_of_static_pods_are_left_alone() {
    let mirror = wishing("kubernetes.io/config.mirror", "abc");
    assert_eq!(outcome(&mirror, "shop"), Outcome::NotAsked);
}
