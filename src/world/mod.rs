//! What a simulator must hold: the clock, the disk and randomness, behind small traits; and the doors of real sockets.

pub mod accepting;
pub mod clock;
pub mod engine;
pub mod listener;
