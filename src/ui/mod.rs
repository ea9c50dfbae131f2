//! The operators' page `/ui`: plain HTML, CSS and modules, built into the program, without a build of their own.

mod files;

pub use files::{HEADERS, file};
