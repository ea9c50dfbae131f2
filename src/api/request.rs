//! What a request brings besides its path: trace, accepted media types, body.
//! In: headers and body frames. Out: checked pieces. Never: a body without bound in size or time,
//! or one that is not declared as JSON.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::problem::{Code, Problem};
use crate::config::limits;

/// Reads the body of a request that must have one.
pub(super) async fn json(request: Request) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    check_type(&parts.headers)?;
    collect(&parts.headers, body).await
}

/// Reads the body of a request that may have none.
pub(super) async fn optional_json(request: Request) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = collect(&parts.headers, body).await?;
    if !bytes.is_empty() {
        check_type(&parts.headers)?;
    }
    Ok(bytes)
}

fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |detail: &'static str| {
        Err(Problem::new(Code::UnsupportedMediaType, detail)
            .header(header::ACCEPT, "application/json"))
    };
    let declared = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = declared
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case("application/json") => {}
        Some(_) => return refuse("send the header `Content-Type: application/json`"),
        None => return refuse("add the header `Content-Type: application/json`"),
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            refuse("send the body as it is, without the header `Content-Encoding`")
        }
        _ => Ok(()),
    }
}

async fn collect(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits::BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    // The time limit only wakes us up; what it decides is that nobody reads this body any further.
    match tokio::time::timeout(limits::BODY_READ_TIMEOUT, frames(body)).await {
        Ok(bytes) => bytes,
        Err(_elapsed) => Err(Problem::new(
            Code::Timeout,
            format!(
                "the body did not arrive within {:?}",
                limits::BODY_READ_TIMEOUT
            ),
        )),
    }
}

async fn frames(mut body: Body) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::invalid("the body ended early, or is malformed"))?;
        // Trailers say nothing to us.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + all.len() + data.len() > limits::BODY_BYTES_MAX {
            return Err(too_large());
        }
        // The common body is one frame, which needs no copy.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn too_large() -> Problem {
    Problem::new(
        Code::TooLarge,
        format!(
            "the body must have at most {} bytes",
            limits::BODY_BYTES_MAX
        ),
    )
}

/// The trace id of a W3C `traceparent`, if there is a valid one.
pub(super) fn given_trace_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, digits: usize| {
        part.len() == digits
            && part
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let valid = hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && hex(parent, 16)
        && trace.bytes().any(|byte| byte != b'0')
        && parent.bytes().any(|byte| byte != b'0');
    valid.then_some(trace)
}

/// The trace id of the request, or a new one.
pub(super) fn trace_id(headers: &HeaderMap) -> Arc<str> {
    match given_trace_id(headers) {
        Some(given) => given.into(),
        None => random_hex().into(),
    }
}

/// 128 random bits as 32 hexadecimal digits: a trace id, or a claim id that nobody else makes.
pub(super) fn random_hex() -> String {
    let mut text = String::with_capacity(32);
    write!(text, "{:032x}", rand::random::<u128>()).expect("a String takes all that is written");
    text
}

/// How much the client wants a media type, from 0 (not at all) to 1000.
pub(super) fn quality(headers: &HeaderMap, wanted: &str) -> u16 {
    let mut named = false;
    let mut best = (0, 0);
    for value in headers.get_all(header::ACCEPT) {
        named = true;
        for range in value.to_str().unwrap_or("").split(',') {
            let mut parts = range.split(';').map(str::trim);
            let rank = specificity(parts.next().unwrap_or(""), wanted);
            let weight = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1000, weight);
            // The most specific range decides, whatever its weight.
            if rank > best.0 || (rank == best.0 && rank > 0 && weight > best.1) {
                best = (rank, weight);
            }
        }
    }
    if named { best.1 } else { 1000 }
}

fn specificity(range: &str, wanted: &str) -> u8 {
    let kind = wanted.split('/').next().unwrap_or("");
    if range.eq_ignore_ascii_case(wanted) {
        return 3;
    }
    match range.split_once('/') {
        Some(("*", "*")) => 1,
        Some((range, "*")) if range.eq_ignore_ascii_case(kind) => 2,
        _ => 0,
    }
}

fn weight(text: &str) -> u16 {
    match text.parse::<f32>() {
        // Three decimals are all that the grammar allows.
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u16,
        _ => 1000,
    }
}

/// Whether the client names the media type itself, not by a wildcard.
pub(super) fn names(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case(wanted))
}
