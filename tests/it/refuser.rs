//! A sidecar without a core: it refuses all that needs one. For tests of what is decided before.
//! In: anything. Out: `no-quorum`, or the claim it was asked for, as a refusal's detail.
//! Never: a grant.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sidelock::sidecar::handle::{
    BreakAnswer, ClaimAnswer, ClaimAsk, ClaimError, ClaimEvent, ClaimView, Consistency,
    ContentionView, DrainView, Findings, HistoryView, LockQuery, LockView, ModeView, Page, Read,
    ReleaseAnswer, Sidecar, SidecarMode, Standing, StatusView, Survey, Trace, Unavailable,
    VerifyView, Window,
};
use sidelock::table::contention::Totals;
use sidelock::table::id::{ClaimId, LockName, Revision, Token};
use sidelock::telemetry::sidecar::Instruments;
use tokio::sync::watch;

#[derive(Default)]
pub struct Refuser(Instruments);

const WELL: Standing = Standing {
    mode: SidecarMode::Normal,
    why: None,
};

const NO_QUORUM: Unavailable = Unavailable::NoQuorum {
    retry_after: Duration::from_millis(1200),
};

#[async_trait]
impl Sidecar for Refuser {
    async fn claim(
        &self,
        id: ClaimId,
        ask: ClaimAsk,
        _trace: Trace,
    ) -> Result<ClaimAnswer, ClaimError> {
        match id.as_str() {
            "echo" => Err(ClaimError::Invalid(format!("{ask:?}"))),
            "wait" => {
                tokio::time::sleep(ask.wait).await;
                Err(NO_QUORUM.into())
            }
            _ => Err(NO_QUORUM.into()),
        }
    }

    async fn claim_view(
        &self,
        id: &ClaimId,
        _after: Option<u64>,
        _wait: Duration,
    ) -> Result<ClaimView, ClaimError> {
        assert_ne!(id.as_str(), "panic", "a planted bug");
        Err(ClaimError::NotFound(id.clone()))
    }

    async fn renew(
        &self,
        _id: &ClaimId,
        ttl: Option<Duration>,
        value: Option<Arc<str>>,
    ) -> Result<ClaimView, ClaimError> {
        Err(ClaimError::Invalid(format!("{ttl:?} {value:?}")))
    }

    async fn release(&self, _id: &ClaimId) -> Result<ReleaseAnswer, ClaimError> {
        Ok(ReleaseAnswer::Accepted)
    }

    fn claims(&self, _limit: usize, _cursor: Option<&str>) -> Page<ClaimView> {
        Page {
            items: Vec::new(),
            next_cursor: None,
        }
    }

    async fn claim_events(
        &self,
        id: &ClaimId,
        _after: Option<u64>,
    ) -> Result<Vec<ClaimEvent>, ClaimError> {
        Err(ClaimError::NotFound(id.clone()))
    }

    fn bind(&self, id: &ClaimId) -> Result<(), ClaimError> {
        Err(ClaimError::NotFound(id.clone()))
    }

    fn unbind(&self, _id: &ClaimId, _closed_by_app: bool) {}

    async fn lock(
        &self,
        name: &LockName,
        _consistency: Consistency,
        _after: Option<Revision>,
        _wait: Duration,
    ) -> Result<Read<LockView>, Unavailable> {
        // Shows which name has arrived.
        Ok(Read {
            value: LockView {
                name: name.clone(),
                holders: Vec::new(),
                queue: Vec::new(),
                waiters: 0,
                lock_delay_ms: None,
                revision: Revision(7),
            },
            linearizable: false,
            age: Duration::from_millis(1500),
        })
    }

    async fn locks(&self, _query: LockQuery) -> Result<Read<Page<LockView>>, Unavailable> {
        Err(NO_QUORUM)
    }

    async fn history(
        &self,
        _name: &LockName,
        _limit: usize,
        _cursor: Option<String>,
    ) -> Result<Read<Page<HistoryView>>, Unavailable> {
        Err(NO_QUORUM)
    }

    async fn survey(
        &self,
        _ask: Survey,
        _consistency: Consistency,
    ) -> Result<Read<Findings>, Unavailable> {
        Err(NO_QUORUM)
    }

    async fn verify(&self, _name: &LockName, _token: Token) -> Result<VerifyView, Unavailable> {
        Err(NO_QUORUM)
    }

    async fn break_lock(
        &self,
        _name: &LockName,
        _reason: Arc<str>,
        _force: bool,
    ) -> Result<BreakAnswer, Unavailable> {
        Err(NO_QUORUM)
    }

    fn mode(&self) -> ModeView {
        ModeView {
            standing: WELL,
            since: Duration::ZERO,
            quorum_seen: None,
            sessions: Vec::new(),
        }
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        watch::channel(WELL).1
    }

    fn is_draining(&self) -> bool {
        false
    }

    fn drain(&self) -> DrainView {
        DrainView {
            granted: 0,
            left: Duration::ZERO,
        }
    }

    fn contention(&self, window: Window, _most: usize) -> ContentionView {
        ContentionView {
            window,
            total: Totals::default(),
            locks: Vec::new(),
        }
    }

    fn instruments(&self) -> &Instruments {
        &self.0
    }

    fn status(&self) -> StatusView {
        StatusView {
            delegations: 0,
            operations_sent: 0,
            mode: self.mode(),
            granted: 0,
            queued: 0,
            in_flight: 0,
            frames_sent: 0,
            granted_locally: 0,
            cores: Vec::new(),
            uptime: Duration::ZERO,
        }
    }
}
