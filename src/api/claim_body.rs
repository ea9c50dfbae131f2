//! The JSON of a claim that comes in, checked against every bound.
//! In: bytes. Out: what the sidecar is asked, valid by construction. Never: a default that differs
//! from the documented one, or a field that is accepted and ignored.

use std::time::Duration;

use serde::de::MapAccess;
use utoipa::ToSchema;
use utoipa::openapi::{Object, ObjectBuilder, Type};

use super::body::{published, within};
use super::json::{Faults, Objects, Shape, Strings, Whole, read, value};
use super::problem::Problem;
use crate::config::limits;
use crate::sidecar::handle::ClaimAsk;
use crate::table::command::{Mode, Want};
use crate::table::id::{LockName, OwnerId, PRIORITY_MAX};

/// A request for one or more locks: exactly one of `lock` and `locks`.
#[derive(Debug, Default, ToSchema)]
#[schema(as = ClaimRequest, example = json!({"lock": "orders/42", "wait_ms": 5000}))]
pub(super) struct ClaimRequest {
    /// The one lock to claim, 1 to 512 bytes of UTF-8 without control characters.
    #[schema(nullable = false, value_type = Option<String>, min_length = 1, max_length = 512)]
    lock: Option<String>,
    /// Several locks to claim, all or nothing.
    #[schema(nullable = false, value_type = Option<Vec<WantRequest>>, min_items = 1, max_items = 64)]
    locks: Option<Objects<WantRequest, { limits::LOCKS_MAX }>>,
    /// How `lock` is wanted.
    #[schema(nullable = false, value_type = Option<LockMode>)]
    mode: Option<String>,
    /// How many permits of the semaphore `lock`; 1 if absent.
    #[schema(nullable = false, value_type = Option<u32>, minimum = 1, maximum = 1000000)]
    permits: Option<Whole>,
    /// How many permits the semaphore `lock` has.
    #[schema(nullable = false, value_type = Option<u32>, minimum = 1, maximum = 1000000)]
    limit: Option<Whole>,
    /// The app's lease: the claim ends unless renewed within it. 10000 if absent.
    #[schema(nullable = false, value_type = Option<u64>, minimum = 500, maximum = 86400000)]
    ttl_ms: Option<Whole>,
    /// How long to wait; 0 or absent tries once. With `queue`, 0 or absent waits as long as allowed.
    #[schema(nullable = false, value_type = Option<u64>, maximum = 3600000)]
    wait_ms: Option<Whole>,
    /// Answer 202 at once if it has to wait, and go on waiting without a connection.
    #[schema(nullable = false)]
    queue: Option<bool>,
    /// The sequential party that this claim belongs to, for deadlocks; the claim itself if absent.
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 128,
        pattern = "^[A-Za-z0-9._~-]+$"
    )]
    owner: Option<String>,
    /// Free text for people: at most 16 entries, keys of 64 and values of 256 bytes.
    #[schema(nullable = false, schema_with = metadata_schema)]
    metadata: Option<Strings>,
    /// What others observe while the claim holds, at most 4096 bytes.
    #[schema(nullable = false, max_length = 4096)]
    value: Option<String>,
    /// Higher goes first; 0 if absent.
    #[schema(nullable = false, value_type = Option<u8>, maximum = 9)]
    priority: Option<Whole>,
    /// A release before this much holding is delayed until then; 0 if absent.
    #[schema(nullable = false, value_type = Option<u64>, maximum = 86400000)]
    min_hold_ms: Option<Whole>,
}

fn metadata_schema() -> Object {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(limits::METADATA_VALUE_BYTES_MAX));
    let key = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(limits::METADATA_KEY_BYTES_MAX));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(
            "Free text for people: at most 16 entries, keys of 64 and values of 256 bytes.",
        ))
        .property_names(Some(key))
        .additional_properties(Some(text))
        .build()
}

/// One lock of a claim over several.
#[derive(Debug, Default, ToSchema)]
#[schema(as = WantRequest)]
pub(super) struct WantRequest {
    /// Its name, 1 to 512 bytes of UTF-8 without control characters.
    #[schema(value_type = String, min_length = 1, max_length = 512)]
    name: Option<String>,
    /// How it is wanted.
    #[schema(nullable = false, value_type = Option<LockMode>)]
    mode: Option<String>,
    /// How many permits of a semaphore; 1 if absent.
    #[schema(nullable = false, value_type = Option<u32>, minimum = 1, maximum = 1000000)]
    permits: Option<Whole>,
    /// How many permits the semaphore has.
    #[schema(nullable = false, value_type = Option<u32>, minimum = 1, maximum = 1000000)]
    limit: Option<Whole>,
}

