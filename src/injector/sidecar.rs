//! The sidecar's container and its volumes, as Kubernetes wants them.
//! In: settings, a pod, its wishes. Out: JSON. Never: a right that the restricted Pod Security Standard denies.

use serde_json::{Value, json};

use super::annotations::{self, Bounds, Wishes};
use super::settings::{Settings, Trust};

/// The container's name.
pub(super) const NAME: &str = "sidelock";
/// The volume that survives a restart of the container.
pub(super) const STATE: &str = "sidelock-state";
/// The volume of the socket's folder.
pub(super) const SOCKET: &str = "sidelock-socket";
/// The volume of token and authorities.
const IDENTITY: &str = "sidelock-identity";
/// All of them.
pub(super) const VOLUMES: [&str; 3] = [STATE, SOCKET, IDENTITY];

/// Where apps ask.
pub(super) const URL: &str = "http://127.0.0.1:5625";
/// Ports of the sidecar: for apps, and for probes and metrics.
pub(super) const PORTS: [u16; 2] = [5625, ADMIN];
/// For probes and metrics.
pub(super) const ADMIN: u16 = 5628;

/// Where the image has it.
const BINARY: &str = "/sidelock";
const STATE_DIR: &str = "/var/lib/sidelock";
const IDENTITY_DIR: &str = "/var/run/secrets/sidelock";
const TOKEN_FILE: &str = "/var/run/secrets/sidelock/token";
const CA_FILE: &str = "/var/run/secrets/sidelock/ca.pem";
/// Where Kubernetes mounts the pod's token for the API server, in every container that has nothing there.
const API_TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An empty folder in the sidecar's volume.
const NOTHING: &str = "nothing";
/// The key of a config map that holds authorities, as in `kube-root-ca.crt`.
const CONFIG_MAP_KEY: &str = "ca.crt";
/// How long a token is valid; the kubelet renews it at four fifths.
const TOKEN_SECONDS: u32 = 3_600;
/// A user of no rights, where the pod's is root.
const NOBODY: u32 = 65_532;
/// Everything that a sidecar keeps is far below it, and memory is not given away.
const VOLUME_SIZE: &str = "1Mi";

/// What its container and volumes depend on.
pub(super) struct Sidecar<'a> {
    pub(super) settings: &'a Settings,
    pub(super) namespace: &'a str,
    pub(super) wishes: &'a Wishes,
    /// The pod shares the network of its machine: no port is ours alone there.
    pub(super) host_network: bool,
    /// The pod's user is root.
    pub(super) root: bool,
}

