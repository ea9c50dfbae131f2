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
    pub fn frame(&mut self, now: u64, pod: usize, frame: &impl prost::Message) {
        self.bytes(now, pod, &frame.encode_to_vec());
    }

    /// One more frame, as bytes.
    pub fn bytes(&mut self, now: u64, from: usize, bytes: &[u8]) {
        self.frames += 1;
        (now, from, bytes).hash(&mut self.digest);
    }

    /// How many frames, and their digest.
    pub fn sum(&self) -> (u64, u64) {
        (self.frames, self.digest.finish())
    }
}
