//! One sidecar's stream, from its first frame to its end. It owns its state; nobody else touches it.
//! In: frames of the sidecar, replies, events, who leads. Out: frames, each of all that has gathered.
//! Never: an operation of a stream that is not the session's current one, or an event it has not asked for.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, FuturesUnordered, Stream, StreamExt};
use tokio::sync::watch;
use tonic::Status;

use super::access::Rights;
use super::group::{Leadership, ProposeError, Roll};
use super::rules::Right;
use super::seen;
use super::service::Shard;
use super::streams::{Outbox, StreamEnd};
use crate::table::command::{
    Command, OpenSession, Operate, OperateReply, Operation, Renewal, Reply,
};
use crate::table::id::{SessionId, SessionKey};
use crate::telemetry::names;
use crate::telemetry::traces::Trail;
use crate::tls::credentials::{Changes, Credentials};
use crate::wire::convert::{self, ConvertError};
use crate::wire::v1;

/// Most queries of one sidecar under way, long polls included.
const QUERIES_MAX: usize = 16_384;

/// Who has made a stream, and what it is to hear of whom this node trusts.
#[derive(Debug, Clone, Default)]
pub struct Guest {
    /// What it may do.
    pub rights: Rights,
    /// Our side of TLS, if it came in that way.
    pub credentials: Option<Credentials>,
}

/// One sidecar's stream.
pub struct SidecarStream {
    shard: Shard,
    guest: Guest,
    /// Of the authorities that we trust: they are told at the beginning and at every change.
    trusted: Option<Changes>,
    trusted_due: bool,
    /// Index of the members that were told.
    members_told: Option<u64>,
    incoming: BoxStream<'static, Result<v1::SidecarFrame, Status>>,
    outbox: Arc<Outbox>,
    leadership: watch::Receiver<Leadership>,
    /// Who leads has changed and was not told yet.
    leader_due: bool,
    /// Of the open in force: its key, and who the sidecar is.
    key: Option<SessionKey>,
    identity: Arc<str>,
    /// Attached to this session.
    session: Option<SessionId>,
    /// An open on its way through the log. Nothing is read meanwhile.
    opening: Option<BoxFuture<'static, Result<Reply, ProposeError>>>,
    /// Operations that came with that open.
    parked: Vec<(Operate, Trail)>,
    queries: FuturesUnordered<BoxFuture<'static, v1::QueryReply>>,
}

impl SidecarStream {
    /// A stream that has said nothing yet.
    pub fn new(
        shard: Shard,
        guest: Guest,
        incoming: impl Stream<Item = Result<v1::SidecarFrame, Status>> + Send + 'static,
    ) -> Self {
        Self {
            incoming: incoming.boxed(),
            outbox: Arc::default(),
            leadership: shard.group().leadership(),
            shard,
            trusted: guest.credentials.as_ref().map(Credentials::changes),
            trusted_due: guest.credentials.is_some(),
            members_told: None,
            guest,
            leader_due: true,
            key: None,
            identity: Arc::from(""),
            session: None,
            opening: None,
            parked: Vec::new(),
            queries: FuturesUnordered::new(),
        }
    }

