//! What sidecar and core tell each other of delegations, and what is kept of them on disk.
//! In: the table's types. Out: messages, and the same way back. Never: a token without a block.

use super::error::{
    ConvertError, Converted, Problem, all, claim_id, each, fault, owner_id, present, token,
};
use super::reply::grant;
use super::request::{end_cause, mode, priority, raw_mode};
use crate::table::attachment::AttachedDelegation;
use crate::table::command::{Delegated, Kept, LocalEnd, Operation, OperationReply, Return, User};
use crate::table::delegation::{Patience, Pledge, Recall};
use crate::table::id::{Revision, Seq, SessionId, Token};
use crate::table::token::TokenBlock;
use crate::wire::{disk, v1};

impl From<TokenBlock> for v1::TokenBlock {
    fn from(block: TokenBlock) -> Self {
        Self {
            first: block.first().map_or(0, Token::get),
            len: block.len(),
        }
    }
}

impl TryFrom<v1::TokenBlock> for TokenBlock {
    type Error = ConvertError;

    fn try_from(block: v1::TokenBlock) -> Converted<Self> {
        if block.len == 0 {
            return Ok(Self::default());
        }
        match Self::new(block.first, block.len) {
            Some(block) => Ok(block),
            None => fault("TokenBlock.first", Problem::Range),
        }
    }
}

impl From<&User> for v1::User {
    fn from(user: &User) -> Self {
        Self {
            claim_id: user.claim_id.to_string(),
            owner: user.owner.to_string(),
            trace_id: user.trace_id.to_string(),
        }
    }
}

impl TryFrom<v1::User> for User {
    type Error = ConvertError;

    fn try_from(user: v1::User) -> Converted<Self> {
        Ok(Self {
            claim_id: claim_id("User.claim_id", &user.claim_id)?,
            owner: owner_id("User.owner", &user.owner)?,
            trace_id: user.trace_id.into(),
        })
    }
}

impl From<&Kept> for v1::Kept {
    fn from(kept: &Kept) -> Self {
        let (mode, permits, limit) = raw_mode(kept.mode);
        Self {
            user: Some((&kept.user).into()),
            mode: mode.into(),
            permits,
            limit,
            token: kept.token.get(),
            priority: kept.priority.into(),
            metadata: kept.metadata.clone(),
        }
    }
}

impl TryFrom<v1::Kept> for Kept {
    type Error = ConvertError;

    fn try_from(kept: v1::Kept) -> Converted<Self> {
        Ok(Self {
            user: present("Kept.user", kept.user)?.try_into()?,
            mode: mode("Kept.mode", kept.mode, kept.permits, kept.limit)?,
            token: token("Kept.token", kept.token)?,
            priority: priority("Kept.priority", kept.priority)?,
            metadata: kept.metadata,
        })
    }
}

impl From<&LocalEnd> for v1::LocalEnd {
    fn from(end: &LocalEnd) -> Self {
        let (mode, permits, limit) = raw_mode(end.mode);
        Self {
            user: Some((&end.user).into()),
            mode: mode.into(),
            permits,
            limit,
            token: end.token.get(),
            cause: v1::EndCause::from(end.cause).into(),
            waited_ms: end.waited_ms,
            held_ms: end.held_ms,
        }
    }
}

impl TryFrom<v1::LocalEnd> for LocalEnd {
    type Error = ConvertError;

    fn try_from(end: v1::LocalEnd) -> Converted<Self> {
        Ok(Self {
            user: present("LocalEnd.user", end.user)?.try_into()?,
            mode: mode("LocalEnd.mode", end.mode, end.permits, end.limit)?,
            token: token("LocalEnd.token", end.token)?,
            cause: end_cause("LocalEnd.cause", end.cause)?,
            waited_ms: end.waited_ms,
            held_ms: end.held_ms,
        })
    }
}

