//! The operators' page `/ui`: plain HTML, CSS and modules, built into the program, without a build of their own.

mod files;
mod page;

pub use page::{answer, live};
