//! What changes in a pod around its sidecar: variables, mounts and annotations.
//! In: a pod. Out: changes for a patch. Never: a value that the pod's author has set.

use serde_json::{Value, json};

use super::annotations::{self, Wishes};
use super::mesh;
use super::patch::{At, Patch};
use super::pod::{Container, Pod};
use super::settings::{Settings, Trust};
use super::sidecar;

/// By it the autoscaler knows volumes that may go with their pod.
const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";

/// Tells a container where the sidecar is, unless its author has told it something else.
pub(super) fn tell(patch: &mut Patch, at: &At, container: &Container<'_>, wishes: &Wishes) {
    let mut news = match &wishes.socket {
        Some(socket) => vec![
            ("SIDELOCK_URL", format!("unix:{}", socket.path)),
            ("SIDELOCK_SOCKET", socket.path.clone()),
        ],
        None => vec![("SIDELOCK_URL", sidecar::URL.to_owned())],
    };
    let env = container.env.as_deref();
    news.retain(|(name, _)| !env.is_some_and(|known| known.contains(name)));
    if !news.is_empty() {
        // Before the author's own, which may refer to them as $(SIDELOCK_URL).
        let variable = |(name, value)| json!({"name": name, "value": value});
        let news = news.into_iter().map(variable).collect();
        patch.prepend(&at.member("env"), env.is_some(), news);
    }
    if let Some(socket) = &wishes.socket
        && !socket.is_in_the_way_of(container)
    {
        let mount = json!({"name": sidecar::SOCKET, "mountPath": socket.folder});
        let there = container.mounts.is_some();
        patch.append(&at.member("volumeMounts"), there, vec![mount]);
    }
}

/// Marks the pod, and tells the autoscaler and the meshes. What is listed already stays.
pub(super) fn annotate(patch: &mut Patch, pod: &Pod<'_>, wishes: &Wishes, settings: &Settings) {
    let mut wanted: Vec<(&str, String)> =
        vec![(annotations::INJECTED, env!("CARGO_PKG_VERSION").to_owned())];
    if let Some(Trust::Text(pem)) = &settings.trust {
        wanted.push((annotations::CA, pem.clone()));
    }
    // A mended pod keeps what it was given.
    if pod.injected().is_some() {
        wanted.clear();
    }
    let mut volumes = vec![sidecar::STATE];
    volumes.extend(wishes.socket.is_some().then_some(sidecar::SOCKET));
    let listed = pod.annotation(SAFE_TO_EVICT).unwrap_or_default();
    wanted.push((SAFE_TO_EVICT, mesh::with_names(listed, &volumes)));
    for skips in &mesh::SKIPS {
        let ports = match skips.inbound {
            true if pod.host_network => continue,
            true => vec![sidecar::ADMIN],
            false => core_ports(settings),
        };
        let default = skips.default(&settings.mesh);
        let listed = pod.annotation(skips.annotation).unwrap_or(default);
        wanted.push((skips.annotation, mesh::with_ports(listed, &ports)));
    }
    wanted.retain(|(name, value)| pod.annotation(name) != Some(value.as_str()));
    if wanted.is_empty() {
        return;
    }
    let at = At::metadata().member("annotations");
    if pod.annotations.is_none() {
        patch.add(at.clone(), Value::Object(serde_json::Map::new()));
    }
    for (name, value) in wanted {
        patch.add(at.member(name), json!(value));
    }
}

/// Where the core's nodes listen.
fn core_ports(settings: &Settings) -> Vec<u16> {
    let port = |address: &String| address.rsplit_once(':')?.1.parse().ok();
    settings.core.iter().filter_map(port).collect()
}
