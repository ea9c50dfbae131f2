//! What is wrong with a message, and the small checks that all conversions share.
//! In: raw fields. Out: checked values, or the field's name with its fault. Never: a panic.

use crate::table::id::{ClaimId, IdError, LockName, OwnerId, SessionId, SessionKey, Token};

/// A message that no peer of ours would send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {field}: {problem}")]
pub struct ConvertError {
    /// `Message.field`, as in the schema.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not there, or a variant that this version does not know.
    #[error("missing or unknown")]
    Missing,
    /// A number out of range.
    #[error("out of range")]
    Range,
    /// A list or byte string of the wrong length.
    #[error("has the wrong length")]
    Length,
    /// Not a valid name or id.
    #[error("{0}")]
    Id(IdError),
}

/// The result of a conversion.
pub(super) type Converted<T> = Result<T, ConvertError>;

pub(super) fn fault<T>(field: &'static str, problem: Problem) -> Converted<T> {
    Err(ConvertError { field, problem })
}

pub(super) fn present<T>(field: &'static str, value: Option<T>) -> Converted<T> {
    value.ok_or(ConvertError {
        field,
        problem: Problem::Missing,
    })
}

fn valid<T>(field: &'static str, parsed: Result<T, IdError>) -> Converted<T> {
    parsed.map_err(|error| ConvertError {
        field,
        problem: Problem::Id(error),
    })
}

pub(super) fn lock_name(field: &'static str, text: &str) -> Converted<LockName> {
    valid(field, LockName::parse(text))
}

pub(super) fn claim_id(field: &'static str, text: &str) -> Converted<ClaimId> {
    valid(field, ClaimId::parse(text))
}

pub(super) fn owner_id(field: &'static str, text: &str) -> Converted<OwnerId> {
    valid(field, OwnerId::parse(text))
}

/// No session has the number 0.
pub(super) fn session(field: &'static str, value: u64) -> Converted<SessionId> {
    if value == 0 {
        return Err(ConvertError {
            field,
            problem: Problem::Range,
        });
    }
    Ok(SessionId(value))
}

pub(super) fn token(field: &'static str, value: u64) -> Converted<Token> {
    Token::new(value).ok_or(ConvertError {
        field,
        problem: Problem::Range,
    })
}

pub(super) fn tokens<C: FromIterator<Token>>(
    field: &'static str,
    values: Vec<u64>,
) -> Converted<C> {
    values
        .into_iter()
        .map(|value| token(field, value))
        .collect()
}

pub(super) fn raw_tokens(tokens: &[Token]) -> Vec<u64> {
    tokens.iter().map(|token| token.get()).collect()
}

pub(super) fn session_key(field: &'static str, bytes: &[u8]) -> Converted<SessionKey> {
    match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) => Ok(SessionKey(u128::from_be_bytes(bytes))),
        Err(_) => fault(field, Problem::Length),
    }
}

/// Converts each element, stopping at the first fault.
pub(super) fn all<A, B, C>(list: Vec<A>) -> Converted<C>
where
    B: TryFrom<A, Error = ConvertError>,
    C: FromIterator<B>,
{
    list.into_iter().map(B::try_from).collect()
}

/// Encodes each element.
pub(super) fn each<'a, A, B>(list: &'a [A]) -> Vec<B>
where
    B: From<&'a A>,
{
    list.iter().map(B::from).collect()
}
