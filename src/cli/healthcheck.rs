//! `sidelock healthcheck`: whether a sidecar or a core on this host lives, for a container's health check.
//! In: its URL, or nothing. Out: a line, and exit code 0 or 1 within two seconds.
//! Never: a judgement of the cell: a lost quorum is no reason to restart a container.

use std::fmt;
use std::time::Duration;

use reqwest::Method;
use tokio::time::timeout;

use super::client::{Client, Refusal};
use super::exit::{self, Failure, Outcome};
use super::print;
use super::tls::Tls;
use crate::tls::credentials::Credentials;

/// What the whole check may take; container engines allow it some seconds and then call it failed.
const CHECK_MAX: Duration = Duration::from_secs(2);
/// Where a sidecar listens unless told otherwise.
const SIDECAR: &str = "http://127.0.0.1:5625";
/// And a core, without and with certificates.
const CORE: [&str; 2] = ["http://127.0.0.1:5627", "https://127.0.0.1:5627"];

/// Ask a sidecar or a core on this host whether it lives; the answer is the exit code, 0 or 1
///
/// Made for the HEALTHCHECK of an image without a shell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whom to ask: http://HOST:PORT, https of a core with certificates, or unix:PATH of a sidecar's socket; without it,
    /// whoever listens on port 5625 of 127.0.0.1, or else on 5627
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Ask whether it is ready, not only alive: a core that knows no leader is not
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    tls: Tls,
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let credentials = args.tls.credentials().map_err(unhealthy)?;
    let core = CORE[usize::from(credentials.is_some())];
    let urls = match &args.url {
        Some(url) => vec![url.as_str()],
        None => vec![SIDECAR, core],
    };
    let path = if args.ready { "/readyz" } else { "/livez" };
    let url = check(&urls, path, credentials.as_ref()).await?;
    print::line(&format!("{url}{path}: ok"))
}

async fn check<'a>(
    urls: &[&'a str],
    path: &str,
    credentials: Option<&Credentials>,
) -> Result<&'a str, Failure> {
    let asked = timeout(CHECK_MAX, ask(urls, path, credentials)).await;
    asked.unwrap_or_else(|_elapsed| Err(unhealthy("no answer within 2 s")))
}

/// The first of them that listens, if its answer is good.
async fn ask<'a>(
    urls: &[&'a str],
    path: &str,
    credentials: Option<&Credentials>,
) -> Result<&'a str, Failure> {
    let mut silent = Vec::new();
    for url in urls {
        // A sidecar's own API is plain HTTP, whatever its traffic with the core.
        let credentials = credentials.filter(|_| url.starts_with("https://"));
        let client = Client::new(url, "server", credentials)?;
        match client.call(Method::GET, path, None, CHECK_MAX).await {
            Ok(_status) => return Ok(url),
            Err(Refusal::Unreachable(why)) => silent.push(why),
            Err(Refusal::Problem { code, detail, .. }) => {
                return Err(unhealthy(format_args!("{url}{path}: {code}: {detail}")));
            }
        }
    }
    Err(unhealthy(silent.join("; ")))
}

/// Container engines know 0 and 1 only.
fn unhealthy(why: impl fmt::Display) -> Failure {
    Failure::new(exit::FAILED, why)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Nobody listens there.
    const NOBODY: &str = "http://127.0.0.3:1";
    const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    const BAD: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 20\r\n\
        connection: close\r\n\r\n{\"code\":\"not-ready\"}";
    /// Takes the request and says nothing.
    const SILENT: &str = "";

    /// A server that plays one answer, once.
    async fn played(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.expect("a request");
            assert!(request[..read].starts_with(b"GET /livez HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.expect("it waits");
            // Open until the other side closes.
            drop(stream.read(&mut request).await);
        });
        format!("http://{address}")
    }

    async fn code(url: &str) -> u8 {
        let checked = check(&[url], "/livez", None).await;
        checked.map_or_else(|failure| failure.code, |_url| exit::OK)
    }

    #[tokio::test]
    async fn the_exit_code_is_the_answer() {
        assert_eq!(code(&played(GOOD).await).await, exit::OK);
        assert_eq!(code(&played(BAD).await).await, exit::FAILED);
        assert_eq!(code(&played(SILENT).await).await, exit::FAILED);
        assert_eq!(code(NOBODY).await, exit::FAILED);
        assert_eq!(code("unix:/nowhere/socket").await, exit::FAILED);
        assert_eq!(code("localhost:5625").await, exit::USAGE);
    }

    #[tokio::test]
    async fn the_next_is_asked_only_while_nobody_listens() {
        let (good, bad) = (played(GOOD).await, played(BAD).await);
        let found = check(&[NOBODY, &good], "/livez", None).await;
        assert_eq!(found.ok(), Some(good.as_str()));
        let other = played(GOOD).await;
        let refused = check(&[&bad, &other], "/livez", None).await;
        assert!(refused.is_err());
    }
}
