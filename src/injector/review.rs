//! An AdmissionReview of `admission.k8s.io/v1`, as far as we look into it, and the answer to it.
//! In: bytes of the API server, a decision. Out: a request, the bytes of the answer.
//! Never: an answer that does not allow; a pod is never refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::patch::Patch;

/// The one version that is spoken: since Kubernetes 1.16, and the only one since 1.22.
const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// What is to be admitted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Request {
    /// Names this review; the answer repeats it.
    pub uid: String,
    /// What it is.
    #[serde(default)]
    pub kind: Option<Kind>,
    /// A part of it, such as `status`, if it is not about the whole.
    #[serde(default, rename = "subResource")]
    pub part: Option<String>,
    /// Where it is to be.
    #[serde(default)]
    pub namespace: Option<String>,
    /// CREATE, UPDATE, DELETE or CONNECT.
    #[serde(default)]
    pub operation: Option<String>,
    /// The thing itself.
    #[serde(default)]
    pub object: Value,
}

/// What something is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Kind {
    /// Empty for what has been there from the beginning, pods among it.
    #[serde(default)]
    pub group: String,
    /// Such as `Pod`.
    pub kind: String,
}

/// Why something is no AdmissionReview.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or not of that form.
    #[error("not an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    /// Another kind or version of thing.
    #[error("expected {KIND} of {API_VERSION}, not {kind:?} of {api_version:?}")]
    Other {
        /// What it is.
        kind: String,
        /// Of which version.
        api_version: String,
    },
    /// Without a request or its uid there is nothing to answer to.
    #[error("the AdmissionReview has no request with a uid")]
    NoRequest,
}

impl Request {
    /// Reads what the API server sent.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        // Not a struct: serde would take a list for one.
        let mut review: Map<String, Value> = serde_json::from_slice(bytes)?;
        let text = |name: &str| {
            let text = review.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let (kind, api_version) = (text("kind"), text("apiVersion"));
        if kind != KIND || api_version != API_VERSION {
            return Err(Malformed::Other { kind, api_version });
        }
        let request = review.remove("request").filter(Value::is_object);
        let request: Self = serde_json::from_value(request.ok_or(Malformed::NoRequest)?)?;
        match request.uid.is_empty() {
            true => Err(Malformed::NoRequest),
            false => Ok(request),
        }
    }

    /// Whether a whole pod is to be made.
    pub(super) fn makes_a_pod(&self) -> bool {
        let pod = self
            .kind
            .as_ref()
            .is_none_or(|it| it.group.is_empty() && it.kind == "Pod");
        let whole = self.part.as_deref().unwrap_or("").is_empty();
        let makes = self.operation.as_deref().unwrap_or("CREATE") == "CREATE";
        pod && whole && makes
    }
}

/// The answer: allowed, perhaps changed, perhaps with warnings.
///
/// # Panics
/// Never: strings and JSON values always encode.
pub fn answer(uid: &str, patch: &Patch, warnings: &[String]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Review<'a> {
        api_version: &'a str,
        kind: &'a str,
        response: Response<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Response<'a> {
        uid: &'a str,
        allowed: bool,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        warnings: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        patch_type: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        patch: Option<String>,
    }
    let encoded = (!patch.is_empty()).then(|| STANDARD.encode(patch.to_json()));
    let review = Review {
        api_version: API_VERSION,
        kind: KIND,
        response: Response {
            uid,
            allowed: true,
            warnings,
            patch_type: encoded.is_some().then_some("JSONPatch"),
            patch: encoded,
        },
    };
    serde_json::to_vec(&review).expect("strings always encode")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(review: &Value) -> Result<Request, Malformed> {
        Request::read(review.to_string().as_bytes())
    }

    #[test]
    fn what_is_no_review_is_told_apart() {
        let whole = json!({"apiVersion": API_VERSION, "kind": KIND, "request": {"uid": "1"}});
        assert!(read(&whole).is_ok());
        let mut old = whole.clone();
        old["apiVersion"] = json!("admission.k8s.io/v1beta1");
        assert!(matches!(read(&old), Err(Malformed::Other { .. })));
        let mut empty = whole.clone();
        empty["request"] = Value::Null;
        assert!(matches!(read(&empty), Err(Malformed::NoRequest)));
        let mut nameless = whole;
        nameless["request"]["uid"] = json!("");
        assert!(matches!(read(&nameless), Err(Malformed::NoRequest)));
        for text in [
            "",
            "[]",
            "null",
            "{\"request\": {\"uid\": 5}}",
            r#"["1", "2", {"uid": "3"}]"#,
        ] {
            assert!(Request::read(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(
            Request::read(deep.as_bytes()),
            Err(Malformed::Json(_))
        ));
    }

    #[test]
    fn only_the_making_of_whole_pods_is_ours() {
        let made = |request: Value| {
            let request: Request = serde_json::from_value(request).expect("a request");
            request.makes_a_pod()
        };
        let pod = json!({"group": "", "version": "v1", "kind": "Pod"});
        assert!(made(
            json!({"uid": "1", "kind": pod, "operation": "CREATE"})
        ));
        assert!(!made(
            json!({"uid": "1", "kind": pod, "operation": "UPDATE"})
        ));
        assert!(!made(
            json!({"uid": "1", "kind": pod, "operation": "CREATE", "subResource": "eviction"})
        ));
        let job = json!({"group": "batch", "version": "v1", "kind": "Job"});
        assert!(!made(
            json!({"uid": "1", "kind": job, "operation": "CREATE"})
        ));
    }

    #[test]
    fn an_answer_without_a_patch_names_no_patch_type() {
        let bytes = answer("7", &Patch::default(), &[]);
        let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(answer["response"], json!({"uid": "7", "allowed": true}));
    }
}
