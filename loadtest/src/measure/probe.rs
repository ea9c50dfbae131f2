//! The disk alone: 4 KiB are appended and made durable with fdatasync, over and over.
//! In: a folder, how long. Out: the latency of each. Never: a file left behind.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use sidelock::world::clock::{BootClock, Clock};

use super::histogram::Latencies;

/// As much as a small group commit writes.
const BYTES: usize = 4096;

/// One file, one writer; blocks.
pub fn fdatasync(folder: &Path, measured: Duration, pause: Duration) -> anyhow::Result<Latencies> {
    let path = folder.join(format!("probe-{}", crate::clients::unique()));
    let mut file = File::create_new(&path)?;
    let mut latencies = Latencies::default();
    let until = BootClock.now() + measured;
    let written = loop {
        let before = BootClock.now();
        if before >= until {
            break Ok(());
        }
        let step = file
            .write_all(&[0x5a; BYTES])
            .and_then(|()| file.sync_data());
        if let Err(error) = step {
            break Err(error);
        }
        latencies.record(BootClock.now().since(before));
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    };
    std::fs::remove_file(&path)?;
    written?;
    Ok(latencies)
}
