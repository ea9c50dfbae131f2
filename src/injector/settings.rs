//! What the operator has decided for all pods.
//! In: the command line. Out: data. Never: anything of one pod.

use super::version::Version;

/// The same for every pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The sidecar's image; its entry point is `sidelock`.
    pub image: String,
    /// The core's nodes, `HOST:PORT` each.
    pub core: Vec<String>,
    /// The injector's own namespace, whose pods are left alone: the core must start without us.
    pub namespace: String,
    /// How sidecars know the core; without it they speak plaintext, and show no token.
    pub trust: Option<Trust>,
    /// For whom the sidecars' service-account tokens are; without it they show none.
    pub audience: Option<String>,
    /// What the API server runs; none while it is not known.
    pub kubernetes: Option<Version>,
    /// Ports that a mesh skips in pods without an annotation that lists them.
    pub mesh: MeshDefaults,
}

/// Where a pod finds the authorities that vouch for the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// This PEM, which travels in an annotation of the pod.
    Text(String),
    /// The key `ca.crt` of this config map, which must be in the pod's namespace.
    ConfigMap(String),
}

/// Lists of ports, as meshes write them; empty if a mesh skips none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeshDefaults {
    /// Of connections that the pod makes.
    pub outbound: String,
    /// Of connections that it gets.
    pub inbound: String,
}