/// How a lock is wanted; exclusive if absent, semaphore where `limit` is given.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(
    dead_code,
    reason = "only its schema is used: requests are read as text, for a clear refusal"
)]
pub(super) enum LockMode {
    Exclusive,
    Shared,
    Semaphore,
}

impl Shape for ClaimRequest {
    const FIELDS: &'static [&'static str] = &[
        "lock",
        "locks",
        "mode",
        "permits",
        "limit",
        "ttl_ms",
        "wait_ms",
        "queue",
        "owner",
        "metadata",
        "value",
        "priority",
        "min_hold_ms",
    ];

    fn take<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        let name = Self::FIELDS[index];
        match name {
            "lock" => self.lock = Some(value(name, map)?),
            "locks" => self.locks = Some(value(name, map)?),
            "mode" => self.mode = Some(value(name, map)?),
            "permits" => self.permits = Some(value(name, map)?),
            "limit" => self.limit = Some(value(name, map)?),
            "ttl_ms" => self.ttl_ms = Some(value(name, map)?),
            "wait_ms" => self.wait_ms = Some(value(name, map)?),
            "queue" => self.queue = Some(value(name, map)?),
            "owner" => self.owner = Some(value(name, map)?),
            "metadata" => self.metadata = Some(value(name, map)?),
            "value" => self.value = Some(value(name, map)?),
            "priority" => self.priority = Some(value(name, map)?),
            "min_hold_ms" => self.min_hold_ms = Some(value(name, map)?),
            other => unreachable!("{other} is not in FIELDS"),
        }
        Ok(())
    }

    fn inner_faults(&self, faults: &mut Faults) {
        for (place, want) in self.locks.iter().flat_map(|locks| &locks.0).enumerate() {
            faults.adopt(&format!("locks[{place}]"), want);
        }
    }
}

impl Shape for WantRequest {
    const FIELDS: &'static [&'static str] = &["name", "mode", "permits", "limit"];

    fn take<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        let name = Self::FIELDS[index];
        match name {
            "name" => self.name = Some(value(name, map)?),
            "mode" => self.mode = Some(value(name, map)?),
            "permits" => self.permits = Some(value(name, map)?),
            "limit" => self.limit = Some(value(name, map)?),
            other => unreachable!("{other} is not in FIELDS"),
        }
        Ok(())
    }
}

/// Reads and checks a claim.
pub(super) fn read_claim(bytes: &[u8]) -> Result<ClaimAsk, Problem> {
    let request: ClaimRequest = read(bytes)?;
    let locks = wants(&request)?;
    let queue = request.queue.unwrap_or(false);
    let mut wait_ms = within("wait_ms", request.wait_ms, 0, 0, limits::WAIT_MS_MAX)?;
    if queue && wait_ms == 0 {
        wait_ms = limits::WAIT_MS_MAX;
    }
    let ttl_ms = within(
        "ttl_ms",
        request.ttl_ms,
        limits::TTL_MS_DEFAULT,
        limits::TTL_MS_MIN,
        limits::TTL_MS_MAX,
    )?;
    let min_hold_ms = within(
        "min_hold_ms",
        request.min_hold_ms,
        0,
        0,
        limits::MIN_HOLD_MS_MAX,
    )?;
    let priority = within("priority", request.priority, 0, 0, u64::from(PRIORITY_MAX))?;
    let owner = match &request.owner {
        None => None,
        Some(owner) => Some(
            OwnerId::parse(owner).map_err(|error| Problem::invalid(format!("`owner` {error}")))?,
        ),
    };
    let metadata = request.metadata.unwrap_or_default();
    check_metadata(&metadata)?;
    Ok(ClaimAsk {
        locks,
        ttl: Duration::from_millis(ttl_ms),
        wait: Duration::from_millis(wait_ms),
        queue,
        owner,
        metadata: metadata.0,
        value: published(request.value)?,
        priority: u8::try_from(priority).expect("checked to be at most 9"),
        min_hold: Duration::from_millis(min_hold_ms),
    })
}

