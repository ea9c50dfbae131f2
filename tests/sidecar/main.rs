//! Sidecars against a real node of a real cell, with a wire between them that can be cut.

mod cell;
mod claims;
mod cuts;
mod cycles;
