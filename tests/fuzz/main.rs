//! What comes from outside is thrown at what reads it: bytes at random, and valid encodings mangled.
//! In: bytes of the fuzzer. Out: a panic, a broken law, or a value that does not survive its encoding.
//! Never: a socket, or a run without an end: each target takes a second, or `SIDELOCK_FUZZ_SECONDS`.
//!
//! `cargo test --test fuzz` runs all targets over random inputs; a failure names a `BOLERO_RANDOM_SEED`
//! that repeats it. `cargo bolero test -T fuzz NAME` runs one under a coverage-guided engine.

mod cores;
mod dice;
mod entries;
mod files;
mod hostile;
mod http;
mod names;
mod news;
mod records;
mod sidecars;

use std::time::Duration;

/// Most bytes of one input; a frame is made of some twenty.
const INPUT_BYTES_MAX: usize = 1_024;

/// How long each target runs.
fn budget() -> Duration {
    let told = std::env::var("SIDELOCK_FUZZ_SECONDS");
    let told = told.ok().and_then(|seconds| seconds.parse().ok());
    told.map_or(Duration::from_millis(1_000), Duration::from_secs_f64)
}

/// Runs a target over inputs of the fuzzer.
macro_rules! throw {
    ($target:expr) => {
        bolero::check!()
            .with_test_time($crate::budget())
            .with_max_len(2 * $crate::INPUT_BYTES_MAX)
            .with_generator(
                bolero::generator::produce::<Vec<u8>>()
                    .with()
                    .len(0..$crate::INPUT_BYTES_MAX),
            )
            .for_each(|input: &Vec<u8>| $target($crate::dice::Dice::new(input)))
    };
}
pub(crate) use throw;
