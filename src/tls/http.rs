//! Single requests of HTTP/1.1 over TLS, as an operator's command makes them.
//! In: a URL, a body. Out: status and body; a redirect is followed, and the caller sees where to. Never: a wait
//! without the caller's bound.

use std::io;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;

use super::connect;
use super::credentials::Credentials;

/// A node that does not lead points to the one that does; elections may make that a few.
pub const REDIRECTS_MAX: usize = 4;
/// What is said of more than those.
pub const TOO_MANY: &str = "too many redirects";
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Asks; `body` is JSON. `to` ends as the one that was asked last, answered or not.
///
/// # Errors
/// If there is no answer, or only ones that point elsewhere.
pub async fn ask(
    credentials: &Credentials,
    method: Method,
    to: &mut Uri,
    body: Option<&[u8]>,
) -> io::Result<(StatusCode, Bytes)> {
    for _ in 0..=REDIRECTS_MAX {
        let answer = ask_once(credentials, method.clone(), to, body).await?;
        match redirect(answer.status(), answer.headers()) {
            Some(next) => *to = next,
            None => {
                let status = answer.status();
                let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
                let body = body.collect().await.map_err(io::Error::other)?;
                return Ok((status, body.to_bytes()));
            }
        }
    }
    Err(io::Error::other(TOO_MANY))
}

/// Where an answer points to, if it does.
pub fn redirect(status: StatusCode, headers: &HeaderMap) -> Option<Uri> {
    let location = headers.get(header::LOCATION)?;
    let next = location.to_str().ok()?.parse().ok();
    next.filter(|_| status.is_redirection())
}

async fn ask_once(
    credentials: &Credentials,
    method: Method,
    to: &Uri,
    body: Option<&[u8]>,
) -> io::Result<http::Response<hyper::body::Incoming>> {
    let io = connect::secured(to, credentials, b"http/1.1").await?;
    let shaken = http1::handshake(io).await.map_err(io::Error::other)?;
    let (mut sender, connection) = shaken;
    let authority = to.authority().map_or("", |authority| authority.as_str());
    let path = to.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json");
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = Full::new(Bytes::copy_from_slice(body.unwrap_or_default()));
    let request = request.body(body).map_err(io::Error::other)?;
    // The connection is driven for as long as its answer is waited for and read.
    let driven = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    if answer.is_err() {
        driven.abort();
    }
    answer.map_err(io::Error::other)
}
