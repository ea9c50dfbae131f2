//! Ports for processes that a test starts.
//! In: nothing. Out: a port of loopback, handed out once. Never: one that an outgoing connection might get.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below Linux's default range for outgoing connections, which begins at 32768: a connection that took the
/// port of a node between two of its runs would keep it from starting.
const PORTS: u16 = 12_000;
/// How many of them there are.
const WIDTH: u16 = 20_000;

/// A port that nobody listens on, now or between two runs of the process that gets it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % WIDTH;
        // Another process that tests at the same time starts elsewhere, most likely.
        let start = u16::try_from(std::process::id() % u32::from(WIDTH)).unwrap_or(0);
        let port = PORTS + (start + step) % WIDTH;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
