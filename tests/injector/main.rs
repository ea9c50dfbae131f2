//! The admission webhook: what it does to pods, and how it answers.
//! In: pods as people write them, and as nobody would. Out: what the API server would store.
//! Never: a cluster. `validate.py` holds the pods of `pods/` against the schemas of Kubernetes, `.ci/chart` runs it.

mod around;
mod golden;
mod hands_off;
mod meshes;
mod random;
mod serving;
mod sidecar;
mod support;
mod wishes;
