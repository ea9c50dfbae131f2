//! Locks from the Sidelock sidecar of this host.
//!
//! One request claims, waits and keeps the lock for as long as it is open; nothing has to be renewed. Until when the
//! hold is certain (`deadline`) is asked anew at a third of the time left. Only an answer to a request of ours moves it,
//! and it counts from before that request was sent: early is safe, late is a lost lock.
//!
//! Loss completes `lost`: at the deadline, or at once when the sidecar says so or its stream breaks. `Instant` does not
//! count the time that the machine is suspended; the sidecar's clock does, and tells at the resume.

use std::collections::BTreeMap;
use std::future::{pending, Future};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{json, Map, Value};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, Lines};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, sleep_until};
use tokio_util::io::StreamReader;

/// For what is answered at once; the sidecar itself holds nothing back for longer than 3 s.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Between two looks at a hold whose deadline is near.
const LOOK_LEAST: Duration = Duration::from_millis(50);

/// A refusal, or a loss (code `claim-lost`). Decide by `code`: those of docs/problems.md, and `sidecar-unreachable` if
/// nobody answers.
#[derive(Debug, Clone, thiserror::Error)]
#[error("sidelock: {code}: {}", .reason.as_ref().unwrap_or(.detail))]
pub struct Error {
    pub code: String,
    pub detail: String,
    /// Whether the same may succeed later, and when, if that is known.
    pub retryable: bool,
    pub retry_after: Option<Duration>,
    /// Why a claim was lost: one of the sidecar's reasons, `deadline-passed` or `stream-broken`.
    pub reason: Option<String>,
}

impl Error {
    fn of(problem: &Value) -> Self {
        let text = |name: &str| problem[name].as_str().map(str::to_owned);
        Self {
            code: text("code").unwrap_or_else(|| "sidecar-unreachable".into()),
            detail: text("detail").unwrap_or_default(),
            retryable: problem["retryable"].as_bool().unwrap_or_default(),
            retry_after: problem["retry_after_ms"].as_u64().map(Duration::from_millis),
            reason: text("reason"),
        }
    }

    fn lost(reason: &str) -> Self {
        Self::of(&json!({"code": "claim-lost", "reason": reason}))
    }

    fn new(code: &str, detail: &str, retryable: bool) -> Self {
        Self::of(&json!({"code": code, "detail": detail, "retryable": retryable}))
    }
}

impl From<reqwest::Error> for Error {
    fn from(why: reqwest::Error) -> Self {
        Self::new("sidecar-unreachable", &why.to_string(), true)
    }
}

/// A claim on one lock or several, all or nothing.
#[derive(Debug, Clone, Default)]
pub struct Want(Map<String, Value>);

impl Want {
    pub fn one(name: &str) -> Self {
        Self::default().with("lock", name)
    }

    pub fn all(names: &[&str]) -> Self {
        let locks: Value = names.iter().map(|name| json!({"name": name})).collect();
        Self::default().with("locks", locks)
    }

    /// How long to wait; without it, it tries once.
    pub fn wait(self, time: Duration) -> Self {
        self.with("wait_ms", time.as_millis() as u64)
    }

    /// How long a hold outlives a stream of the sidecar that broke; 10 s without it.
    pub fn ttl(self, time: Duration) -> Self {
        self.with("ttl_ms", time.as_millis() as u64)
    }

    /// A field as the API names it: mode, limit, permits, owner, metadata, value, priority, min_hold_ms, locks.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.into(), value.into());
        self
    }
}

/// Asks one sidecar.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token_file: Option<PathBuf>,
}

