//! The JSON that goes out about the sidecar itself: its mode and why, its links, its drain.
//! In: views of the sidecar. Out: `Serialize` structs with their OpenAPI schemas.
//! Never: null, a wall-clock time, a closed enum.

use serde::Serialize;
use utoipa::ToSchema;

use crate::sidecar::handle::{CoreLinkView, DrainView, ModeView, SessionView, StatusView, Why};
use crate::views::words::ms;

/// The reason of a mode, for people.
fn why_text(why: Why) -> &'static str {
    match why {
        Why::NoQuorum => "core nodes answer, but none of them leads with a quorum",
        Why::CoreUnreachable => "no core node answers",
        Why::Jeopardy => {
            "the session's safe deadline has passed and the core has not confirmed it yet"
        }
        Why::SessionLost => "the session was lost and the next one is not open yet",
        Why::Draining => "the sidecar is stopping",
        Why::Overloaded => "too many claims wait to be sent to the core",
    }
}

/// What the sidecar can do at the moment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Mode)]
pub(super) struct ModeBody {
    /// Open enum: normal, jeopardy, read-only.
    #[schema(example = "normal")]
    mode: &'static str,
    /// The same, under the name that it has in all bodies.
    #[schema(example = "normal")]
    sidelock_mode: &'static str,
    /// For how long it has been that.
    since_ms: u64,
    /// Why not all can be done; absent while all is well. Open enum: no-quorum, core-unreachable,
    /// jeopardy, session-lost, draining, overloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "no-quorum")]
    reason: Option<&'static str>,
    /// The reason in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<&'static str>,
    /// How long ago a quorum was last known to stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    quorum_seen_ms_ago: Option<u64>,
    /// One for each shard.
    sessions: Vec<SessionBody>,
}

/// The lease between this sidecar and one shard of the core.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionBody {
    /// Which shard.
    shard: u32,
    /// The core's number of the session, once opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    session: Option<u64>,
    /// Left until the safe deadline; 0 when it has passed.
    safe_for_ms: u64,
}

impl From<&ModeView> for ModeBody {
    fn from(view: &ModeView) -> Self {
        Self {
            mode: view.standing.mode.word(),
            sidelock_mode: view.standing.mode.word(),
            since_ms: ms(view.since),
            reason: view.standing.why.map(Why::word),
            detail: view.standing.why.map(why_text),
            quorum_seen_ms_ago: view.quorum_seen.map(ms),
            sessions: view.sessions.iter().map(SessionBody::from).collect(),
        }
    }
}

impl From<&SessionView> for SessionBody {
    fn from(view: &SessionView) -> Self {
        Self {
            shard: view.shard,
            session: view.session,
            safe_for_ms: ms(view.safe_for),
        }
    }
}

/// More than the mode, for operators.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Status)]
pub(super) struct StatusBody<'a> {
    /// The version of this program.
    version: &'static str,
    #[serde(flatten)]
    mode: ModeBody,
    /// Live claims that hold.
    claims_granted: u64,
    /// Live claims that wait.
    claims_queued: u64,
    /// Operations sent to the core and not yet answered.
    in_flight: u64,
    /// How long the sidecar has run.
    uptime_ms: u64,
    /// Each core node.
    cores: Vec<CoreBody<'a>>,
}

/// One core node as seen from here.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CoreLink)]
pub(super) struct CoreBody<'a> {
    /// HOST:PORT.
    address: &'a str,
    /// Whether a stream to it stands.
    connected: bool,
    /// Whether it says that it leads.
    leader: bool,
}

impl<'a> From<&'a StatusView> for StatusBody<'a> {
    fn from(view: &'a StatusView) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            mode: ModeBody::from(&view.mode),
            claims_granted: view.granted,
            claims_queued: view.queued,
            in_flight: view.in_flight,
            uptime_ms: ms(view.uptime),
            cores: view.cores.iter().map(CoreBody::from).collect(),
        }
    }
}

impl<'a> From<&'a CoreLinkView> for CoreBody<'a> {
    fn from(view: &'a CoreLinkView) -> Self {
        Self {
            address: &view.address,
            connected: view.connected,
            leader: view.leader,
        }
    }
}

/// How far a drain has come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Drain)]
pub(super) struct DrainBody {
    /// Open enum: draining.
    #[schema(example = "draining")]
    status: &'static str,
    /// Live claims that hold, and are waited for.
    claims_granted: u64,
    /// How much longer they are waited for at most; then the sidecar stops all the same.
    stops_in_ms: u64,
}

impl From<DrainView> for DrainBody {
    fn from(view: DrainView) -> Self {
        Self {
            status: "draining",
            claims_granted: view.granted,
            stops_in_ms: ms(view.left),
        }
    }
}
