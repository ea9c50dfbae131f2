//! The JSON that comes in besides claims: renew, verify and break, and the bounds all share.
//! In: bytes. Out: what the sidecar is asked, valid by construction. Never: a field that is
//! accepted and ignored.

use std::sync::Arc;
use std::time::Duration;

use serde::de::MapAccess;
use utoipa::ToSchema;

use super::json::{Shape, Whole, read, value};
use super::problem::Problem;
use crate::config::limits;
use crate::table::id::{TOKEN_MAX, Token};

/// Renews the app's lease; all fields may be absent, and the body too.
#[derive(Debug, Default, ToSchema)]
#[schema(as = RenewRequest, example = json!({"ttl_ms": 10000}))]
pub(super) struct RenewRequest {
    /// Another lease from now on; the earlier one if absent.
    #[schema(nullable = false, value_type = Option<u64>, minimum = 500, maximum = 86400000)]
    ttl_ms: Option<Whole>,
    /// What others observe from now on, at most 4096 bytes.
    #[schema(nullable = false, max_length = 4096)]
    value: Option<String>,
}

impl Shape for RenewRequest {
    const FIELDS: &'static [&'static str] = &["ttl_ms", "value"];

    fn take<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        let name = Self::FIELDS[index];
        match name {
            "ttl_ms" => self.ttl_ms = Some(value(name, map)?),
            "value" => self.value = Some(value(name, map)?),
            other => unreachable!("{other} is not in FIELDS"),
        }
        Ok(())
    }
}

/// Reads a body that has nothing to say.
pub(super) fn nothing(bytes: &[u8]) -> Result<(), Problem> {
    if bytes.is_empty() {
        return Ok(());
    }
    let Nothing: Nothing = read(bytes)?;
    Ok(())
}

#[derive(Default)]
struct Nothing;

impl Shape for Nothing {
    const FIELDS: &'static [&'static str] = &[];

    fn take<'de, A: MapAccess<'de>>(&mut self, index: usize, _map: &mut A) -> Result<(), A::Error> {
        unreachable!("there is no field {index}")
    }
}

/// Reads and checks a renewal: another lease and a value, each if given.
pub(super) fn renewal(bytes: &[u8]) -> Result<(Option<Duration>, Option<Arc<str>>), Problem> {
    if bytes.is_empty() {
        return Ok((None, None));
    }
    let request: RenewRequest = read(bytes)?;
    let ttl = match request.ttl_ms {
        None => None,
        ttl => Some(within(
            "ttl_ms",
            ttl,
            0,
            limits::TTL_MS_MIN,
            limits::TTL_MS_MAX,
        )?),
    };
    Ok((ttl.map(Duration::from_millis), published(request.value)?))
}

/// Asks what a token is worth.
#[derive(Debug, Default, ToSchema)]
#[schema(as = VerifyRequest, example = json!({"token": 42}))]
pub(super) struct VerifyRequest {
    /// The fencing token.
    #[schema(value_type = u64, minimum = 1, maximum = 9007199254740991_i64)]
    token: Option<Whole>,
}

impl Shape for VerifyRequest {
    const FIELDS: &'static [&'static str] = &["token"];

    fn take<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        self.token = Some(value(Self::FIELDS[index], map)?);
        Ok(())
    }
}

/// Reads and checks the token to verify.
pub(super) fn token(bytes: &[u8]) -> Result<Token, Problem> {
    let request: VerifyRequest = read(bytes)?;
    let Whole(token) = request
        .token
        .ok_or_else(|| Problem::invalid("`token` is missing"))?;
    Token::new(token)
        .ok_or_else(|| Problem::invalid(format!("`token` must be between 1 and {TOKEN_MAX}")))
}

/// Takes a lock away from its holders.
#[derive(Debug, Default, ToSchema)]
#[schema(as = BreakRequest, example = json!({"reason": "host is gone", "force": false}))]
pub(super) struct BreakRequest {
    /// Why; kept in the lock's history.
    #[schema(value_type = String, min_length = 1, max_length = 512)]
    reason: Option<String>,
    /// Free it at once, although the old holder may still act.
    #[schema(nullable = false)]
    force: Option<bool>,
}

impl Shape for BreakRequest {
    const FIELDS: &'static [&'static str] = &["reason", "force"];

    fn take<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        let name = Self::FIELDS[index];
        match name {
            "reason" => self.reason = Some(value(name, map)?),
            "force" => self.force = Some(value(name, map)?),
            other => unreachable!("{other} is not in FIELDS"),
        }
        Ok(())
    }
}

/// Reads and checks a break: the reason, and whether by force.
pub(super) fn breaking(bytes: &[u8]) -> Result<(Arc<str>, bool), Problem> {
    let request: BreakRequest = read(bytes)?;
    match request.reason {
        Some(reason) if (1..=limits::REASON_BYTES_MAX).contains(&reason.len()) => {
            Ok((reason.into(), request.force.unwrap_or(false)))
        }
        Some(_) => Err(Problem::invalid(format!(
            "`reason` must have 1 to {} bytes",
            limits::REASON_BYTES_MAX
        ))),
        None => Err(Problem::invalid("`reason` is missing")),
    }
}

/// The number if it is there and within its bounds, else the default.
pub(super) fn within(
    field: &str,
    number: Option<Whole>,
    default: u64,
    min: u64,
    max: u64,
) -> Result<u64, Problem> {
    let Some(Whole(number)) = number else {
        return Ok(default);
    };
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(Problem::invalid(format!(
        "`{field}` must be between {min} and {max}, not {number}"
    )))
}

/// A `value` within its bound.
pub(super) fn published(value: Option<String>) -> Result<Option<Arc<str>>, Problem> {
    match value {
        Some(value) if value.len() > limits::VALUE_BYTES_MAX => Err(Problem::invalid(format!(
            "`value` must have at most {} bytes",
            limits::VALUE_BYTES_MAX
        ))),
        value => Ok(value.map(Arc::from)),
    }
}
