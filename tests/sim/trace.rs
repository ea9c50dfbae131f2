//! What happened in a run, in few bytes, by which two runs are compared.
//! In: instants and frames. Out: how many, and a digest of them in order. Never: an address or a real time.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A digest of all frames so far.
#[derive(Debug, Default)]
pub struct Trace {
    frames: u64,
    digest: DefaultHasher,
}

impl Trace {
    /// One more frame.
    pub fn frame(&mut self, now_ms: u64, pod: usize, frame: &impl prost::Message) {
        self.frames += 1;
        (now_ms, pod, frame.encode_to_vec()).hash(&mut self.digest);
    }

    /// How many frames, and their digest.
    pub fn sum(&self) -> (u64, u64) {
        (self.frames, self.digest.finish())
    }
}
