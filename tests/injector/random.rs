//! Reviews at random: whole pods, odd ones, mangled ones, bytes. Laws that hold for each of them.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use sidelock::injector::decide::Outcome;
use sidelock::injector::review::Request;
use sidelock::injector::settings::{MeshDefaults, Settings, Trust};

use crate::support::{PEM, Reviewed, SAFE_TO_EVICT, ask, review, settings, version};

/// Cases of each property; `PROPTEST_CASES` decides instead.
const CASES: u32 = 2_000;

/// Annotations that hold lists, to which we append.
const LISTS: [&str; 5] = [
    SAFE_TO_EVICT,
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "config.linkerd.io/skip-outbound-ports",
    "config.linkerd.io/skip-inbound-ports",
];

fn config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    // A failure is printed whole; files beside the tests would only be forgotten.
    config.failure_persistence = None;
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn laws_hold_for_pods(pod in pod(), settings in any_settings(), namespace in namespace()) {
        laws(&review(&pod, &namespace), &settings);
    }

    /// What no API server sends, but a caller may.
    #[test]
    fn laws_hold_for_mangled_pods(
        pod in pod(),
        mangled in vec((any::<prop::sample::Index>(), anything()), 1..4),
        settings in any_settings(),
    ) {
        let mut pod = pod;
        for (place, value) in mangled {
            let mut places = Vec::new();
            pointers(&pod, String::new(), &mut places);
            let place = place.get(&places);
            *pod.pointer_mut(place).expect("a place in it") = value;
        }
        laws(&review(&pod, "shop"), &settings);
    }

    #[test]
    fn laws_hold_for_anything_in_the_place_of_a_pod(thing in anything()) {
        laws(&review(&thing, "shop"), &settings());
    }

    #[test]
    fn a_mangled_review_is_an_error_or_answered(
        pod in pod(),
        place in any::<prop::sample::Index>(),
        value in anything(),
    ) {
        let mut review = review(&pod, "shop");
        let mut places = Vec::new();
        pointers(&review, String::new(), &mut places);
        let place = place.get(&places);
        *review.pointer_mut(place).expect("a place in it") = value;
        if Request::read(review.to_string().as_bytes()).is_ok() {
            laws(&review, &settings());
        }
    }

    #[test]
    fn bytes_are_an_error(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(Request::read(&bytes).is_err());
    }
}

/// Whatever is asked: the answer is to this review, it allows, nothing is taken away, and asking again changes
/// nothing. (`ask` holds the first two, and that the patch applies.)
fn laws(review: &Value, settings: &Settings) {
    let given = &review["request"]["object"];
    let once = ask(review, settings);
    assert!(extends(&once.pod, given, ""), "{:#}\n{:#}", given, once.pod);
    for operation in &once.patch {
        assert_ne!(operation["op"], "remove");
    }
    let sum: usize = once.warnings.iter().map(String::len).sum();
    assert!(sum <= 4_096, "{sum} bytes of warnings");
    if once.outcome != Outcome::Injected && once.outcome != Outcome::Mended {
        assert_eq!(once.pod, *given);
        return;
    }
    let mut again = review.clone();
    again["request"]["object"] = once.pod.clone();
    let twice = ask(&again, settings);
    assert_eq!(twice.patch, [Value::Null; 0], "{:#}", once.pod);
    if once.outcome == Outcome::Injected {
        unambiguous(&once);
    }
}

/// What is ours is there once, or the API server would refuse the pod.
fn unambiguous(reviewed: &Reviewed) {
    let spec = &reviewed.pod["spec"];
    let sidecars = |list: &str| {
        let list = spec[list].as_array().into_iter().flatten();
        list.filter(|it| it["name"] == "sidelock").count()
    };
    assert_eq!(sidecars("initContainers") + sidecars("containers"), 1);
    for name in ["sidelock-state", "sidelock-socket", "sidelock-identity"] {
        let volumes = spec["volumes"].as_array().into_iter().flatten();
        assert!(volumes.filter(|it| it["name"] == name).count() <= 1);
    }
}

