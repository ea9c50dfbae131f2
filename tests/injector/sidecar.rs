//! The sidecar itself: its container, its volumes, its rights.

use serde_json::{Value, json};
use sidelock::injector::settings::Trust;

use crate::support::{PEM, injected, injected_by, named, names, option, pod, settings, sidecar};

#[test]
fn it_is_a_native_sidecar_before_all_others() {
    let mut given = pod(Some("true"));
    given["spec"]["initContainers"] = json!([{"name": "migrate", "image": "m"}]);
    let pod = injected(&given);
    assert_eq!(
        names(&pod["spec"]["initContainers"]),
        ["sidelock", "migrate"]
    );
    assert_eq!(sidecar(&pod)["restartPolicy"], "Always");
    assert_eq!(sidecar(&pod)["image"], "registry.example/sidelock:0.1.0");
    assert_eq!(sidecar(&pod)["args"][0], "sidecar");
    assert_eq!(names(&pod["spec"]["containers"]), ["app"]);
}

#[test]
fn it_knows_the_core_and_its_tenant() {
    let pod = injected(&pod(Some("true")));
    let core = option(&pod, "--core").expect("an option");
    assert_eq!(core.split(',').count(), 3);
    assert!(core.starts_with("core-0.cores.sidelock.svc.cluster.local:5626,"));
    assert_eq!(option(&pod, "--name-prefix"), Some("shop/"));
    let identity = named(&sidecar(&pod)["env"], "SIDELOCK_IDENTITY");
    assert_eq!(identity["value"], "shop/$(POD_NAME)");
    // Kubernetes replaces only what was defined before.
    assert_eq!(sidecar(&pod)["env"][0]["name"], "POD_NAME");
}

#[test]
fn its_state_is_in_memory_and_small() {
    let pod = injected(&pod(Some("true")));
    let state = named(&pod["spec"]["volumes"], "sidelock-state");
    assert_eq!(
        state["emptyDir"],
        json!({"medium": "Memory", "sizeLimit": "1Mi"})
    );
    let mount = named(&sidecar(&pod)["volumeMounts"], "sidelock-state");
    assert_eq!(option(&pod, "--state-dir"), mount["mountPath"].as_str());
}