impl Client {
    /// `http://HOST:PORT` or `unix:PATH`; if absent, SIDELOCK_URL; else port 5625 here.
    pub fn new(url: Option<&str>) -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let url = url.map(str::to_owned).or_else(|| set("SIDELOCK_URL"));
        let mut url = url.unwrap_or_else(|| "http://127.0.0.1:5625".into());
        // No connection is used twice: one that the sidecar is about to close would fail the next request.
        let mut http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        if let Some(path) = url.strip_prefix("unix:") {
            http = http.unix_socket(path);
            url = "http://localhost".into();
        }
        let http = http.build().expect("without TLS and a proxy nothing can fail");
        Self { http, url, token_file: set("SIDELOCK_API_TOKEN_FILE").map(PathBuf::from) }
    }

    /// Has the token, if the sidecar wants one; else that of SIDELOCK_API_TOKEN_FILE. Read anew for each request.
    pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
        Self { token_file: Some(path.into()), ..self }
    }

    /// Claims, and waits if that was asked for. Dropping it ends the wait.
    pub async fn lock(&self, want: Want) -> Result<Held, Error> {
        let asked = Instant::now();
        let request = self.request(Method::POST, "/v1/claims")?.header("accept", "text/event-stream");
        let news = send(request.json(&want.0)).await?.bytes_stream().map_err(std::io::Error::other);
        let mut news = (Box::new(StreamReader::new(news)) as Reader).lines();
        let mut claim = next(&mut news).await;
        let waited = claim["state"] == "queued";
        while claim["state"] == "queued" {
            claim = next(&mut news).await;
        }
        match claim["state"].as_str() {
            Some("granted") => {}
            // What ends a wait has the name of the problem that a try would get.
            Some(_) => return Err(Error::new(why(&claim), "the wait ended", true)),
            None => return Err(Error::new("sidecar-unreachable", "the stream broke", true)),
        }
        // After a wait the times count from the grant, and who knows when that was.
        let deadline = if waited { self.look(&claim, Duration::ZERO).await? } else { until(asked, &claim) };
        let (tell, standing) = watch::channel(Standing { deadline, lost: None });
        let (open, closed) = oneshot::channel();
        tokio::spawn(self.clone().keep(claim.clone(), news, tell, closed));
        Ok(Held { client: self.clone(), claim, standing, _open: open })
    }

    /// Until when a hold is certain, asked after a while.
    async fn look(&self, claim: &Value, delay: Duration) -> Result<Instant, Error> {
        sleep(delay).await;
        let asked = Instant::now();
        let claim = self.ask(Method::GET, claim).await?;
        if claim["state"] != "granted" {
            return Err(Error::lost(why(&claim)));
        }
        Ok(until(asked, &claim))
    }

    /// Owns the stream, moves the deadline and tells the loss, until the hold is dropped.
    async fn keep(self, claim: Value, mut news: News, tell: watch::Sender<Standing>, mut end: oneshot::Receiver<()>) {
        let mut deadline = tell.borrow().deadline;
        let third = |deadline: Instant| (deadline.saturating_duration_since(Instant::now()) / 3).max(LOOK_LEAST);
        let mut looked = Box::pin(self.look(&claim, third(deadline)));
        let reason = loop {
            tokio::select! {
                _ = &mut end => return,
                () = sleep_until(deadline.into()) => break "deadline-passed".to_owned(),
                event = next(&mut news) => match event["state"].as_str() {
                    Some("granted") => {}
                    Some(_) => break why(&event).to_owned(),
                    None => break "stream-broken".to_owned(),
                },
                answer = &mut looked => {
                    match answer {
                        Ok(later) => deadline = later,
                        Err(Error { reason: Some(reason), .. }) => break reason,
                        Err(_) => {} // the deadline decides
                    }
                    tell.send_modify(|now| now.deadline = deadline);
                    looked.set(self.look(&claim, third(deadline)));
                }
            }
        };
        tell.send_modify(|now| now.lost = Some(Error::lost(&reason)));
        end.await.ok();
    }

    async fn ask(&self, method: Method, claim: &Value) -> Result<Value, Error> {
        let path = format!("/v1/claims/{}", claim["claim_id"].as_str().unwrap_or_default());
        let answer = send(self.request(method, &path)?.timeout(ANSWER_MAX)).await?;
        Ok(serde_json::from_slice(&answer.bytes().await?).unwrap_or_default())
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Error> {
        let request = self.http.request(method, format!("{}{path}", self.url.trim_end_matches('/')));
        let Some(file) = &self.token_file else { return Ok(request) };
        let denied = |error| Error::new("unauthorized", &format!("{}: {error}", file.display()), false);
        Ok(request.bearer_auth(std::fs::read_to_string(file).map_err(denied)?.trim()))
    }
}

async fn send(request: RequestBuilder) -> Result<Response, Error> {
    let answer = request.send().await?;
    if answer.status().as_u16() < 400 {
        return Ok(answer);
    }
    Err(Error::of(&answer.json().await?))
}

#[derive(Debug, Clone)]
struct Standing {
    deadline: Instant,
    lost: Option<Error>,
}

/// A hold. Release it; dropping it closes the stream, which the sidecar takes for the holder's death.
#[derive(Debug)]
pub struct Held {
    client: Client,
    claim: Value,
    standing: watch::Receiver<Standing>,
    /// The stream ends when this is dropped.
    _open: oneshot::Sender<()>,
}

impl Held {
    /// The fencing token, of a claim on one lock.
    pub fn token(&self) -> Option<u64> {
        self.claim["token"].as_u64()
    }

    /// The fencing tokens by name.
    pub fn tokens(&self) -> BTreeMap<&str, u64> {
        let locks = self.claim["locks"].as_array().into_iter().flatten();
        locks.filter_map(|it| Some((it["name"].as_str()?, it["token"].as_u64()?))).collect()
    }

    /// Until when the hold is certain.
    pub fn deadline(&self) -> Instant {
        self.standing.borrow().deadline
    }

    /// Completes when the lock is lost.
    pub fn lost(&self) -> impl Future<Output = Error> + Send + 'static {
        let mut standing = self.standing.clone();
        async move {
            match standing.wait_for(|now| now.lost.is_some()).await.ok().and_then(|now| now.lost.clone()) {
                Some(lost) => lost,
                None => pending().await, // it was released
            }
        }
    }

    /// An error unless the hold is certain now.
    pub fn check(&self) -> Result<(), Error> {
        let now = self.standing.borrow();
        let passed = || (Instant::now() >= now.deadline).then(|| Error::lost("deadline-passed"));
        now.lost.clone().or_else(passed).map_or(Ok(()), Err)
    }

    /// Gives it back. An error with code `claim-lost` if the hold was not valid until now.
    pub async fn release(self) -> Result<(), Error> {
        if let Some(lost) = self.standing.borrow().lost.clone() {
            return Err(lost); // closing the stream lets go of what may be left of it
        }
        self.client.ask(Method::DELETE, &self.claim).await.map(drop)
    }
}

fn until(asked: Instant, claim: &Value) -> Instant {
    asked + Duration::from_millis(claim["safe_for_ms"].as_u64().unwrap_or_default())
}

fn why(claim: &Value) -> &str {
    claim["reason"].as_str().or_else(|| claim["state"].as_str()).unwrap_or_default()
}

type Reader = Box<dyn AsyncBufRead + Send + Unpin>;
type News = Lines<Reader>;

/// The claim of the next event; its state says all. Null: the stream has ended. May be dropped halfway.
async fn next(news: &mut News) -> Value {
    while let Ok(Some(line)) = news.next_line().await {
        let data = line.strip_prefix("data:").and_then(|data| serde_json::from_str::<Value>(data).ok());
        // The event `mode`, and what is yet unknown, have no claim.
        if let Some(claim) = data.filter(|data| data["claim_id"].is_string()) {
            return claim;
        }
    }
    Value::Null
}
