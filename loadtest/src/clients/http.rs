//! HTTP/1.1 over one connection that is kept, as lean as a client can be: the same for all peers.
//! In: requests, one at a time. Out: status and body. Never: a second attempt.

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use super::Failure;

/// A connection.
pub struct Http {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

/// Status and body of an answer.
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

impl Http {
    /// To `http://HOST:PORT`, or to the socket `unix:PATH`.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let (sender, host) = if let Some(path) = url.strip_prefix("unix:") {
            let stream = UnixStream::connect(path).await.context(path.to_owned())?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            (sender, "localhost")
        } else {
            let host = url
                .strip_prefix("http://")
                .ok_or_else(|| anyhow!("{url:?} is neither http://HOST:PORT nor unix:PATH"))?;
            let stream = TcpStream::connect(host).await.context(host.to_owned())?;
            stream.set_nodelay(true)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            (sender, host)
        };
        Ok(Self {
            sender,
            host: host.to_owned(),
        })
    }

    /// One request.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .body(Full::new(body.into()))?;
        // The connection may still be busy with the end of the answer before.
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(Answer { status, body })
    }

    /// A POST of JSON whose answer must be a success.
    pub async fn post(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(Method::POST, path, serde_json::to_vec(body)?)
            .await?
            .success()
    }
}

impl Answer {
    /// Its JSON if it is a success, null without a body; else the refusal.
    pub fn success(&self) -> Result<Value, Failure> {
        if !(200..300).contains(&self.status) {
            return Err(self.refusal());
        }
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The word for a refusal: the code of a problem, else the status.
    pub fn refusal(&self) -> Failure {
        let problem: Option<Value> = serde_json::from_slice(&self.body).ok();
        let code = problem.and_then(|problem| Some(problem.get("code")?.as_str()?.to_owned()));
        Failure::Refused(code.unwrap_or_else(|| format!("status {}", self.status)))
    }
}

/// One request over a connection of its own.
pub async fn once(method: Method, url: &str, path: &str, body: &Value) -> anyhow::Result<Answer> {
    let body = match body {
        Value::Null => Vec::new(),
        body => serde_json::to_vec(body)?,
    };
    Http::connect(url).await?.send(method, path, body).await
}

/// A GET whose answer must be a success with JSON.
pub async fn get(url: &str, path: &str) -> anyhow::Result<Value> {
    let answer = once(Method::GET, url, path, &Value::Null).await?;
    match answer.success() {
        Ok(value) => Ok(value),
        Err(Failure::Refused(word)) => Err(anyhow!("{url}{path}: {word}")),
        Err(Failure::Broken(error)) => Err(error.context(format!("{url}{path}"))),
    }
}