fn wants(request: &ClaimRequest) -> Result<Vec<Want>, Problem> {
    match (&request.lock, &request.locks) {
        (Some(name), None) => Ok(vec![want(
            "lock",
            name,
            "",
            request.mode.as_deref(),
            request.permits,
            request.limit,
        )?]),
        (None, Some(locks)) => {
            if request.mode.is_some() || request.permits.is_some() || request.limit.is_some() {
                return Err(Problem::invalid(
                    "with `locks`, `mode`, `permits` and `limit` belong into its items",
                ));
            }
            several(&locks.0)
        }
        (Some(_), Some(_)) => Err(Problem::invalid("give either `lock` or `locks`, not both")),
        (None, None) => Err(Problem::invalid("give `lock`, or `locks` for several")),
    }
}

fn several(items: &[super::json::Object<WantRequest>]) -> Result<Vec<Want>, Problem> {
    if items.is_empty() {
        return Err(Problem::invalid("`locks` must not be empty"));
    }
    let mut wants: Vec<Want> = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let path = format!("locks[{place}].");
        let item = &item.shape;
        let name = item
            .name
            .as_deref()
            .ok_or_else(|| Problem::invalid(format!("`{path}name` is missing")))?;
        let field = format!("{path}name");
        let want = want(
            &field,
            name,
            &path,
            item.mode.as_deref(),
            item.permits,
            item.limit,
        )?;
        if wants.iter().any(|earlier| earlier.name == want.name) {
            return Err(Problem::invalid(format!(
                "`{field}` names a lock for the second time"
            )));
        }
        wants.push(want);
    }
    Ok(wants)
}

fn want(
    field: &str,
    name: &str,
    path: &str,
    mode: Option<&str>,
    permits: Option<Whole>,
    limit: Option<Whole>,
) -> Result<Want, Problem> {
    let name =
        LockName::parse(name).map_err(|error| Problem::invalid(format!("`{field}` {error}")))?;
    let semaphore = permits.is_some() || limit.is_some();
    let mode = match mode {
        None if semaphore => "semaphore",
        None => "exclusive",
        Some(mode) => mode,
    };
    let mode = match (mode, semaphore) {
        ("exclusive", false) => Mode::Exclusive,
        ("shared", false) => Mode::Shared,
        ("semaphore", _) => self::semaphore(path, permits, limit)?,
        ("exclusive" | "shared", true) => {
            return Err(Problem::invalid(format!(
                "`{path}permits` and `{path}limit` go with the mode semaphore, not {mode}"
            )));
        }
        (other, _) => {
            return Err(Problem::invalid(format!(
                "`{path}mode` must be exclusive, shared or semaphore, not {other:?}"
            )));
        }
    };
    Ok(Want { name, mode })
}

fn semaphore(path: &str, permits: Option<Whole>, limit: Option<Whole>) -> Result<Mode, Problem> {
    if limit.is_none() {
        return Err(Problem::invalid(format!("a semaphore needs `{path}limit`")));
    }
    let limit = within(&format!("{path}limit"), limit, 1, 1, limits::PERMITS_MAX)?;
    let permits = within(
        &format!("{path}permits"),
        permits,
        1,
        1,
        limits::PERMITS_MAX,
    )?;
    if permits > limit {
        return Err(Problem::invalid(format!(
            "`{path}permits` must be at most `{path}limit`, {limit}"
        )));
    }
    let narrow = |number| u32::try_from(number).expect("checked to be at most 1,000,000");
    Ok(Mode::Semaphore {
        permits: narrow(permits),
        limit: narrow(limit),
    })
}

fn check_metadata(metadata: &Strings) -> Result<(), Problem> {
    if metadata.0.len() > limits::METADATA_ENTRIES_MAX {
        return Err(Problem::invalid(format!(
            "`metadata` must have at most {} entries",
            limits::METADATA_ENTRIES_MAX
        )));
    }
    for (key, text) in &metadata.0 {
        if key.is_empty() || key.len() > limits::METADATA_KEY_BYTES_MAX {
            return Err(Problem::invalid(format!(
                "a key of `metadata` must have 1 to {} bytes",
                limits::METADATA_KEY_BYTES_MAX
            )));
        }
        if text.len() > limits::METADATA_VALUE_BYTES_MAX {
            return Err(Problem::invalid(format!(
                "`metadata.{key}` must have at most {} bytes",
                limits::METADATA_VALUE_BYTES_MAX
            )));
        }
    }
    Ok(())
}