/// Whether everything of `old` is in `new`, in its place: members of objects, elements of lists in their order, and
/// texts, of which only our lists may be longer.
fn extends(new: &Value, old: &Value, name: &str) -> bool {
    match (new, old) {
        (_, Value::Null) => true,
        (Value::Object(new), Value::Object(old)) => old.iter().all(|(key, old)| {
            let new = new.get(key);
            new.is_some_and(|new| extends(new, old, key))
        }),
        (Value::Array(new), Value::Array(old)) => {
            // Our own container may be moved behind those of a mesh.
            let ours = |it: &&Value| it["name"] == "sidelock";
            let mut others = new.iter().filter(|it| !ours(it));
            let mut old_others = old.iter().filter(|it| !ours(it));
            let in_order = old_others
                .all(|old| others.any(|new| extends(new, old, name) && same_name(new, old)));
            let kept = |old: &Value| new.iter().any(|new| extends(new, old, name));
            in_order && old.iter().filter(ours).all(kept)
        }
        (Value::String(new), Value::String(old)) if LISTS.contains(&name) => {
            new.starts_with(old.trim_end_matches(','))
        }
        // The marks are ours.
        (Value::String(_), Value::String(_))
            if ["sidelock.dev/injected", "sidelock.dev/ca"].contains(&name) =>
        {
            true
        }
        (new, old) => new == old,
    }
}

fn same_name(new: &Value, old: &Value) -> bool {
    new.get("name") == old.get("name")
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let trust = select(vec![
        None,
        Some(Trust::Text(PEM.to_owned())),
        Some(Trust::ConfigMap("trust".to_owned())),
    ]);
    let kubernetes = select(vec![
        None,
        Some("1.28"),
        Some("1.29"),
        Some("1.34"),
        Some("1.34"),
    ]);
    (trust, kubernetes, ports()).prop_map(|(trust, kubernetes, skipped)| Settings {
        trust,
        kubernetes: kubernetes.map(version),
        mesh: MeshDefaults {
            outbound: skipped.clone(),
            inbound: skipped,
        },
        ..settings()
    })
}

fn namespace() -> impl Strategy<Value = String> {
    select(vec!["shop", "shop", "shop", "", "kube-system", "sidelock"]).prop_map(str::to_owned)
}

fn ports() -> impl Strategy<Value = String> {
    let port = select(vec![
        "80",
        "5626",
        " 5628 ",
        "5000-6000",
        "*",
        "",
        "x",
        "70000",
    ]);
    vec(port, 0..4).prop_map(|ports| ports.join(","))
}

/// A pod as somebody may write it.
fn pod() -> impl Strategy<Value = Value> {
    let metadata = (option::of(labels()), option::of(annotations()));
    let lists = (
        option::of(vec(container(), 0..5)),
        vec(container(), 1..4),
        option::of(vec(
            name().prop_map(|name| json!({"name": name, "emptyDir": {}})),
            0..4,
        )),
    );
    let rest = (
        option::of(any::<bool>()),
        option::of(select(vec!["ClusterFirst", "ClusterFirstWithHostNet"])),
        option::of(select(vec!["linux", "windows"])),
        option::of(select(vec![0, 1000])),
        any::<bool>(),
    );
    (metadata, lists, rest).prop_map(|(metadata, lists, rest)| {
        let (labels, annotations) = metadata;
        let (init_containers, containers, volumes) = lists;
        let (host_network, dns_policy, os, user, bounded) = rest;
        let mut pod = json!({"metadata": {"name": "x"}, "spec": {"containers": containers}});
        let mut set = |at: &str, name: &str, value: Option<Value>| {
            if let Some(value) = value {
                pod[at][name] = value;
            }
        };
        set("metadata", "labels", labels);
        set("metadata", "annotations", annotations);
        set("spec", "initContainers", init_containers.map(Value::from));
        set("spec", "volumes", volumes.map(Value::from));
        set("spec", "hostNetwork", host_network.map(Value::from));
        set("spec", "dnsPolicy", dns_policy.map(Value::from));
        set("spec", "os", os.map(|os| json!({"name": os})));
        set(
            "spec",
            "securityContext",
            user.map(|user| json!({"runAsUser": user})),
        );
        let resources = json!({"requests": {"cpu": "1"}});
        set("spec", "resources", bounded.then_some(resources));
        pod
    })
}