impl Sidecar<'_> {
    pub(super) fn container(&self) -> Value {
        let mut container = json!({
            "name": NAME,
            "image": self.settings.image,
            "restartPolicy": "Always",
            "args": self.args(),
            "env": self.env(),
            "volumeMounts": self.mounts(),
            "securityContext": self.security(),
            "terminationMessagePolicy": "FallbackToLogsOnError",
        });
        let resources = self.resources();
        if resources != json!({}) {
            container["resources"] = resources;
        }
        if !self.host_network {
            container["ports"] =
                json!([{"name": "sidelock-admin", "containerPort": ADMIN, "protocol": "TCP"}]);
        }
        for (name, probe) in self.probes() {
            container[name] = probe;
        }
        container
    }

    /// All volumes that the container mounts.
    pub(super) fn volumes(&self) -> Vec<Value> {
        let memory = json!({"medium": "Memory", "sizeLimit": VOLUME_SIZE});
        let mut volumes = vec![json!({"name": STATE, "emptyDir": memory})];
        if self.wishes.socket.is_some() {
            volumes.push(json!({"name": SOCKET, "emptyDir": memory}));
        }
        if let Some(trust) = &self.settings.trust {
            let token = self.settings.audience.as_ref().map(|audience| {
                json!({"serviceAccountToken": {
                    "path": "token",
                    "audience": audience,
                    "expirationSeconds": TOKEN_SECONDS,
                }})
            });
            let authorities = match trust {
                Trust::ConfigMap(name) => json!({"configMap": {
                    "name": name,
                    "items": [{"key": CONFIG_MAP_KEY, "path": "ca.pem"}],
                }}),
                Trust::Text(_) => json!({"downwardAPI": {"items": [{
                    "path": "ca.pem",
                    "fieldRef": {
                        "apiVersion": "v1",
                        "fieldPath": format!("metadata.annotations['{}']", annotations::CA),
                    },
                }]}}),
            };
            let sources: Vec<Value> = token.into_iter().chain([authorities]).collect();
            volumes.push(json!({"name": IDENTITY, "projected": {"sources": sources}}));
        }
        volumes
    }

    fn args(&self) -> Vec<String> {
        let mut args = vec!["sidecar".to_owned()];
        let mut option = |name: &str, value: &str| {
            args.extend([name.to_owned(), value.to_owned()]);
        };
        option("--core", &self.settings.core.join(","));
        option("--name-prefix", &format!("{}/", self.namespace));
        option("--state-dir", STATE_DIR);
        if let Some(socket) = &self.wishes.socket {
            option("--socket", &socket.path);
            // The pod's containers may run as other users; nobody outside of the pod sees the folder.
            option("--socket-mode", "0666");
        }
        if self.host_network {
            // The machine's loopback is everybody's who is on it: only the socket is this pod's own.
            option("--http", "none");
        } else {
            option("--admin", &format!("[::]:{ADMIN}"));
        }
        if let Some(ttl) = &self.wishes.ttl {
            option("--session-ttl", ttl);
        }
        if self.settings.trust.is_some() {
            option("--tls-ca", CA_FILE);
            if self.settings.audience.is_some() {
                option("--token-file", TOKEN_FILE);
            }
        }
        args
    }

    fn env(&self) -> Vec<Value> {
        let namespace = self.namespace;
        let mut env = vec![
            json!({"name": "POD_NAME", "valueFrom": {
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"},
            }}),
            json!({"name": "SIDELOCK_IDENTITY", "value": format!("{namespace}/$(POD_NAME)")}),
        ];
        if let Some(filter) = &self.wishes.log {
            env.push(json!({"name": "SIDELOCK_LOG", "value": filter}));
        }
        env
    }

    fn mounts(&self) -> Vec<Value> {
        let mut mounts = vec![
            json!({"name": STATE, "mountPath": STATE_DIR}),
            // The sidecar asks nothing of the API server, so it gets no token for it.
            json!({"name": STATE, "mountPath": API_TOKEN_DIR, "subPath": NOTHING, "readOnly": true}),
        ];
        if let Some(socket) = &self.wishes.socket {
            mounts.push(json!({"name": SOCKET, "mountPath": socket.folder}));
        }
        if self.settings.trust.is_some() {
            mounts.push(json!({"name": IDENTITY, "mountPath": IDENTITY_DIR, "readOnly": true}));
        }
        mounts
    }

    /// What the restricted Pod Security Standard wants. The user is the pod's, or the image's, or one that the
    /// cluster gives (as OpenShift does), but not root.
    fn security(&self) -> Value {
        let mut security = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        if self.root {
            security["runAsUser"] = json!(NOBODY);
        }
        security
    }

    fn resources(&self) -> Value {
        let mut resources = json!({});
        for (name, Bounds { request, limit }) in
            [("cpu", &self.wishes.cpu), ("memory", &self.wishes.memory)]
        {
            if let Some(request) = request {
                resources["requests"][name] = json!(request);
            }
            if let Some(limit) = limit {
                resources["limits"][name] = json!(limit);
            }
        }
        resources
    }

    /// The next container starts when the sidecar has: a second after it at most.
    fn probes(&self) -> Vec<(&'static str, Value)> {
        let every = |seconds: u32, failures: u32, mut probe: Value| {
            probe["periodSeconds"] = json!(seconds);
            probe["failureThreshold"] = json!(failures);
            probe["timeoutSeconds"] = json!(3);
            probe
        };
        if self.host_network {
            let Some(socket) = &self.wishes.socket else {
                return Vec::new();
            };
            let url = format!("unix:{}", socket.path);
            let ask = json!({"exec": {"command": [BINARY, "healthcheck", url]}});
            return vec![
                ("startupProbe", every(1, 120, ask.clone())),
                ("livenessProbe", every(30, 3, ask)),
            ];
        }
        // Numbers, not names: Istio leaves probes of a port that it skips alone, if it is a number.
        let get = |path: &str| json!({"httpGet": {"path": path, "port": ADMIN, "scheme": "HTTP"}});
        vec![
            ("startupProbe", every(1, 120, get("/readyz"))),
            ("readinessProbe", every(5, 3, get("/readyz"))),
            ("livenessProbe", every(10, 3, get("/livez"))),
        ]
    }
}
