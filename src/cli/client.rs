//! Asks a sidecar or a core over HTTP, for `run` and the operator commands.
//! In: a base URL, a path, a JSON body. Out: JSON, or a refusal by its code.
//! Never: a proxy, a retry, a decision by status number: problems carry a `code` for that.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::http::Uri;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::exit::{self, Failure};
use super::worth::Old;
use crate::tls::credentials::Credentials;
use crate::tls::http;

/// How long an answer may take beyond what the request itself asks to wait: the sidecar holds a
/// request for at most 3 s without a quorum.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// All but the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where the sidecar is.
#[derive(Debug, Clone, clap::Args)]
pub struct SidecarUrl {
    /// The sidecar: http://HOST:PORT, or unix:PATH of its socket
    #[arg(
        long,
        value_name = "URL",
        env = "SIDELOCK_URL",
        default_value = "http://127.0.0.1:5625"
    )]
    url: String,
    /// The token that the sidecar wants to be shown, if it does
    #[arg(long, value_name = "FILE", env = "SIDELOCK_API_TOKEN_FILE")]
    api_token_file: Option<PathBuf>,
}

impl SidecarUrl {
    /// A client for it.
    pub fn client(&self) -> Result<Client, Failure> {
        let mut client = Client::new(&self.url, "sidecar", None)?;
        client.token_file.clone_from(&self.api_token_file);
        Ok(client)
    }
}

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// As it was given, for people: of a socket, `base` tells nothing.
    named: String,
    /// "sidecar" or "core", for people.
    whom: &'static str,
    /// Has what is shown with each request, read each time: tokens are replaced.
    token_file: Option<PathBuf>,
    /// With them it is HTTPS.
    credentials: Option<Credentials>,
}

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody answered; the request may or may not have been heard.
    Unreachable(String),
    /// A problem (RFC 9457).
    Problem {
        /// Its code, such as `lock-held`.
        code: String,
        /// What it says to people.
        detail: String,
        /// When trying again may make sense.
        retry_after: Option<Duration>,
    },
}

impl Client {
    /// `url` is `http://HOST:PORT`, with credentials `https://HOST:PORT`, or `unix:PATH`.
    pub fn new(
        url: &str,
        whom: &'static str,
        credentials: Option<&Credentials>,
    ) -> Result<Self, Failure> {
        // The environment's proxies are for the world outside; sidecar and cores are inside.
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        let (builder, base) = match url.strip_prefix("unix:") {
            Some(path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                (builder.unix_socket(path), "http://localhost".to_owned())
            }
            None => (builder, url.trim_end_matches('/').to_owned()),
        };
        let scheme = match credentials {
            Some(_) => "https://",
            None => "http://",
        };
        if !base.starts_with(scheme) {
            return Err(wrong_scheme(url, whom, scheme));
        }
        let http = builder
            .connect_timeout(Duration::from_secs(3))
            .build()
            .map_err(|error| Failure::usage(format_args!("{url:?}: {error}")))?;
        Ok(Self {
            http,
            base,
            named: url.trim_end_matches('/').to_owned(),
            whom,
            token_file: None,
            credentials: credentials.cloned(),
        })
    }

