//! Drives the client by steps: a line of JSON in, a line out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use sidelock_client::{Client, Error, Held, Want};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinHandle;

#[derive(Default)]
struct Driver {
    held: HashMap<String, Held>,
    begun: HashMap<String, JoinHandle<Result<Held, Error>>>,
    losses: HashMap<String, JoinHandle<(Error, Instant)>>,
}

fn want(step: &Value) -> Want {
    let mut want = match step["locks"].as_array() {
        Some(names) => Want::all(&names.iter().filter_map(Value::as_str).collect::<Vec<_>>()),
        None => Want::one(step["lock"].as_str().unwrap_or_default()),
    };
    for field in ["wait_ms", "ttl_ms"] {
        want = match step[field].as_u64().map(Duration::from_millis) {
            Some(time) if field == "wait_ms" => want.wait(time),
            Some(time) => want.ttl(time),
            None => want,
        };
    }
    let fields = step["fields"].as_object().into_iter().flatten();
    fields.fold(want, |want, (name, value)| want.with(name, value.clone()))
}

impl Driver {
    fn hold(&mut self, name: &str, held: Held) -> Value {
        let lost = held.lost();
        // When it is told counts, not when that is asked for.
        let loss = tokio::spawn(async move { (lost.await, Instant::now()) });
        self.losses.insert(name.to_owned(), loss);
        let answer = json!({"ok": true, "token": held.token(), "names": held.tokens().keys().collect::<Vec<_>>()});
        self.held.insert(name.to_owned(), held);
        answer
    }

    async fn play(&mut self, step: &Value) -> Result<Value, Error> {
        let name = step["as"].as_str().unwrap_or_default();
        let client = Client::new(step["url"].as_str());
        let client = match step["token_file"].as_str() {
            Some(file) => client.token_file(file),
            None => client,
        };
        match step["do"].as_str() {
            Some("lock") => {
                let held = client.lock(want(step)).await?;
                return Ok(self.hold(name, held));
            }
            Some("begin") => {
                let want = want(step);
                let waiting = tokio::spawn(async move { client.lock(want).await });
                self.begun.insert(name.to_owned(), waiting);
            }
            Some("join") => {
                let waiting = self.begun.remove(name).expect("begun before");
                let held = waiting.await.expect("no panic")?;
                return Ok(self.hold(name, held));
            }
            Some("check") => self.held[name].check()?,
            // A second release cannot be written: the first has taken the hold.
            Some("release") => {
                if let Some(held) = self.held.remove(name) {
                    held.release().await?;
                }
            }
            _ => {
                let (lost, at) = self.losses.remove(name).expect("held before").await.expect("no panic");
                let deadline = self.held[name].deadline();
                let late = at.saturating_duration_since(deadline).as_secs_f64()
                    - deadline.saturating_duration_since(at).as_secs_f64();
                return Ok(json!({"code": lost.code, "reason": lost.reason, "late_ms": late * 1000.0}));
            }
        }
        Ok(json!({"ok": true}))
    }
}

#[tokio::main]
async fn main() {
    let mut driver = Driver::default();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.expect("lines of text") {
        let step = serde_json::from_str(&line).expect("JSON");
        let answer = driver.play(&step).await;
        println!("{}", answer.unwrap_or_else(|error| json!({"code": error.code, "retryable": error.retryable})));
    }
}
