//! The admission webhook that gives pods a sidecar.
//! In: AdmissionReviews of a Kubernetes API server, over TLS. Out: JSON patches, and warnings for who made the pod.
//! Never: a pod refused, or one that starts worse than without us: then it is left as it is, with a warning.
//!
//! The middle is pure: `decide` takes a review and the operator's settings and gives a patch and warnings.

pub mod settings;
pub mod version;

pub mod review;

pub mod decide;

mod annotations;
mod mesh;
mod patch;
mod place;
mod pod;
mod quantity;
mod sidecar;
mod surroundings;
mod warnings;

pub mod api_server;
pub mod certificate;

mod line;
mod problem;
pub mod server;
