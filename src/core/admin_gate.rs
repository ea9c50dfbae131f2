//! Who gets through to the operators' HTTP, and for what.
//! In: requests with their callers. Out: the same, or a refusal. Never: a change by somebody who has no right to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::admin::Admin;
use super::problem::{Kind, Problem};
use super::rules::Right;
use crate::tls::caller::Caller;

/// What probes and scrapers may see without telling who they are.
const OPEN: &[&str] = &["/livez", "/readyz", "/metrics"];

/// Lets a request through if its caller may see what it asks for. Changes are looked at again where they are made,
/// by [`operator`].
pub(super) async fn gate(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response {
    match judge(&admin, &request) {
        Ok(()) => {
            let mut answer = next.run(request).await;
            if admin.access.credentials.is_some() {
                secure(answer.headers_mut());
            }
            answer
        }
        Err(problem) => problem.at(request.uri()).into_response(),
    }
}

/// The leader, to whom a problem points, speaks TLS as this node does.
fn secure(headers: &mut HeaderMap) {
    let location = headers
        .get(header::LOCATION)
        .and_then(|at| at.to_str().ok());
    let rest = location.and_then(|at| at.strip_prefix("http://"));
    if let Some(Ok(secured)) = rest.map(|rest| HeaderValue::from_str(&format!("https://{rest}"))) {
        headers.insert(header::LOCATION, secured);
    }
}

fn judge(admin: &Admin, request: &Request) -> Result<(), Problem> {
    let path = request.uri().path();
    let caller = request.extensions().get::<Caller>();
    if caller.is_none_or(|caller| !caller.encrypted && is_here(caller)) {
        host(request.headers())?;
    }
    // What changes something is judged by its handler, which knows what it is about. All else shows something: HEAD
    // tells by its length as much as GET.
    if OPEN.contains(&path) || !request.method().is_safe() {
        return Ok(());
    }
    let asked = asked(request)?;
    match admin.access.rights(caller).allow(Right::Read, &asked) {
        true => Ok(()),
        false => Err(denied(caller, "see this")),
    }
}

/// The lock that is asked for, or the beginning of the names of all that are.
fn asked(request: &Request) -> Result<String, Problem> {
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    let raw = match uri.path().strip_prefix("/v1/locks") {
        Some("") => query
            .split('&')
            .find_map(|pair| pair.strip_prefix("prefix=")),
        Some(rest) => rest.split('/').nth(1),
        None => None,
    };
    let text = percent_decode_str(raw.unwrap_or_default()).decode_utf8();
    let text = text.map_err(|_| Problem::new(Kind::InvalidRequest, "a name must be UTF-8"))?;
    Ok(text.into_owned())
}

/// Lets an operator's change through: from somebody who has the right to it; where nobody is asked who he is, from
/// this machine only. And JSON.
pub(super) fn operator<T: for<'de> Deserialize<'de>>(
    admin: &Admin,
    caller: Option<&Caller>,
    (right, name): (Right, &str),
    headers: &HeaderMap,
    body: &[u8],
) -> Result<T, Problem> {
    let rights = admin.access.rights(caller);
    if !rights.allow(right, name) {
        return Err(denied(caller, "change this"));
    }
    if rights.identity().is_none() && !caller.is_some_and(is_here) {
        let text = "changes are taken from this machine only: run the command there";
        return Err(Problem::new(Kind::Forbidden, text));
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or(kind).trim());
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        let text = "send the header `Content-Type: application/json`";
        return Err(Problem::new(Kind::UnsupportedMediaType, text));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::new(Kind::InvalidRequest, error.to_string()))
}

fn denied(caller: Option<&Caller>, what: &str) -> Problem {
    let identity = caller.and_then(|caller| caller.identity.as_ref());
    let text = match identity {
        Some(identity) => format!("no rule lets {identity} {what}"),
        None => format!("a client certificate is needed to {what}"),
    };
    Problem::new(Kind::Forbidden, text)
}

fn is_here(caller: &Caller) -> bool {
    caller.peer.ip().to_canonical().is_loopback()
}

/// A browser that was tricked into calling here sends the name that it was tricked with.
fn host(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    match host.is_some_and(names_an_address) {
        true => Ok(()),
        false => {
            let text = "Host must be an IP address or localhost";
            Err(Problem::new(Kind::Forbidden, text))
        }
    }
}

fn names_an_address(host: &str) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_tricked_browser_names_another_host() {
        for host in [
            "127.0.0.1:5627",
            "localhost:5627",
            "[::1]:5627",
            "localhost",
            "::1",
        ] {
            assert!(names_an_address(host), "{host}");
        }
        for host in ["evil.example:5627", "evil.example", ""] {
            assert!(!names_an_address(host), "{host}");
        }
    }

    #[test]
    fn what_is_asked_for_is_in_the_path_or_the_prefix() {
        for (uri, name) in [
            ("/v1/locks/a%2Fb", "a/b"),
            ("/v1/locks/a%2Fb/why?consistency=cached", "a/b"),
            ("/v1/locks?state=held&prefix=a%2F", "a/"),
            ("/v1/locks?state=held", ""),
            ("/v1/locks", ""),
            ("/v1/waits", ""),
            ("/ui/live", ""),
        ] {
            let request = Request::get(uri).body(Body::empty()).expect("a request");
            assert_eq!(asked(&request).ok().as_deref(), Some(name), "{uri}");
        }
    }
}
