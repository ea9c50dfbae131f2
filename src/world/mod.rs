//! What a simulator must hold: the clock, the disk and randomness, behind small traits.

pub mod clock;
pub mod engine;
pub mod listener;
