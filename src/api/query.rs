//! What the path and the query string say, decoded strictly.
//! In: a request's URI. Out: names, ids and parameters. Never: a lenient decode (`%zz` is refused
//! rather than taken as it stands), an unknown or repeated parameter.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::Uri;

use super::problem::Problem;
use crate::config::limits;
use crate::sidecar::handle::{Consistency, LockQuery, LockStateFilter};
use crate::table::id::{ClaimId, LOCK_NAME_BYTES_MAX, LockName};

/// Which part of `/v1/claims/{claim_id}/...` and `/v1/locks/{name}/...` names the thing.
const NAME_SEGMENT: usize = 3;

/// The claim that the path names.
pub(super) fn claim_id(uri: &Uri) -> Result<ClaimId, Problem> {
    let text = decode(segment(uri), false)?;
    ClaimId::parse(&text).map_err(|error| Problem::invalid(format!("the claim id {error}")))
}

/// The lock that the path names.
pub(super) fn lock_name(uri: &Uri) -> Result<LockName, Problem> {
    let text = decode(segment(uri), false)?;
    LockName::parse(&text).map_err(|error| Problem::invalid(format!("the lock name {error}")))
}

/// The raw segment: the router has matched it, still encoded, so `%2F` in it is part of the name.
fn segment(uri: &Uri) -> &str {
    uri.path().split('/').nth(NAME_SEGMENT).unwrap_or("")
}

/// Decodes percent-encoding; `plus` makes a space of `+`, as forms do.
fn decode(text: &str, plus: bool) -> Result<Cow<'_, str>, Problem> {
    let encoded = text.contains('%') || (plus && text.contains('+'));
    if !encoded && text.is_ascii() {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let low = rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(Problem::invalid(
                        "bad percent-encoding: `%` must be followed by two hexadecimal digits",
                    ));
                };
                u8::try_from(high * 16 + low).expect("two hexadecimal digits make a byte")
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Owned(text)),
        Err(_) => Err(Problem::invalid("what is percent-encoded must be UTF-8")),
    }
}

/// The parameters of a query string.
#[derive(Debug)]
pub(super) struct Query<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Refuses all parameters but these, by name.
    pub(super) fn read(uri: &'a Uri, known: &'static [&'static str]) -> Result<Self, Problem> {
        let mut found: Vec<(&'static str, Cow<'a, str>)> = Vec::new();
        let mut unknown: Vec<String> = Vec::new();
        let pairs = uri.query().unwrap_or("").split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, true)?;
            match known.iter().find(|known| **known == name) {
                None => unknown.push(name.into_owned()),
                Some(name) if found.iter().any(|(earlier, _)| earlier == name) => {
                    return Err(Problem::invalid(format!(
                        "the parameter `{name}` is given more than once"
                    )));
                }
                Some(name) => found.push((name, decode(text, true)?)),
            }
        }
        if unknown.is_empty() {
            return Ok(Self(found));
        }
        let problem = Problem::invalid(format!("unknown parameters: {}", unknown.join(", ")));
        Err(problem.with("unknown_parameters", unknown))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, text)| &**text)
    }

    fn number(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(Problem::invalid(format!(
                "the parameter `{name}` must be a whole number between {min} and {max}"
            ))),
        }
    }

    /// `bind`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::invalid(format!(
                "the parameter `{name}` must be true or false"
            ))),
        }
    }

    /// A parameter with words of ours; `words` lists them for people.
    pub(super) fn word<T>(
        &self,
        name: &str,
        words: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let word = parse(text);
        let wrong = || Problem::invalid(format!("the parameter `{name}` must be {words}"));
        word.map(Some).ok_or_else(wrong)
    }

    /// `limit` alone.
    pub(super) fn limit(&self, default: u32, max: u32) -> Result<u32, Problem> {
        let limit = self.number("limit", 1, max.into())?;
        Ok(limit.map_or(default, |limit| u32::try_from(limit).unwrap_or(max)))
    }

    /// `limit` and `cursor`; cursors of ours pass `ours`.
    pub(super) fn page(
        &self,
        ours: impl Fn(&str) -> bool,
    ) -> Result<(usize, Option<String>), Problem> {
        let limit = self.number("limit", 1, limits::PAGE_MAX)?;
        let limit = usize::try_from(limit.unwrap_or(limits::PAGE_DEFAULT))
            .expect("checked to be at most 1000");
        match self.text("cursor") {
            Some(cursor) if !ours(cursor) => {
                Err(Problem::invalid("the parameter `cursor` is none of ours"))
            }
            cursor => Ok((limit, cursor.map(str::to_owned))),
        }
    }

    /// `wait_revision` and `wait_ms`.
    pub(super) fn poll(&self) -> Result<Poll, Problem> {
        // Revisions are below 2^63, so that clients with signed integers can name each.
        let after = self.number("wait_revision", 0, i64::MAX as u64)?;
        let wait = self.number("wait_ms", 0, limits::WAIT_MS_MAX)?;
        let default = after.map_or(0, |_| limits::LONG_POLL_MS_DEFAULT);
        Ok(Poll {
            after,
            wait: Duration::from_millis(wait.unwrap_or(default)),
        })
    }

    /// `consistency`.
    pub(super) fn consistency(&self) -> Result<Consistency, Problem> {
        match self.text("consistency") {
            None | Some("available") => Ok(Consistency::Available),
            Some("linearizable") => Ok(Consistency::Linearizable),
            Some("cached") => Ok(Consistency::Cached),
            Some(_) => Err(Problem::invalid(
                "the parameter `consistency` must be available, linearizable or cached",
            )),
        }
    }

    /// All that a list of locks takes.
    pub(super) fn locks(&self) -> Result<LockQuery, Problem> {
        let state = match self.text("state") {
            None => None,
            Some("held") => Some(LockStateFilter::Held),
            Some("contended") => Some(LockStateFilter::Contended),
            Some("closed") => Some(LockStateFilter::Closed),
            Some(_) => {
                return Err(Problem::invalid(
                    "the parameter `state` must be held, contended or closed (there is no end to \
                     the free locks)",
                ));
            }
        };
        let (limit, cursor) = self.page(|cursor| LockName::parse(cursor).is_ok())?;
        let prefix = self.text("prefix").unwrap_or("");
        if prefix.len() > LOCK_NAME_BYTES_MAX {
            return Err(Problem::invalid(format!(
                "the parameter `prefix` must have at most {LOCK_NAME_BYTES_MAX} bytes"
            )));
        }
        Ok(LockQuery {
            prefix: prefix.to_owned(),
            state,
            limit,
            cursor,
            consistency: self.consistency()?,
        })
    }
}

/// A long-poll: what revision the caller has seen, and how long it will wait for a later one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Poll {
    /// `None`: whatever it is now.
    pub(super) after: Option<u64>,
    /// Zero answers at once.
    pub(super) wait: Duration,
}
