//! Whether a pod gets a sidecar, and what has to change for it. Pure: no I/O, no clock.
//! In: a request, the settings. Out: a patch, warnings, a word for the log.
//! Never: a patch that takes something away, or one that changes a pod that has been changed already.

use serde_json::Value;

use super::annotations::{self, INJECT, Wishes};
use super::patch::{At, Patch};
use super::place;
use super::pod::Pod;
use super::review::Request;
use super::settings::Settings;
use super::sidecar::{self, Sidecar};
use super::surroundings;
use super::version::NATIVE_SIDECARS;
use super::warnings::Warnings;

/// What becomes of a pod.
#[derive(Debug)]
pub struct Decision {
    /// What changes; empty if nothing does.
    pub patch: Patch,
    /// What its author is told.
    pub warnings: Vec<String>,
    /// In a word.
    pub outcome: Outcome,
}

/// What becomes of a pod, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It gets a sidecar.
    Injected,
    /// It has had its sidecar; what came to it since is told of it, or its place is mended.
    Mended,
    /// It has its sidecar, and nothing changes.
    Unchanged,
    /// It goes without, since it has to; the warnings say why.
    LeftOut,
    /// Nobody wants it to have one.
    NotAsked,
}

/// Namespaces whose pods are left alone besides the injector's own: a cluster must start without us.
const SYSTEM: &str = "kube-system";
/// On pods that a kubelet runs on its own; the API server only mirrors them.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Decides.
pub fn decide(request: &Request, settings: &Settings) -> Decision {
    let mut warnings = Warnings::default();
    let (patch, outcome) = match judge(request, settings, &mut warnings) {
        Ok((patch, outcome)) => (patch, outcome),
        Err(outcome) => (Patch::default(), outcome),
    };
    Decision {
        patch,
        warnings: warnings.into_lines(),
        outcome,
    }
}

fn judge(
    request: &Request,
    settings: &Settings,
    warnings: &mut Warnings,
) -> Result<(Patch, Outcome), Outcome> {
    if !request.makes_a_pod() {
        return Err(Outcome::NotAsked);
    }
    let pod = Pod::read(&request.object).map_err(|odd| {
        warnings.add(format_args!(
            "no sidecar, since the pod is not understood: {odd}"
        ));
        Outcome::LeftOut
    })?;
    let namespace = request.namespace.as_deref().filter(|name| !name.is_empty());
    let namespace = namespace.or(pod.namespace).unwrap_or("default");
    if !annotations::asked(&pod, warnings) || pod.annotation(MIRROR).is_some() {
        return Err(Outcome::NotAsked);
    }
    if [SYSTEM, settings.namespace.as_str()].contains(&namespace) {
        if pod.label(INJECT).is_some() {
            warnings.add(format_args!(
                "no sidecar: pods in {namespace} are left alone"
            ));
        }
        return Err(Outcome::NotAsked);
    }
    if let Some(at) = pod.injected() {
        let patch = mend(&pod, at, settings);
        let outcome = match patch.is_empty() {
            true => Outcome::Unchanged,
            false => Outcome::Mended,
        };
        return Ok((patch, outcome));
    }
    let wishes = Wishes::read(&pod, warnings);
    if let Some(why) = obstacle(&pod, &wishes, settings) {
        warnings.add(format_args!("no sidecar: {why}"));
        return Err(Outcome::LeftOut);
    }
    if pod.host_network && !pod.cluster_names {
        warnings.add(
            "the pod has hostNetwork without dnsPolicy ClusterFirstWithHostNet: \
             it may not find the core by its name",
        );
    }
    Ok((
        inject(&pod, namespace, &wishes, settings),
        Outcome::Injected,
    ))
}

/// Why a pod cannot have a sidecar, or would not start with one.
fn obstacle(pod: &Pod<'_>, wishes: &Wishes, settings: &Settings) -> Option<String> {
    let needed = NATIVE_SIDECARS;
    match settings.kubernetes {
        None => return Some("the version of Kubernetes is not known yet".to_owned()),
        Some(version) if version < needed => {
            return Some(format!(
                "Kubernetes is {version}, and it takes {needed} or newer"
            ));
        }
        Some(_) => {}
    }
    if pod.windows {
        return Some("the pod runs on Windows".to_owned());
    }
    if pod.host_network && wishes.socket.is_none() {
        return Some(
            "the pod has hostNetwork, where the port would be everybody's; \
             with the annotation sidelock.dev/socket: \"true\" it gets a socket"
                .to_owned(),
        );
    }
    if pod.all().any(|container| container.name == sidecar::NAME) {
        return Some(format!(
            "the pod has a container named {} of its own",
            sidecar::NAME
        ));
    }
    let volumes = pod.volumes.as_deref().unwrap_or_default();
    if let Some(name) = volumes.iter().find(|name| sidecar::VOLUMES.contains(name)) {
        return Some(format!("the pod has a volume named {name} of its own"));
    }
    let is_ours = |port: &u64| sidecar::PORTS.iter().any(|ours| u64::from(*ours) == *port);
    let mut ports = pod.all().flat_map(|container| &container.ports);
    match ports.find(|port| is_ours(port)) {
        Some(port) if !pod.host_network => {
            Some(format!("the pod uses port {port}, which is the sidecar's"))
        }
        Some(_) | None => None,
    }
}

fn inject(pod: &Pod<'_>, namespace: &str, wishes: &Wishes, settings: &Settings) -> Patch {
    let mut patch = Patch::default();
    let after = place::after_mesh(pod.first(), None);
    tell_all(&mut patch, pod, None, after, wishes);
    let sidecar = Sidecar {
        settings,
        namespace,
        wishes,
        host_network: pod.host_network,
        root: pod.root,
    };
    let first = At::spec().member("initContainers");
    let container = sidecar.container();
    match pod.init_containers {
        Some(_) => patch.add(first.element(after), container),
        None => patch.add(first, Value::Array(vec![container])),
    }
    let volumes = At::spec().member("volumes");
    patch.append(&volumes, pod.volumes.is_some(), sidecar.volumes());
    surroundings::annotate(&mut patch, pod, wishes, settings);
    patch
}

/// For a pod that other webhooks have changed since it got its sidecar: a mesh may have put its containers behind
/// ours, others may have added some that were not told of it.
fn mend(pod: &Pod<'_>, at: usize, settings: &Settings) -> Patch {
    let mut patch = Patch::default();
    // Its author has been warned.
    let mut wishes = Wishes::read(pod, &mut Warnings::default());
    if !pod
        .volumes
        .as_deref()
        .unwrap_or_default()
        .contains(&sidecar::SOCKET)
    {
        wishes.socket = None; // wished for since
    }
    let after = place::after_mesh(pod.first(), Some(at));
    tell_all(&mut patch, pod, Some(at), after, &wishes);
    if at != after {
        let first = At::spec().member("initContainers");
        patch.shift(&first, at, after);
    }
    surroundings::annotate(&mut patch, pod, &wishes, settings);
    patch
}

/// Tells the containers that start after the sidecar where it is.
fn tell_all(
    patch: &mut Patch,
    pod: &Pod<'_>,
    sidecar: Option<usize>,
    after: usize,
    wishes: &Wishes,
) {
    let first = At::spec().member("initContainers");
    for index in place::later(pod.first(), sidecar, after) {
        surroundings::tell(patch, &first.element(index), &pod.first()[index], wishes);
    }
    let containers = At::spec().member("containers");
    for (index, container) in pod.containers.iter().enumerate() {
        surroundings::tell(patch, &containers.element(index), container, wishes);
    }
}
