//! The webhook as the API server sees it: a review in, a changed pod and warnings out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sidelock::injector::decide::{Outcome, decide};
use sidelock::injector::review::{self, Request};
use sidelock::injector::settings::{MeshDefaults, Settings, Trust};
use sidelock::injector::version::Version;

pub const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
pub const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";

pub fn settings() -> Settings {
    Settings {
        image: "registry.example/sidelock:0.1.0".to_owned(),
        core: (0..3)
            .map(|n| format!("core-{n}.cores.sidelock.svc.cluster.local:5626"))
            .collect(),
        namespace: "sidelock".to_owned(),
        trust: Some(Trust::Text(PEM.to_owned())),
        audience: Some("sidelock".to_owned()),
        kubernetes: Some(version("1.31")),
        mesh: MeshDefaults::default(),
    }
}

pub fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

/// A pod of the namespace `shop` with one container and this label.
pub fn pod(label: Option<&str>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "web-", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": "registry.example/app:1"}]},
    });
    if let Some(label) = label {
        pod["metadata"]["labels"]["sidelock.dev/inject"] = json!(label);
    }
    pod
}

/// A pod that asks for a sidecar, with this annotation.
pub fn wishing(name: &str, value: &str) -> Value {
    let mut pod = pod(Some("true"));
    pod["metadata"]["annotations"] = json!({ name: value });
    pod
}

/// A review of this pod, to be made in this namespace.
pub fn review(pod: &Value, namespace: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    })
}

/// What becomes of a pod.
#[derive(Debug)]
pub struct Reviewed {
    pub pod: Value,
    pub warnings: Vec<String>,
    pub outcome: Outcome,
    /// The operations of the patch.
    pub patch: Vec<Value>,
}

/// Asks the webhook, and does to the pod what it says, as the API server does.
pub fn ask(review: &Value, settings: &Settings) -> Reviewed {
    let request = Request::read(review.to_string().as_bytes()).expect("a review");
    let decision = decide(&request, settings);
    let bytes = review::answer(&request.uid, &decision.patch, &decision.warnings);
    let answer: Value = serde_json::from_slice(&bytes).expect("the answer is JSON");
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    let response = &answer["response"];
    assert_eq!(response["uid"], review["request"]["uid"]);
    assert_eq!(response["allowed"], true);
    let mut pod = review["request"]["object"].clone();
    let mut operations = Vec::new();
    if let Some(patch) = response.get("patch") {
        assert_eq!(response["patchType"], "JSONPatch");
        let patch = patch.as_str().expect("the patch is text");
        let patch = STANDARD.decode(patch).expect("the patch is base64");
        operations = serde_json::from_slice(&patch).expect("the patch is a list");
        let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a patch");
        json_patch::patch(&mut pod, &patch).expect("the patch applies");
    }
    Reviewed {
        pod,
        warnings: decision.warnings,
        outcome: decision.outcome,
        patch: operations,
    }
}

/// The pod with its sidecar; there is nothing to warn of.
pub fn injected(pod: &Value) -> Value {
    injected_by(pod, &settings())
}

/// The same with other settings.
pub fn injected_by(pod: &Value, settings: &Settings) -> Value {
    let reviewed = ask(&review(pod, "shop"), settings);
    assert_eq!(
        reviewed.outcome,
        Outcome::Injected,
        "{:?}",
        reviewed.warnings
    );
    assert_eq!(reviewed.warnings, [""; 0]);
    reviewed.pod
}

/// The pod does not change, and the only warning has these words.
pub fn left_out(pod: &Value, settings: &Settings, words: &str) {
    let reviewed = ask(&review(pod, "shop"), settings);
    assert_eq!(reviewed.outcome, Outcome::LeftOut);
    assert_eq!(reviewed.pod, *pod);
    let [warning] = &reviewed.warnings[..] else {
        panic!("{:?}", reviewed.warnings);
    };
    assert!(warning.starts_with("sidelock: no sidecar"), "{warning}");
    assert!(warning.contains(words), "{warning}");
}

/// Names of the containers in a list.
pub fn names(list: &Value) -> Vec<&str> {
    let names = list.as_array().expect("a list").iter();
    names
        .map(|it| it["name"].as_str().expect("a name"))
        .collect()
}

/// The element with a name.
pub fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut elements = list.as_array().expect("a list").iter();
    let found = elements.find(|it| it["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list:#}"))
}

/// The sidecar of a pod.
pub fn sidecar(pod: &Value) -> &Value {
    named(&pod["spec"]["initContainers"], "sidelock")
}

/// The value of an option of the sidecar, if it is given.
pub fn option<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    let args = sidecar(pod)["args"].as_array().expect("a list");
    let at = args.iter().position(|arg| arg == name)?;
    args[at + 1].as_str()
}

/// The value of a variable of a container, if it is given.
pub fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    let mut variables = container["env"].as_array()?.iter();
    variables.find(|it| it["name"] == name)?["value"].as_str()
}
