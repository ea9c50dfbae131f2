//! The command line, as its users see it: the real binary, its exit codes and what it prints.
//! Where a sidecar has to misbehave (go silent, lose a claim), a few lines play it.

mod played;

mod operate;
mod options;
mod run;
