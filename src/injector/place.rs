//! Where among the containers that run first the sidecar stands: before all but a mesh's.
//! In: the names of those that run first. Out: a place. Never: a place behind somebody who may want a lock.

use super::mesh;
use super::pod::Container;

/// How many of a mesh's containers begin the pod; the sidecar, which is not counted, comes right after them.
///
/// A mesh's containers further down come after those of the pod's author, who may want locks: Istio and Linkerd
/// redirect traffic last where their proxy starts last, and until then we connect directly.
pub(super) fn after_mesh(first: &[Container<'_>], sidecar: Option<usize>) -> usize {
    first
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != sidecar)
        .take_while(|(_, container)| mesh::is_first(container.name))
        .count()
}

/// Indices of those that run first and start after the sidecar, which is to come `after` so many of the others.
pub(super) fn later(
    first: &[Container<'_>],
    sidecar: Option<usize>,
    after: usize,
) -> impl Iterator<Item = usize> {
    (0..first.len())
        .filter(move |index| Some(*index) != sidecar)
        .skip(after)
}