impl From<&Return> for v1::Return {
    fn from(back: &Return) -> Self {
        Self {
            delegation: back.delegation.0,
            newest: back.newest.map_or(0, Token::get),
            newest_exclusive: back.newest_exclusive.map_or(0, Token::get),
            grants: back.grants,
            kept: each(&back.kept),
            ended: each(&back.ended),
        }
    }
}

impl TryFrom<v1::Return> for Return {
    type Error = ConvertError;

    fn try_from(back: v1::Return) -> Converted<Self> {
        let newest = |field, raw| match raw {
            0 => Ok(None),
            raw => token(field, raw).map(Some),
        };
        Ok(Self {
            delegation: Seq(back.delegation),
            newest: newest("Return.newest", back.newest)?,
            newest_exclusive: newest("Return.newest_exclusive", back.newest_exclusive)?,
            grants: back.grants,
            kept: all(back.kept)?,
            ended: all(back.ended)?,
        })
    }
}

/// The message of an operation about a delegation; `None` for one about a plain claim.
pub(super) fn operation(operation: &Operation) -> Option<v1::operation::Operation> {
    use v1::operation::Operation as Wire;
    Some(match operation {
        Operation::Delegate { acquire, block } => Wire::Delegate(v1::Delegate {
            acquire: Some(acquire.into()),
            block: *block,
        }),
        Operation::Return(back) => Wire::ReturnDelegation(back.into()),
        Operation::InUse { delegation, user } => Wire::InUse(v1::InUse {
            delegation: delegation.0,
            user: Some(user.into()),
        }),
        Operation::Refill { delegation, block } => Wire::Refill(v1::Refill {
            delegation: delegation.0,
            block: *block,
        }),
        Operation::Rename {
            claim,
            user,
            priority,
        } => Wire::Rename(v1::Rename {
            claim: claim.0,
            user: Some(user.into()),
            priority: (*priority).into(),
        }),
        Operation::Acquire(_)
        | Operation::Release(_)
        | Operation::SetValue { .. }
        | Operation::Close
        | Operation::Denied(_) => return None,
    })
}

impl TryFrom<v1::Delegate> for Operation {
    type Error = ConvertError;

    fn try_from(ask: v1::Delegate) -> Converted<Self> {
        Ok(Self::Delegate {
            acquire: present("Delegate.acquire", ask.acquire)?.try_into()?,
            block: ask.block,
        })
    }
}

impl TryFrom<v1::InUse> for Operation {
    type Error = ConvertError;

    fn try_from(told: v1::InUse) -> Converted<Self> {
        Ok(Self::InUse {
            delegation: Seq(told.delegation),
            user: present("InUse.user", told.user)?.try_into()?,
        })
    }
}

impl TryFrom<v1::Rename> for Operation {
    type Error = ConvertError;

    fn try_from(ask: v1::Rename) -> Converted<Self> {
        Ok(Self::Rename {
            claim: Seq(ask.claim),
            user: present("Rename.user", ask.user)?.try_into()?,
            priority: priority("Rename.priority", ask.priority)?,
        })
    }
}

impl From<&Delegated> for v1::Delegated {
    fn from(delegated: &Delegated) -> Self {
        Self {
            grant: Some((&delegated.grant).into()),
            block: Some(delegated.block.into()),
        }
    }
}

pub(super) fn delegated(session: SessionId, delegated: v1::Delegated) -> Converted<Delegated> {
    Ok(Delegated {
        grant: grant(session, present("Delegated.grant", delegated.grant)?)?,
        block: present("Delegated.block", delegated.block)?.try_into()?,
    })
}

/// The message of a reply about a delegation; `None` for one about a plain claim.
pub(super) fn reply(reply: &OperationReply) -> Option<v1::operation_reply::Outcome> {
    use v1::operation_reply::Outcome as Wire;
    Some(match reply {
        OperationReply::Delegated(delegated) => Wire::Delegated(delegated.into()),
        OperationReply::Returned { revision, kept } => Wire::Returned(v1::Returned {
            revision: revision.0,
            kept: *kept,
        }),
        OperationReply::Refilled(block) => Wire::Refilled(v1::Refilled {
            block: block.map(Into::into),
        }),
        OperationReply::Noted => Wire::Noted(v1::Noted {}),
        OperationReply::Granted(_)
        | OperationReply::Queued { .. }
        | OperationReply::Refused(_)
        | OperationReply::Ended { .. }
        | OperationReply::ValueSet(_)
        | OperationReply::Closed => return None,
    })
}

