//! The command line: a file per command, and what they share.
//! In: arguments, environment, a YAML file. Out: running parts, tables, exit codes.
//! Never: a rule about locks; those live in `table`, `core` and `sidecar`.

mod args;
mod entry;
mod exit;

mod certs;
mod cluster;
mod completion;
mod core;
mod dev;
mod drain;
mod healthcheck;
mod injector;
mod locks;
mod openapi;
mod run;
mod serve;
mod sidecar;

mod claims;
mod client;
mod listen;
mod print;
mod tls;
mod why;
mod worth;

pub use args::command;
pub use entry::main;
