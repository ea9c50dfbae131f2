//! What the core tells a session unasked: events, and all it holds when it attaches.
//! In: effects and attachments of the table. Out: parts of a `CoreFrame`, and the same way back.
//! Never: an effect that is no session's business.

use super::delegation;
use super::error::{
    ConvertError, Converted, all, claim_id, each, present, raw_tokens, session, tokens,
};
use super::reply::{claim_ref, grant};
use super::request::end_cause;
use crate::table::attachment::{AttachedClaim, Attachment};
use crate::table::command::{Effect, Party};
use crate::table::id::{ClaimRef, Generation, RenewalNumber, Revision, Seq, SessionId};
use crate::wire::v1;

/// The event by which a session learns of an effect, with that session; `None` for effects that are no
/// session's business (timers and watches).
pub fn event(effect: &Effect) -> Option<(SessionId, v1::Event)> {
    use v1::event::Event as Wire;
    let (session, event) = match effect {
        Effect::Granted(grant) => (grant.claim.session, Wire::Granted(grant.into())),
        Effect::ClaimEnded {
            claim,
            revision,
            cause,
            cycle,
        } => {
            let ended = v1::ClaimEnded {
                claim: claim.seq.0,
                revision: revision.0,
                cause: v1::EndCause::from(*cause).into(),
                cycle: each(cycle),
            };
            (claim.session, Wire::ClaimEnded(ended))
        }
        Effect::BreakAsked { claim, revision } => {
            let asked = v1::BreakAsked {
                claim: claim.seq.0,
                revision: revision.0,
            };
            (claim.session, Wire::BreakAsked(asked))
        }
        Effect::SessionEnded { session, cause } => {
            let ended = v1::SessionEnded {
                session: session.0,
                cause: v1::EndCause::from(*cause).into(),
            };
            (*session, Wire::SessionEnded(ended))
        }
        Effect::Delegated(delegated) => (
            delegated.grant.claim.session,
            Wire::Delegated(delegated.into()),
        ),
        Effect::Recalled {
            claim,
            revision,
            answer,
            wanted_by,
        } => {
            let recalled = recalled(*claim, *revision, *answer, wanted_by.as_ref());
            (claim.session, Wire::Recalled(recalled))
        }
        Effect::Wanted { claim } => {
            let claim_seq = claim.seq.0;
            (claim.session, Wire::Wanted(v1::Wanted { claim: claim_seq }))
        }
        Effect::Refused {
            claim,
            revision,
            refusal,
        } => {
            let refused = v1::Refused {
                claim: claim.seq.0,
                revision: revision.0,
                refusal: Some(refusal.into()),
            };
            (claim.session, Wire::Refused(refused))
        }
        Effect::SessionTimer { .. }
        | Effect::DelayTimer { .. }
        | Effect::OrderInverted(_)
        | Effect::LockChanged { .. } => return None,
    };
    Some((session, v1::Event { event: Some(event) }))
}

fn recalled(
    claim: ClaimRef,
    revision: Revision,
    answer: bool,
    wanted_by: Option<&Party>,
) -> v1::Recalled {
    v1::Recalled {
        claim: claim.seq.0,
        revision: revision.0,
        answer,
        wanted_by: wanted_by.map(Into::into),
    }
}

/// The effect of which `session` is told by an event.
pub fn effect(session: SessionId, event: v1::Event) -> Result<Effect, ConvertError> {
    use v1::event::Event as Wire;
    Ok(match present("Event.event", event.event)? {
        Wire::Granted(granted) => Effect::Granted(grant(session, granted)?),
        Wire::ClaimEnded(ended) => Effect::ClaimEnded {
            claim: claim_ref(session, ended.claim),
            revision: Revision(ended.revision),
            cause: end_cause("ClaimEnded.cause", ended.cause)?,
            cycle: all(ended.cycle)?,
        },
        Wire::BreakAsked(asked) => Effect::BreakAsked {
            claim: claim_ref(session, asked.claim),
            revision: Revision(asked.revision),
        },
        Wire::Delegated(delegated) => Effect::Delegated(delegation::delegated(session, delegated)?),
        Wire::Recalled(recalled) => Effect::Recalled {
            claim: claim_ref(session, recalled.claim),
            revision: Revision(recalled.revision),
            answer: recalled.answer,
            wanted_by: recalled.wanted_by.map(Party::try_from).transpose()?,
        },
        Wire::Wanted(wanted) => Effect::Wanted {
            claim: claim_ref(session, wanted.claim),
        },
        Wire::Refused(refused) => Effect::Refused {
            claim: claim_ref(session, refused.claim),
            revision: Revision(refused.revision),
            refusal: present("Refused.refusal", refused.refusal)?.try_into()?,
        },
        Wire::SessionEnded(ended) => Effect::SessionEnded {
            session: SessionId(ended.session),
            cause: end_cause("SessionEnded.cause", ended.cause)?,
        },
    })
}

impl From<&Attachment> for v1::Attached {
    fn from(attachment: &Attachment) -> Self {
        Self {
            session: attachment.session.0,
            generation: attachment.generation.0,
            ttl_ms: attachment.ttl_ms,
            seq: attachment.seq.0,
            renewal: attachment.renewal.0,
            revision: attachment.revision.0,
            claims: each(&attachment.claims),
            unknown: false,
        }
    }
}

impl TryFrom<v1::Attached> for Attachment {
    type Error = ConvertError;

    fn try_from(attached: v1::Attached) -> Converted<Self> {
        let session = session("Attached.session", attached.session)?;
        let claims = attached.claims.into_iter().map(|claim| {
            Ok(AttachedClaim {
                delegation: delegation::attached(&claim)?,
                claim: claim_ref(session, claim.claim),
                claim_id: claim_id("AttachedClaim.claim_id", &claim.claim_id)?,
                tokens: tokens("AttachedClaim.tokens", claim.tokens)?,
                breaking: claim.breaking,
            })
        });
        Ok(Self {
            session,
            generation: Generation(attached.generation),
            ttl_ms: attached.ttl_ms,
            seq: Seq(attached.seq),
            renewal: RenewalNumber(attached.renewal),
            revision: Revision(attached.revision),
            claims: claims.collect::<Converted<_>>()?,
        })
    }
}

impl From<&AttachedClaim> for v1::AttachedClaim {
    fn from(claim: &AttachedClaim) -> Self {
        Self {
            claim: claim.claim.seq.0,
            claim_id: claim.claim_id.to_string(),
            tokens: raw_tokens(&claim.tokens),
            breaking: claim.breaking,
            block: claim.delegation.as_ref().map(|held| held.block.into()),
            recalled: claim.delegation.as_ref().is_some_and(|held| held.recalled),
            answer: claim.delegation.as_ref().is_some_and(|held| held.answer),
        }
    }
}
