//! A file for each command.

pub mod bench;
pub mod echo;
pub mod flame;
pub mod load;
pub mod report;
pub mod sessions;