    /// Asks, without a body.
    pub async fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.call(Method::GET, path, None, PATIENCE).await
    }

    /// Asks, and tells how old the answer may be.
    pub async fn read(&self, path: &str) -> Result<(Value, Option<Old>), Refusal> {
        let (headers, body) = self.ask(Method::GET, path, None, PATIENCE).await?;
        Ok((body, Old::of_headers(&headers)))
    }

    /// Asks; waits at most `patience`. An empty answer is `Value::Null`.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Value, Refusal> {
        let (_headers, body) = self.ask(method, path, body, patience).await?;
        Ok(body)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<(HeaderMap, Value), Refusal> {
        let first: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|error| self.unreachable(None, &error))?;
        let token = match &self.token_file {
            Some(path) => Some(token(path).await?),
            None => None,
        };
        let mut to = first.clone();
        let asked = async {
            match &self.credentials {
                Some(credentials) => {
                    let body = body.map(|body| body.to_string().into_bytes());
                    let asked = http::ask(credentials, method, &mut to, body.as_deref()).await;
                    // Only a sidecar's headers say what is not in the body.
                    asked.map(|(status, bytes)| (status, HeaderMap::new(), bytes))
                }
                None => self.ask_plain(method, &mut to, body, token).await,
            }
        };
        let asked = tokio::time::timeout(patience, asked).await;
        let redirected = Some(&to).filter(|to| **to != first);
        match asked {
            Ok(Ok((status, headers, bytes))) => Ok((headers, answered(status, &bytes)?)),
            Ok(Err(error)) => Err(self.unreachable(redirected, &error)),
            Err(_elapsed) => Err(self.unreachable(redirected, &"no answer in time")),
        }
    }

    /// Follows redirects itself, so that `to` tells who was asked last. The token is for the first one only.
    async fn ask_plain(
        &self,
        method: Method,
        to: &mut Uri,
        body: Option<&Value>,
        mut token: Option<String>,
    ) -> io::Result<(StatusCode, HeaderMap, Bytes)> {
        for _ in 0..=http::REDIRECTS_MAX {
            let mut request = self.http.request(method.clone(), to.to_string());
            if let Some(token) = token.take() {
                request = request.bearer_auth(token);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let response = request.send().await.map_err(|error| innermost(&error))?;
            match http::redirect(response.status(), response.headers()) {
                Some(next) => *to = next,
                None => {
                    let (status, headers) = (response.status(), response.headers().clone());
                    let bytes = response.bytes().await;
                    return Ok((status, headers, bytes.map_err(|error| innermost(&error))?));
                }
            }
        }
        Err(io::Error::other(http::TOO_MANY))
    }

    fn unreachable(&self, redirected: Option<&Uri>, why: &dyn std::fmt::Display) -> Refusal {
        let (whom, named) = (self.whom, &self.named);
        let at = match redirected {
            Some(to) => {
                let scheme = to.scheme_str().unwrap_or_default();
                let authority = to.authority().map_or("", |authority| authority.as_str());
                format!("{scheme}://{authority}, to which {named} redirected")
            }
            None => named.clone(),
        };
        Refusal::Unreachable(format!("no answer from the {whom} at {at}: {why}"))
    }
}

/// Says which flags are missing or too many, where it is that.
fn wrong_scheme(url: &str, whom: &str, scheme: &str) -> Failure {
    let secured = scheme == "https://";
    match url.split_once(':').map_or("", |(scheme, _)| scheme) {
        "https" if whom == "sidecar" => Failure::usage(format_args!(
            "{url:?}: a sidecar is asked in plain HTTP, at http://HOST:PORT or unix:PATH"
        )),
        "https" => Failure::usage(format_args!(
            "{url:?} needs --tls-ca, for whom to trust, and --tls-cert and --tls-key if it asks who we are"
        )),
        "http" | "unix" if secured => Failure::usage(format_args!(
            "{url:?} is not https://HOST:PORT, which --tls-ca asks for"
        )),
        _ if secured => Failure::usage(format_args!("{url:?} is not https://HOST:PORT")),
        _ => Failure::usage(format_args!(
            "{url:?} is neither http://HOST:PORT nor unix:PATH"
        )),
    }
}

/// The innermost cause is the one that people understand: "Connection refused".
fn innermost(error: &reqwest::Error) -> io::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    io::Error::other(cause.to_string())
}

impl Refusal {
    /// The problem's code; empty when nobody answered.
    pub fn code(&self) -> &str {
        match self {
            Self::Unreachable(_) => "",
            Self::Problem { code, .. } => code,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unreachable(text) => Self::unavailable(text),
            Refusal::Problem { code, detail, .. } => {
                let exit = match code.as_str() {
                    "no-quorum" | "core-unreachable" | "jeopardy" | "session-lost" | "draining"
                    | "overloaded" => exit::UNAVAILABLE,
                    "invalid-request" => exit::USAGE,
                    _ => exit::FAILED,
                };
                Self::new(exit, format_args!("{code}: {detail}"))
            }
        }
    }
}

async fn token(path: &Path) -> Result<String, Refusal> {
    let token = tokio::fs::read_to_string(path).await;
    let token = token.map_err(|error| Refusal::Problem {
        code: "unauthorized".to_owned(),
        detail: format!("{}: {error}", path.display()),
        retry_after: None,
    })?;
    Ok(token.trim().to_owned())
}

fn answered(status: StatusCode, bytes: &[u8]) -> Result<Value, Refusal> {
    let value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    match status.is_success() {
        true => Ok(value),
        false => Err(problem(&value, &status.to_string())),
    }
}

/// Text as one segment of a path.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn problem(value: &Value, status: &str) -> Refusal {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Refusal::Problem {
        code: text("code").unwrap_or_else(|| status.to_owned()),
        detail: text("detail")
            .or_else(|| text("title"))
            .unwrap_or_else(|| "no detail".to_owned()),
        retry_after: value["retry_after_ms"].as_u64().map(Duration::from_millis),
    }
}
