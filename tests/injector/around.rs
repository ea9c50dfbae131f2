//! What the webhook changes around the sidecar: variables, mounts, annotations; and what it does when asked again.

use serde_json::{Value, json};
use sidelock::injector::decide::Outcome;

use crate::support::{
    SAFE_TO_EVICT, ask, injected, named, names, option, pod, review, settings, sidecar, variable,
    wishing,
};

#[test]
fn all_containers_are_told_where_it_is() {
    let mut given = pod(Some("true"));
    given["spec"]["initContainers"] = json!([{"name": "migrate"}, {"name": "warm", "env": []}]);
    given["spec"]["containers"] = json!([
        {"name": "app", "env": [{"name": "A", "value": "$(SIDELOCK_URL)/v1"}]},
        {"name": "cron", "env": null},
    ]);
    let pod = injected(&given);
    for (list, name) in [
        ("initContainers", "migrate"),
        ("initContainers", "warm"),
        ("containers", "app"),
        ("containers", "cron"),
    ] {
        let container = named(&pod["spec"][list], name);
        assert_eq!(
            variable(container, "SIDELOCK_URL"),
            Some("http://127.0.0.1:5625")
        );
    }
    // Kubernetes replaces $(SIDELOCK_URL) only in what comes after it.
    assert_eq!(pod["spec"]["containers"][0]["env"][1]["name"], "A");
    assert_eq!(variable(sidecar(&pod), "SIDELOCK_URL"), None);
}

#[test]
fn what_a_container_has_been_told_stays() {
    let mut given = wishing("sidelock.dev/socket", "true");
    let own = json!({"name": "SIDELOCK_URL", "value": "http://elsewhere"});
    let secret = json!({"name": "SIDELOCK_SOCKET", "valueFrom": {"secretKeyRef": {}}});
    given["spec"]["containers"] = json!([{"name": "app", "env": [own, secret]}]);
    let pod = injected(&given);
    assert_eq!(pod["spec"]["containers"][0]["env"], json!([own, secret]));
}

#[test]
fn the_socket_is_mounted_everywhere() {
    let mut given = wishing("sidelock.dev/socket", "true");
    given["spec"]["initContainers"] = json!([{"name": "migrate"}]);
    given["spec"]["containers"] = json!([
        {"name": "app", "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        {"name": "own", "volumeMounts": [{"name": "data", "mountPath": "/run/sidelock/"}]},
    ]);
    given["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    let pod = injected(&given);
    let path = option(&pod, "--socket").expect("an option");
    // Others of the pod run as other users.
    assert_eq!(option(&pod, "--socket-mode"), Some("0666"));
    let containers = &pod["spec"]["containers"];
    for container in [
        named(&pod["spec"]["initContainers"], "migrate"),
        named(containers, "app"),
        sidecar(&pod),
    ] {
        let mount = named(&container["volumeMounts"], "sidelock-socket");
        let folder = mount["mountPath"].as_str().expect("a path");
        assert_eq!(path.rsplit_once('/').expect("a path").0, folder);
    }
    let app = named(containers, "app");
    assert_eq!(
        variable(app, "SIDELOCK_URL"),
        Some(&*format!("unix:{path}"))
    );
    assert_eq!(variable(app, "SIDELOCK_SOCKET"), Some(path));
    // Two mounts at one path are refused by the API server.
    assert_eq!(names(&named(containers, "own")["volumeMounts"]), ["data"]);
    assert_eq!(
        named(&pod["spec"]["volumes"], "sidelock-socket")["emptyDir"],
        json!({"medium": "Memory", "sizeLimit": "1Mi"})
    );
}

#[test]
fn the_autoscaler_may_evict() {
    let listed = |pod: &Value| pod["metadata"]["annotations"][SAFE_TO_EVICT].clone();
    assert_eq!(listed(&injected(&pod(Some("true")))), "sidelock-state");
    let own = injected(&wishing(SAFE_TO_EVICT, "cache, tmp"));
    assert_eq!(listed(&own), "cache, tmp,sidelock-state");
    let mut both = wishing(SAFE_TO_EVICT, "sidelock-state");
    both["metadata"]["annotations"]["sidelock.dev/socket"] = json!("true");
    assert_eq!(listed(&injected(&both)), "sidelock-state,sidelock-socket");
}

#[test]
fn asked_again_it_changes_nothing() {
    for given in [
        pod(Some("true")),
        pod(None),
        wishing("sidelock.dev/socket", "true"),
        wishing("sidelock.dev/ttl", "soon"),
    ] {
        let once = ask(&review(&given, "shop"), &settings());
        assert_eq!(once.outcome, Outcome::Injected);
        let twice = ask(&review(&once.pod, "shop"), &settings());
        assert_eq!(twice.outcome, Outcome::Unchanged);
        assert_eq!(twice.patch, [json!(null); 0]);
        assert_eq!(twice.warnings, [""; 0]);
    }
}

/// An upgrade of the injector between two looks at one pod, or a pod that was copied with its sidecar.
#[test]
fn a_sidecar_that_is_there_stays_as_it_is() {
    let once = injected(&pod(Some("true")));
    let mut newer = settings();
    newer.image = "registry.example/sidelock:9".to_owned();
    newer.trust = None;
    let twice = ask(&review(&once, "shop"), &newer);
    assert_eq!(twice.patch, [json!(null); 0]);
}

#[test]
fn containers_that_came_since_are_told_too() {
    let mut pod = injected(&wishing("sidelock.dev/socket", "true"));
    let containers = pod["spec"]["containers"].as_array_mut().expect("a list");
    containers.push(json!({"name": "late"}));
    let mended = ask(&review(&pod, "shop"), &settings());
    assert_eq!(mended.outcome, Outcome::Mended);
    let late = named(&mended.pod["spec"]["containers"], "late");
    assert_eq!(
        variable(late, "SIDELOCK_URL"),
        Some("unix:/run/sidelock/sidelock.sock")
    );
    named(&late["volumeMounts"], "sidelock-socket");
    let again = ask(&review(&mended.pod, "shop"), &settings());
    assert_eq!(again.outcome, Outcome::Unchanged);
}

/// A volume that is not there must not be mounted.
#[test]
fn a_socket_that_is_wished_for_too_late_is_none() {
    let mut pod = injected(&pod(Some("true")));
    pod["metadata"]["annotations"]["sidelock.dev/socket"] = json!("true");
    let again = ask(&review(&pod, "shop"), &settings());
    assert_eq!(again.outcome, Outcome::Unchanged);
}
