//! What the running parts tell people: logs now, traces and metrics beside them later.

pub mod logs;
