//! Sidecars that come with a token instead of a certificate.

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::json;
use sidelock::world::clock;

use crate::cell::{Cell, Papers, until};

const ISSUER: &str = "https://kubernetes.default.svc";
const POD: &str = "system:serviceaccount:shop:till";

/// Signs tokens as an API server does.
struct Signer {
    key: EncodingKey,
    jwks: String,
}

impl Signer {
    fn new() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let key = EncodingKey::from_ec_der(pair.serialized_der());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).expect("a public key");
        jwk.common.key_id = Some("k1".to_owned());
        let set = JwkSet { keys: vec![jwk] };
        Self {
            key,
            jwks: serde_json::to_string(&set).expect("JSON"),
        }
    }

    fn token(&self, issuer: &str, audience: &str, valid_s: i64) -> String {
        let now = i64::try_from(clock::unix_nanos() / 1_000_000_000).expect("before 2262");
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("k1".to_owned());
        let claims = json!({
            "iss": issuer, "aud": [audience], "sub": POD, "exp": now + valid_s, "nbf": now - 3_600,
        });
        encode(&header, &claims, &self.key).expect("a token")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projected_token_says_who_a_sidecar_is() {
    let (signer, forger) = (Signer::new(), Signer::new());
    let papers = Papers::new();
    let jwks = papers.path("jwks.json");
    std::fs::write(&jwks, &signer.jwks).expect("written");
    let rules = papers.path("rules.yaml");
    let text =
        format!("rules: [{{identities: [\"{POD}\"], prefixes: [\"shop/\"], may: [read, claim]}}]");
    std::fs::write(&rules, text).expect("written");
    let (jwks, rules) = (jwks.display().to_string(), rules.display().to_string());
    let more = [
        "--rules",
        &rules,
        "--token-jwks",
        &jwks,
        "--token-issuer",
        ISSUER,
    ];
    let mut cell = Cell::start(papers, &more).await;

    let token = cell.papers.path("token");
    let ca = cell.papers.path("ca.pem").display().to_string();
    let flags = [
        "--tls-ca",
        &ca,
        "--token-file",
        &token.display().to_string(),
    ];
    let flags = flags.map(str::to_owned);
    for wrong in [
        signer.token(ISSUER, "another", 3_600),
        signer.token("https://elsewhere", "sidelock", 3_600),
        signer.token(ISSUER, "sidelock", -3_600),
        forger.token(ISSUER, "sidelock", 3_600),
        "nonsense".to_owned(),
    ] {
        std::fs::write(&token, &wrong).expect("written");
        let url = cell.sidecar(&flags).await;
        let (status, problem) = cell.claim(&url, "c1", "shop/1").await;
        assert_eq!(
            (status, &problem["code"]),
            (503, &json!("core-unreachable")),
            "{wrong}"
        );
        assert_eq!(cell.session(&url).await, None);
        cell.end_last();
    }
    std::fs::write(&token, signer.token(ISSUER, "sidelock", 3_600)).expect("written");
    let url = cell.sidecar(&flags).await;
    until("a session", async || cell.session(&url).await).await;
    assert_eq!(cell.claim(&url, "c1", "shop/1").await.0, 201);
    assert_eq!(cell.claim(&url, "c2", "bank/1").await.0, 403);
    let path = "/v1/locks/shop%2F1?consistency=linearizable";
    let (_, lock) = cell.ask(Method::GET, &url, path, None).await;
    assert!(lock["holders"][0].to_string().contains(POD), "{lock}");
}