fn labels() -> impl Strategy<Value = Value> {
    let value = select(vec!["true", "true", "true", "false", "yes", ""]);
    option::of(value).prop_map(|value| match value {
        Some(value) => json!({"app": "x", "sidelock.dev/inject": value}),
        None => json!({"app": "x"}),
    })
}

fn annotations() -> impl Strategy<Value = Value> {
    let ours = [
        "ttl",
        "socket",
        "log-level",
        "cpu-request",
        "cpu-limit",
        "memory-request",
        "memory-limit",
        "inject",
        "injected",
        "ca",
        "other",
    ];
    let name = select(ours.map(|name| format!("sidelock.dev/{name}")).to_vec());
    let good = select(vec![
        "10s",
        "5m",
        "true",
        "false",
        "/run/sidelock/s.sock",
        "/tmp/s",
        "info",
        "a=debug",
        "10m",
        "2",
        "64Mi",
        "1Gi",
        "400m",
        "-1",
    ]);
    let value = prop_oneof![3 => good.prop_map(str::to_owned), 1 => ".{0,80}"];
    let lists = btree_map(
        select(LISTS.to_vec()).prop_map(str::to_owned),
        ports(),
        0..4,
    );
    let others = btree_map("[a-z./~]{1,20}", ".{0,20}", 0..3);
    (btree_map(name, value, 0..6), lists, others).prop_map(|(ours, lists, others)| {
        let all = others.into_iter().chain(lists).chain(ours);
        Value::Object(all.map(|(name, value)| (name, json!(value))).collect())
    })
}

fn name() -> impl Strategy<Value = String> {
    let known = select(vec![
        "app",
        "migrate",
        "sidelock",
        "istio-init",
        "istio-proxy",
        "istio-validation",
        "linkerd-init",
        "linkerd-proxy",
        "sidelock-state",
        "sidelock-socket",
    ]);
    prop_oneof![4 => "[a-z]{1,8}", 3 => known.prop_map(str::to_owned)]
}

fn container() -> impl Strategy<Value = Value> {
    let variable = select(vec!["A", "SIDELOCK_URL", "SIDELOCK_SOCKET", "PATH"]);
    let variable = variable.prop_map(|name| json!({"name": name, "value": "x"}));
    let mount = select(vec!["/data", "/run/sidelock", "/run/sidelock/", "/run"]);
    let mount = mount.prop_map(|path| json!({"name": "data", "mountPath": path}));
    let port = select(vec![80, 8080, 9090, 9091, 9092, 5625, 5628]);
    let port = port.prop_map(|port| json!({"containerPort": port}));
    let lists = (
        option::of(vec(variable, 0..3)),
        option::of(vec(mount, 0..3)),
        option::weighted(0.2, vec(port, 0..3)),
    );
    (name(), lists).prop_map(|(name, (env, mounts, ports))| {
        let mut container = json!({"name": name, "image": "x"});
        let lists = [("env", env), ("volumeMounts", mounts), ("ports", ports)];
        for (name, list) in lists {
            if let Some(list) = list {
                container[name] = Value::from(list);
            }
        }
        container
    })
}

/// Any JSON.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,10}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        let key = select(vec![
            "metadata",
            "spec",
            "name",
            "containers",
            "env",
            "a/b",
            "~",
        ]);
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(key, inner, 0..4).prop_map(|members| {
                let members = members
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value));
                Value::Object(members.collect::<Map<_, _>>())
            }),
        ]
    })
}

/// Every place in a document.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(value, format!("{at}/{key}"), found);
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                pointers(value, format!("{at}/{index}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found.push(at);
}