impl From<v1::Returned> for OperationReply {
    fn from(returned: v1::Returned) -> Self {
        Self::Returned {
            revision: Revision(returned.revision),
            kept: returned.kept,
        }
    }
}

impl TryFrom<v1::Refilled> for OperationReply {
    type Error = ConvertError;

    fn try_from(refilled: v1::Refilled) -> Converted<Self> {
        let block = refilled.block.map(TokenBlock::try_from).transpose()?;
        Ok(Self::Refilled(block))
    }
}

/// What an attach tells of a claim besides, if it is a delegation.
pub(super) fn attached(claim: &v1::AttachedClaim) -> Converted<Option<AttachedDelegation>> {
    let Some(block) = claim.block else {
        return Ok(None);
    };
    Ok(Some(AttachedDelegation {
        block: block.try_into()?,
        recalled: claim.recalled,
        answer: claim.answer,
    }))
}

impl From<Patience> for disk::Patience {
    fn from(patience: Patience) -> Self {
        match patience {
            Patience::Turn => Self::Turn,
            Patience::Answers => Self::Answers,
            Patience::Limit => Self::Limit,
        }
    }
}

impl From<&Pledge> for disk::Pledge {
    fn from(pledge: &Pledge) -> Self {
        use disk::pledge::Pledge as Wire;
        let pledge = match pledge {
            Pledge::Asked { block, patience } => Wire::Asked(disk::PledgeAsked {
                block: *block,
                patience: disk::Patience::from(*patience).into(),
            }),
            Pledge::Given { block, recall } => {
                let (stage, user) = match recall {
                    Recall::None => (disk::RecallStage::None, None),
                    Recall::Asked => (disk::RecallStage::Asked, None),
                    Recall::AnswerWanted => (disk::RecallStage::AnswerWanted, None),
                    Recall::InUse(user) => (disk::RecallStage::InUse, Some(user)),
                };
                Wire::Given(disk::PledgeGiven {
                    block: Some((*block).into()),
                    recall: stage.into(),
                    user: user.map(|user| v1::User::from(&**user)),
                })
            }
        };
        Self {
            pledge: Some(pledge),
        }
    }
}

impl TryFrom<disk::Pledge> for Pledge {
    type Error = ConvertError;

    fn try_from(pledge: disk::Pledge) -> Converted<Self> {
        use disk::pledge::Pledge as Wire;
        Ok(match present("Pledge.pledge", pledge.pledge)? {
            Wire::Asked(asked) => Self::Asked {
                block: asked.block,
                patience: match disk::Patience::try_from(asked.patience) {
                    Ok(disk::Patience::Turn) => Patience::Turn,
                    Ok(disk::Patience::Answers) => Patience::Answers,
                    Ok(disk::Patience::Limit) => Patience::Limit,
                    Err(_) => return fault("PledgeAsked.patience", Problem::Range),
                },
            },
            Wire::Given(given) => Self::Given {
                block: present("PledgeGiven.block", given.block)?.try_into()?,
                recall: match disk::RecallStage::try_from(given.recall) {
                    Ok(disk::RecallStage::None) => Recall::None,
                    Ok(disk::RecallStage::Asked) => Recall::Asked,
                    Ok(disk::RecallStage::AnswerWanted) => Recall::AnswerWanted,
                    Ok(disk::RecallStage::InUse) => {
                        let user = present("PledgeGiven.user", given.user)?;
                        Recall::InUse(Box::new(user.try_into()?))
                    }
                    Err(_) => return fault("PledgeGiven.recall", Problem::Missing),
                },
            },
        })
    }
}