    /// The frames to send. The transport asks for the next one when it has written the last, so each
    /// holds all that gathered meanwhile.
    pub fn frames(self) -> BoxStream<'static, Result<v1::CoreFrame, Status>> {
        let frames = stream::unfold(Some(self), |stream| async {
            let mut stream = stream?;
            match stream.next().await {
                Ok(Some(frame)) => Some((Ok(frame), Some(stream))),
                Ok(None) => None,
                Err(status) => {
                    tracing::info!(identity = %stream.identity, %status, "a sidecar's stream ends");
                    Some((Err(status), None))
                }
            }
        });
        frames.boxed()
    }

    /// The next frame; `None` when the sidecar has closed its side.
    async fn next(&mut self) -> Result<Option<v1::CoreFrame>, Status> {
        loop {
            if self.leader_due || self.trusted_due {
                return Ok(Some(self.leader_frame()));
            }
            tokio::select! {
                biased;
                changed = self.leadership.changed() => match changed {
                    Ok(()) => self.leader_due = true,
                    Err(_) => return Err(Status::unavailable("this node is stopping")),
                },
                () = changed(&mut self.trusted), if self.trusted.is_some() => self.trusted_due = true,
                opened = wait(&mut self.opening), if self.opening.is_some() => {
                    self.opening = None;
                    self.opened(opened)?;
                }
                () = self.outbox.ready() => return self.gathered_frame().map(Some),
                Some(reply) = self.queries.next(), if !self.queries.is_empty() => {
                    self.outbox.push_query(reply);
                }
                frame = self.incoming.next(), if self.opening.is_none() => match frame {
                    Some(frame) => self.hear(frame?)?,
                    None => return Ok(None),
                },
            }
        }
    }

    fn hear(&mut self, frame: v1::SidecarFrame) -> Result<(), Status> {
        self.check_route(&frame)?;
        let serving = self.leadership.borrow().serving;
        for renewal in frame.renewals {
            self.renew(serving, renewal.into());
        }
        if let Some(open) = frame.open {
            let open = OpenSession::try_from(open).map_err(malformed)?;
            self.open(serving, open)?;
        }
        for operation in frame.operations {
            let parent = Some(operation.traceparent.as_str()).filter(|text| !text.is_empty());
            let trail = Trail::below("lock.operation", parent, None);
            let mut operate = Operate::try_from(operation).map_err(malformed)?;
            self.check_right(&mut operate);
            if trail.is_on() {
                trail.set(names::LOCK_OPERATION, seen::kind(&operate.operation));
                trail.set_number(names::LOCK_SESSION, operate.session.0);
            }
            match self.opening {
                Some(_) => self.parked.push((operate, trail)),
                None => self.operate(serving, operate, trail),
            }
        }
        for query in frame.queries {
            if self.queries.len() >= QUERIES_MAX {
                return Err(Status::resource_exhausted("too many queries under way"));
            }
            let by = Arc::clone(&self.identity);
            let rights = self.guest.rights.clone();
            let answer = self.shard.queries().answer(query, rights, by);
            self.queries.push(Box::pin(answer));
        }
        Ok(())
    }

    fn check_route(&self, frame: &v1::SidecarFrame) -> Result<(), Status> {
        if !frame.cluster_id.is_empty() && frame.cluster_id != self.shard.options().cluster_id {
            return Err(Status::failed_precondition("another cell"));
        }
        if frame.shard != self.shard.id().0 {
            return Err(Status::failed_precondition("another shard"));
        }
        if frame.to != 0 && frame.to != self.shard.group().id() {
            return Err(Status::failed_precondition("another node"));
        }
        Ok(())
    }

    /// A claim on what it has no right to is refused in its turn, so that the numbers of its operations go on.
    fn check_right(&self, operate: &mut Operate) {
        let acquire = match &operate.operation {
            Operation::Acquire(acquire) | Operation::Delegate { acquire, .. } => acquire,
            Operation::Return(_)
            | Operation::InUse { .. }
            | Operation::Refill { .. }
            | Operation::Rename { .. }
            | Operation::Release(_)
            | Operation::SetValue { .. }
            | Operation::Close
            | Operation::Denied(_) => return,
        };
        let rights = &self.guest.rights;
        let mut names = acquire.locks.iter().map(|want| &want.name);
        if let Some(name) = names.find(|name| !rights.allow(Right::Claim, name.as_str())) {
            operate.operation = Operation::Denied(name.clone());
        }
    }

    fn renew(&self, serving: bool, renewal: Renewal) {
        let mine = self.session == Some(renewal.session);
        if serving && mine {
            self.shard.proposer().renew(renewal, &self.outbox);
        } else {
            let answer = convert::renewal_not_leader(renewal.session, renewal.number);
            self.outbox.push_renewal(answer);
        }
    }

    /// Opens the session or finds it, through the log: behind all that older streams of it have asked
    /// for here. From this moment they ask for nothing more.
    fn open(&mut self, serving: bool, mut open: OpenSession) -> Result<(), Status> {
        // Not what it says of itself.
        open.principal = self.guest.rights.identity().cloned();
        if let Some(principal) = &open.principal {
            open.identity = format!("{} ({principal})", open.identity).into();
        }
        if !serving {
            self.leader_due = true;
            return Ok(());
        }
        // The log decides; but whoever would be refused there must not end the stream of whose it is.
        let table = self.shard.group().table();
        if !table.read(|table, _| table.may_find(open.key, open.principal.as_ref())) {
            return Err(of_another());
        }
        self.detach();
        self.key = Some(open.key);
        self.identity = Arc::clone(&open.identity);
        self.shard.applied().streams().claim(open.key, &self.outbox);
        let proposer = self.shard.proposer().clone();
        let ask = async move { proposer.ask(Command::OpenSession(open)).await };
        self.opening = Some(Box::pin(ask));
        Ok(())
    }

    fn opened(&mut self, opened: Result<Reply, ProposeError>) -> Result<(), Status> {
        let parked = std::mem::take(&mut self.parked);
        match opened {
            Ok(Reply::SessionOpened { session, .. }) => self.attach(session)?,
            Ok(Reply::SessionTakenOver) => {
                return Err(Status::aborted(
                    "a later process has taken the session over",
                ));
            }
            Ok(Reply::SessionOfAnother) => {
                return Err(of_another());
            }
            Ok(other) => unreachable!("an open was answered {other:?}"),
            // The sidecar asks again when it is told who leads.
            Err(ProposeError::NotLeader | ProposeError::Unknown | ProposeError::Stopped(_)) => {
                self.leader_due = true;
            }
        }
        let serving = self.leadership.borrow().serving;
        for (operate, trail) in parked {
            self.operate(serving, operate, trail);
        }
        Ok(())
    }

    /// In one critical section: all the session holds and waits for is read, and its events go here.
    fn attach(&mut self, session: SessionId) -> Result<(), Status> {
        let Some(key) = self.key else {
            return Ok(()); // leadership was lost meanwhile
        };
        let streams = self.shard.applied().streams();
        let attached = self.shard.group().table().read(|table, _| {
            let attachment = table.attachment(session)?;
            Some(streams.attach(key, session, &self.outbox, (&attachment).into()))
        });
        match attached {
            Some(true) => self.session = Some(session),
            Some(false) => {} // superseded: the outbox says so
            None => return Err(Status::aborted("the session ended while it attached")),
        }
        tracing::info!(%session, identity = %self.identity, "a sidecar attached");
        Ok(())
    }

    fn operate(&self, serving: bool, operate: Operate, trail: Trail) {
        match self.session {
            Some(session) if serving && session == operate.session => {
                self.shard.proposer().operate(operate, trail, &self.outbox);
            }
            // It has opened another one since: the old one's claims are not spoken of here any more.
            Some(_) if serving => {
                let gone = convert::operation_reply(operate.seq, &OperateReply::UnknownSession);
                self.outbox.push_reply(gone);
            }
            Some(_) | None => {
                let answer = convert::operation_not_leader(operate.seq);
                self.outbox.push_reply(answer);
            }
        }
    }

    fn detach(&mut self) {
        if let Some(key) = self.key.take() {
            let session = self.session.take();
            let streams = self.shard.applied().streams();
            streams.detach(key, session, &self.outbox);
        }
    }

    /// Who leads. Without leadership there are no events either: a new attach brings what was missed.
    fn leader_frame(&mut self) -> v1::CoreFrame {
        self.leader_due = false;
        let leadership = self.leadership.borrow_and_update().clone();
        if !leadership.serving {
            self.detach();
        }
        let (id, address) = match &leadership.leader {
            Some((id, member)) => (*id, member.grpc.clone()),
            None => (0, String::new()),
        };
        let leader = v1::Leader {
            id,
            address,
            term: leadership.term,
            serving: leadership.serving,
            silent_ms: u32::try_from(leadership.silent.as_millis()).unwrap_or(u32::MAX),
        };
        let trust_bundle = match std::mem::take(&mut self.trusted_due) {
            true => self.guest.credentials.as_ref().map(Credentials::bundle),
            false => None,
        };
        v1::CoreFrame {
            leader: Some(leader),
            trust_bundle: trust_bundle.unwrap_or_default(),
            members: self.members(leadership.members),
            ..self.frame()
        }
    }

    /// The members, if they are others than were told.
    fn members(&mut self, now: Roll) -> Option<v1::Members> {
        let index = now.index.filter(|_| self.members_told != now.index)?;
        self.members_told = now.index;
        let nodes = now.nodes.into_iter();
        let nodes = nodes.map(|(id, address)| v1::Node { id, address });
        Some(v1::Members {
            index,
            nodes: nodes.collect(),
        })
    }

    fn gathered_frame(&mut self) -> Result<v1::CoreFrame, Status> {
        let mut frame = self.frame();
        match self.outbox.fill(&mut frame) {
            Ok(()) => Ok(frame),
            Err(StreamEnd::Superseded) => Err(Status::aborted("a newer stream has attached")),
            Err(StreamEnd::Unread) => Err(Status::resource_exhausted("the stream is not read")),
            Err(StreamEnd::Gone) => Err(Status::cancelled("the stream has ended")),
        }
    }

    fn frame(&self) -> v1::CoreFrame {
        v1::CoreFrame {
            cluster_id: self.shard.options().cluster_id.clone(),
            shard: self.shard.id().0,
            from: self.shard.group().id(),
            ..v1::CoreFrame::default()
        }
    }
}

impl Drop for SidecarStream {
    fn drop(&mut self) {
        self.detach();
        self.outbox.end(StreamEnd::Gone);
    }
}

/// Other authorities are trusted. Only polled where that is followed.
async fn changed(trusted: &mut Option<Changes>) {
    match trusted {
        Some(trusted) => trusted.changed().await,
        None => std::future::pending().await,
    }
}

/// The open that is on its way. Only polled while there is one.
async fn wait(
    opening: &mut Option<BoxFuture<'static, Result<Reply, ProposeError>>>,
) -> Result<Reply, ProposeError> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

fn of_another() -> Status {
    Status::permission_denied("this session is of somebody else")
}

fn malformed(error: ConvertError) -> Status {
    Status::invalid_argument(error.to_string())
}
