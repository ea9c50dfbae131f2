//! A sidecar's metrics at the moment of a scrape.
//! In: finished requests, how the sidecar stands. Out: its instruments, up to date. Never: a made-up label.

use axum::http::{Method, StatusCode};

use crate::sidecar::handle::{Sidecar, SidecarMode};
use crate::telemetry::registry::Registry;
use crate::telemetry::sidecar::{Instruments, Standing};

/// Counts a finished request (a stream when it begins).
pub(super) fn answered(
    instruments: &Instruments,
    route: &'static str,
    method: &Method,
    status: StatusCode,
) {
    instruments.answered(route, method_word(method), status.as_u16());
}

/// All instruments of a sidecar as they stand now.
pub fn measured(sidecar: &dyn Sidecar) -> &Registry {
    let status = sidecar.status();
    let standing = Standing {
        granted: status.granted,
        queued: status.queued,
        local_grants: status.granted_locally,
        delegations: status.delegations,
        safe: status
            .mode
            .sessions
            .iter()
            .map(|it| it.safe_for)
            .min()
            .unwrap_or_default(),
        connected: status.cores.iter().filter(|core| core.connected).count() as u64,
        operations_sent: status.operations_sent,
        frames_sent: status.frames_sent,
        in_flight: status.in_flight,
    };
    let mode = status.mode.standing.mode;
    let modes = [
        SidecarMode::Normal,
        SidecarMode::Jeopardy,
        SidecarMode::ReadOnly,
    ];
    let modes = modes.map(|one| (one.word(), one == mode));
    let instruments = sidecar.instruments();
    instruments.stands(standing, &modes);
    instruments.registry()
}

/// Made-up methods must not make labels.
fn method_word(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "other",
    }
}
