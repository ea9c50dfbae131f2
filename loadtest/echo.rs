//! What the HTTP stack allows: a bare axum server that reads JSON and sends it back, as the limit beside
//! which the sidecar is measured. In: an address. Out: echoes. Never: anything else.

use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    let echo = async |Json(body): Json<Value>| Json(body);
    let router = Router::new().route("/", post(echo));
    axum::serve(
        axum::serve::ListenerExt::tap_io(listener, |socket| {
            if let Err(error) = socket.set_nodelay(true) {
                eprintln!("no TCP_NODELAY: {error}");
            }
        }),
        router,
    )
    .await?;
    Ok(())
}
