//! All that a session holds and waits for, as a new stream is told it.
//! In: the table as it stands. Out: plain copies with the revision at which they were true.
//! Never: anything from replayed effects.

use super::delegation::{Pledge, Recall};
use super::id::{ClaimId, ClaimRef, Generation, RenewalNumber, Revision, Seq, SessionId, Token};
use super::state::{Stage, Table};
use super::token::TokenBlock;

/// A session as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Which session.
    pub session: SessionId,
    /// Which attach is in force.
    pub generation: Generation,
    /// How long it lives without renewal, in milliseconds.
    pub ttl_ms: u32,
    /// The last operation that was applied.
    pub seq: Seq,
    /// The last renewal that was applied.
    pub renewal: RenewalNumber,
    /// Of the whole table at this moment: events at or before it are old news.
    pub revision: Revision,
    /// Its live claims, by seq.
    pub claims: Vec<AttachedClaim>,
}

/// One live claim of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedClaim {
    /// The core's name of the claim.
    pub claim: ClaimRef,
    /// The app's id.
    pub claim_id: ClaimId,
    /// One for each lock, in the order asked for; empty while it waits.
    pub tokens: Vec<Token>,
    /// Whether an operator wants it gone.
    pub breaking: bool,
    /// If it is a delegation.
    pub delegation: Option<AttachedDelegation>,
}

/// What a session must know of a delegation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedDelegation {
    /// The newest block of its tokens.
    pub block: TokenBlock,
    /// Whether others wait for it.
    pub recalled: bool,
    /// Whether somebody waits to hear if it is in use.
    pub answer: bool,
}

impl Table {
    fn attached_delegation(&self, name: ClaimRef) -> Option<AttachedDelegation> {
        match self.pledge(name)? {
            Pledge::Asked { .. } => None,
            Pledge::Given { block, recall } => Some(AttachedDelegation {
                block: *block,
                recalled: *recall != Recall::None,
                answer: *recall == Recall::AnswerWanted,
            }),
        }
    }

    /// All that a session holds and waits for; `None` if there is no such session (any more).
    pub fn attachment(&self, id: SessionId) -> Option<Attachment> {
        let session = self.session(id)?;
        let claims = self.claims_of(id).map(|(name, claim)| {
            let (tokens, breaking) = match &claim.stage {
                Stage::Waiting { .. } => (Vec::new(), false),
                Stage::Holding {
                    tokens, breaking, ..
                } => (tokens.to_vec(), *breaking),
            };
            AttachedClaim {
                claim: name,
                claim_id: claim.claim_id.clone(),
                tokens,
                breaking,
                delegation: self.attached_delegation(name),
            }
        });
        Some(Attachment {
            session: id,
            generation: session.generation,
            ttl_ms: session.ttl_ms,
            seq: session.seq,
            renewal: session.renewal,
            revision: self.counters().revision,
            claims: claims.collect(),
        })
    }
}
