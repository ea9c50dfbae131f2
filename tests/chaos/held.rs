//! Claims that must outlast whatever happens to the cell.
//! In: a sidecar. Out: the same claims later, with the same tokens. Never: a renewal of the app's own.

use serde_json::Value;

use crate::pod::Pod;

/// The token of each, by the number of its claim `c0`, `c1` and so on.
pub struct Held(Vec<Value>);

impl Held {
    /// Takes `lock-0`, `lock-1` and so on.
    pub async fn take(pod: &Pod, count: usize) -> Self {
        let mut tokens = Vec::new();
        for number in 0..count {
            let (id, lock) = (format!("c{number}"), format!("lock-{number}"));
            tokens.push(pod.take(&id, &lock).await["token"].clone());
        }
        Self(tokens)
    }

    /// Each is granted still, and safe.
    pub async fn check(&self, pod: &Pod) {
        for (number, token) in self.0.iter().enumerate() {
            let claim = pod.get(&format!("/v1/claims/c{number}")).await.body;
            assert_eq!(claim["state"], "granted", "{claim}");
            assert_eq!(claim["token"], *token, "{claim}");
            assert!(claim["safe_for_ms"].as_u64() > Some(0), "{claim}");
        }
    }
}
