//! Pods that are in a service mesh too, whichever webhook came first.

use serde_json::{Value, json};
use sidelock::injector::decide::Outcome;
use sidelock::injector::settings::MeshDefaults;

use crate::support::{ask, injected, injected_by, names, pod, review, settings, variable, wishing};

const ISTIO_OUT: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
const ISTIO_IN: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
const LINKERD_OUT: &str = "config.linkerd.io/skip-outbound-ports";
const LINKERD_IN: &str = "config.linkerd.io/skip-inbound-ports";

fn starting_with(names: &[&str]) -> Value {
    let mut pod = pod(Some("true"));
    pod["spec"]["initContainers"] = names.iter().map(|name| json!({"name": name})).collect();
    pod
}

#[test]
fn it_starts_after_a_mesh_and_before_all_who_may_lock() {
    for (given, wanted) in [
        (vec![], vec!["sidelock"]),
        (
            vec!["istio-init", "istio-proxy", "migrate"],
            vec!["istio-init", "istio-proxy", "sidelock", "migrate"],
        ),
        (
            vec!["istio-validation", "istio-proxy", "migrate"],
            vec!["istio-validation", "istio-proxy", "sidelock", "migrate"],
        ),
        (
            vec!["linkerd-init", "linkerd-proxy", "migrate"],
            vec!["linkerd-init", "linkerd-proxy", "sidelock", "migrate"],
        ),
        (
            vec!["linkerd-network-validator", "linkerd-proxy"],
            vec!["linkerd-network-validator", "linkerd-proxy", "sidelock"],
        ),
        // Istio and Linkerd without native sidecars redirect last, after the pod's own.
        (
            vec!["migrate", "istio-init"],
            vec!["sidelock", "migrate", "istio-init"],
        ),
        (
            vec!["istio-validation", "migrate", "linkerd-init"],
            vec!["istio-validation", "sidelock", "migrate", "linkerd-init"],
        ),
    ] {
        let pod = injected(&starting_with(&given));
        assert_eq!(names(&pod["spec"]["initContainers"]), wanted);
    }
}

#[test]
fn who_starts_before_it_is_not_told_of_it() {
    let pod = injected(&starting_with(&["istio-init", "istio-proxy", "migrate"]));
    let first = &pod["spec"]["initContainers"];
    assert!(first[0].get("env").is_none());
    assert!(first[1].get("env").is_none());
    assert!(variable(&first[3], "SIDELOCK_URL").is_some());
}

#[test]
fn its_ports_are_skipped_both_ways_by_both() {
    let pod = injected(&pod(Some("true")));
    let annotations = &pod["metadata"]["annotations"];
    assert_eq!(annotations[ISTIO_OUT], "5626");
    assert_eq!(annotations[ISTIO_IN], "5628");
    assert_eq!(annotations[LINKERD_OUT], "5626");
    assert_eq!(annotations[LINKERD_IN], "5628");
}

#[test]
fn lists_of_ports_are_appended_to_and_never_overwritten() {
    for (name, own, longer) in [
        (ISTIO_OUT, "3306", "3306,5626"),
        (ISTIO_OUT, "3306, 6379", "3306, 6379,5626"),
        (ISTIO_OUT, "5626,3306", "5626,3306"),
        (ISTIO_OUT, "", "5626"),
        (ISTIO_IN, "15020,", "15020,5628"),
        (LINKERD_OUT, "4567,5600-5700", "4567,5600-5700"),
        (LINKERD_IN, "1-5627", "1-5627,5628"),
    ] {
        let pod = injected(&wishing(name, own));
        assert_eq!(pod["metadata"]["annotations"][name], longer, "{own}");
    }
}

/// An annotation takes the place of what the mesh skips by default, so the default has to go into it.
#[test]
fn the_defaults_of_a_mesh_are_kept() {
    let mut settings = settings();
    settings.mesh = MeshDefaults {
        outbound: "4567,4568".to_owned(),
        inbound: "4567".to_owned(),
    };
    let silent = injected_by(&pod(Some("true")), &settings);
    let annotations = &silent["metadata"]["annotations"];
    assert_eq!(annotations[LINKERD_OUT], "4567,4568,5626");
    assert_eq!(annotations[ISTIO_IN], "4567,5628");
    let listed = injected_by(&wishing(LINKERD_OUT, "25"), &settings);
    assert_eq!(listed["metadata"]["annotations"][LINKERD_OUT], "25,5626");
}

#[test]
fn every_port_of_the_core_is_skipped() {
    let mut settings = settings();
    settings.core = vec![
        "a:5626".to_owned(),
        "b:7000".to_owned(),
        "[::1]:5626".to_owned(),
    ];
    let pod = injected_by(&pod(Some("true")), &settings);
    assert_eq!(pod["metadata"]["annotations"][ISTIO_OUT], "5626,7000");
}

/// The mesh's webhook was called after ours, and we are asked once more.
#[test]
fn a_mesh_that_came_later_is_let_before_it() {
    for (later, wanted) in [
        (
            vec!["sidelock", "linkerd-init", "linkerd-proxy", "migrate"],
            vec!["linkerd-init", "linkerd-proxy", "sidelock", "migrate"],
        ),
        (
            vec!["istio-init", "sidelock", "istio-proxy"],
            vec!["istio-init", "istio-proxy", "sidelock"],
        ),
        (
            vec!["istio-init", "istio-proxy", "sidelock", "migrate"],
            vec!["istio-init", "istio-proxy", "sidelock", "migrate"],
        ),
        (
            vec!["sidelock", "migrate", "istio-init"],
            vec!["sidelock", "migrate", "istio-init"],
        ),
        (
            vec!["migrate", "sidelock", "warm"],
            vec!["sidelock", "migrate", "warm"],
        ),
    ] {
        let mut pod = injected(&pod(Some("true")));
        let ours = pod["spec"]["initContainers"][0].clone();
        let whole = |name: &&str| match *name {
            "sidelock" => ours.clone(),
            name => json!({"name": name}),
        };
        pod["spec"]["initContainers"] = later.iter().map(whole).collect();
        let mended = ask(&review(&pod, "shop"), &settings());
        let first = &mended.pod["spec"]["initContainers"];
        assert_eq!(names(first), wanted);
        for (container, name) in first.as_array().expect("a list").iter().zip(&wanted) {
            let told = ["migrate", "warm"].contains(name)
                || (*name == "istio-init" && wanted[0] == "sidelock");
            assert_eq!(
                variable(container, "SIDELOCK_URL").is_some(),
                told,
                "{name}"
            );
        }
        let again = ask(&review(&mended.pod, "shop"), &settings());
        assert_eq!(again.outcome, Outcome::Unchanged, "{:?}", again.patch);
    }
}