#[test]
fn it_is_probed_on_its_admin_port() {
    let pod = injected(&pod(Some("true")));
    let sidecar = sidecar(&pod);
    assert_eq!(option(&pod, "--admin"), Some("[::]:5628"));
    for (probe, path) in [
        ("startupProbe", "/readyz"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/livez"),
    ] {
        let get = &sidecar[probe]["httpGet"];
        assert_eq!(*get, json!({"path": path, "port": 5628, "scheme": "HTTP"}));
    }
    // What waits for the sidecar waits a second more at most.
    assert_eq!(sidecar["startupProbe"]["periodSeconds"], 1);
    assert_eq!(sidecar["ports"][0]["containerPort"], 5628);
}

#[test]
fn it_shows_a_projected_token_to_a_core_that_it_knows() {
    let pod = injected(&pod(Some("true")));
    let identity = named(&pod["spec"]["volumes"], "sidelock-identity");
    let sources = &identity["projected"]["sources"];
    let token = &sources[0]["serviceAccountToken"];
    assert_eq!(token["audience"], "sidelock");
    // The API server takes nothing shorter than ten minutes.
    assert!(token["expirationSeconds"].as_u64() >= Some(600));
    let mount = named(&sidecar(&pod)["volumeMounts"], "sidelock-identity");
    assert_eq!(mount["readOnly"], true);
    let folder = mount["mountPath"].as_str().expect("a path");
    let path = |name: &Value| format!("{folder}/{}", name.as_str().expect("a name"));
    assert_eq!(option(&pod, "--token-file"), Some(&*path(&token["path"])));
    let item = &sources[1]["downwardAPI"]["items"][0];
    assert_eq!(option(&pod, "--tls-ca"), Some(&*path(&item["path"])));
    assert_eq!(
        item["fieldRef"]["fieldPath"],
        "metadata.annotations['sidelock.dev/ca']"
    );
    assert_eq!(pod["metadata"]["annotations"]["sidelock.dev/ca"], PEM);
}

#[test]
fn the_authorities_may_be_in_a_config_map() {
    let mut settings = settings();
    settings.trust = Some(Trust::ConfigMap("trust".to_owned()));
    settings.audience = Some("locks".to_owned());
    let pod = injected_by(&pod(Some("true")), &settings);
    let identity = named(&pod["spec"]["volumes"], "sidelock-identity");
    let sources = &identity["projected"]["sources"];
    assert_eq!(sources[0]["serviceAccountToken"]["audience"], "locks");
    assert_eq!(
        sources[1]["configMap"],
        json!({"name": "trust", "items": [{"key": "ca.crt", "path": "ca.pem"}]})
    );
    assert!(
        pod["metadata"]["annotations"]
            .get("sidelock.dev/ca")
            .is_none()
    );
}

#[test]
fn tokens_may_be_switched_off() {
    let mut settings = settings();
    settings.audience = None;
    let pod = injected_by(&pod(Some("true")), &settings);
    assert_eq!(option(&pod, "--token-file"), None);
    assert!(option(&pod, "--tls-ca").is_some());
    let identity = named(&pod["spec"]["volumes"], "sidelock-identity");
    let sources = identity["projected"]["sources"].as_array().expect("a list");
    assert!(
        sources
            .iter()
            .all(|source| source.get("serviceAccountToken").is_none())
    );
}

#[test]
fn no_token_goes_over_plaintext() {
    let mut settings = settings();
    settings.trust = None;
    let pod = injected_by(&pod(Some("true")), &settings);
    assert_eq!(option(&pod, "--token-file"), None);
    assert_eq!(option(&pod, "--tls-ca"), None);
    assert_eq!(names(&pod["spec"]["volumes"]), ["sidelock-state"]);
}

/// Each demand of the restricted Pod Security Standard on a container and its volumes.
#[test]
fn it_passes_the_restricted_pod_security_standard() {
    for given in [
        pod(Some("true")),
        crate::support::wishing("sidelock.dev/socket", "true"),
    ] {
        let pod = injected(&given);
        let security = &sidecar(&pod)["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(
            security["seccompProfile"],
            json!({"type": "RuntimeDefault"})
        );
        assert!(security.get("privileged").is_none());
        assert_eq!(security["readOnlyRootFilesystem"], true);
        for port in sidecar(&pod)["ports"].as_array().expect("a list") {
            assert!(port.get("hostPort").is_none());
        }
        for volume in pod["spec"]["volumes"].as_array().expect("a list") {
            let volume = volume.as_object().expect("an object");
            let allowed = ["name", "emptyDir", "projected"];
            assert!(volume.keys().all(|key| allowed.contains(&key.as_str())));
        }
        // Nothing that concerns the pod's own containers.
        assert!(pod["spec"].get("securityContext").is_none());
    }
}

#[test]
fn it_is_not_root_in_a_pod_that_is() {
    let mut given = pod(Some("true"));
    // A cluster may give users to pods (OpenShift does), and a shared user may open the socket.
    assert!(
        sidecar(&injected(&given))["securityContext"]
            .get("runAsUser")
            .is_none()
    );
    given["spec"]["securityContext"] = json!({"runAsUser": 1000});
    assert!(
        sidecar(&injected(&given))["securityContext"]
            .get("runAsUser")
            .is_none()
    );
    given["spec"]["securityContext"] = json!({"runAsUser": 0});
    assert_eq!(
        sidecar(&injected(&given))["securityContext"]["runAsUser"],
        65_532
    );
}

/// The API server refuses a pod whose containers request more than the pod.
#[test]
fn it_fits_into_a_pod_with_resources_of_its_own() {
    let mut given = pod(Some("true"));
    given["spec"]["resources"] = json!({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}});
    assert!(sidecar(&injected(&given)).get("resources").is_none());
    given["metadata"]["annotations"] = json!({"sidelock.dev/cpu-request": "20m"});
    assert_eq!(
        sidecar(&injected(&given))["resources"],
        json!({"requests": {"cpu": "20m"}})
    );
}

/// The sidecar's command line and that of its probe are read by the same program; whichever wishes a pod has.
#[test]
fn its_command_line_is_one_that_it_takes() {
    let mut all = pod(Some("true"));
    all["spec"]["hostNetwork"] = json!(true);
    all["spec"]["dnsPolicy"] = json!("ClusterFirstWithHostNet");
    all["metadata"]["annotations"] = json!({
        "sidelock.dev/socket": "true",
        "sidelock.dev/ttl": "1.5m",
        "sidelock.dev/log-level": "debug",
    });
    let mut plaintext = settings();
    plaintext.trust = None;
    for (given, settings) in [
        (pod(Some("true")), settings()),
        (
            crate::support::wishing("sidelock.dev/socket", "true"),
            settings(),
        ),
        (all, settings()),
        (pod(Some("true")), plaintext),
    ] {
        let pod = injected_by(&given, &settings);
        takes(&sidecar(&pod)["args"]);
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let command = sidecar(&pod)[probe]["exec"]["command"].as_array();
            if let Some([program, args @ ..]) = command.map(Vec::as_slice) {
                assert_eq!(*program, "/sidelock");
                takes(&json!(args));
            }
        }
    }
}

fn takes(args: &Value) {
    let args = args.as_array().expect("a list").iter();
    let args = args.map(|arg| arg.as_str().expect("text"));
    let command = sidelock::cli::command();
    if let Err(error) = command.try_get_matches_from(["sidelock"].into_iter().chain(args)) {
        panic!("{error}");
    }
}
