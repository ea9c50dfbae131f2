//! The command line as data: one enum of commands, each with its own arguments.
//! In: clap's definitions. Out: `Cli`. Never: a flag that ends in `port` (Kubernetes would set it).

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use super::{
    certs, claims, cluster, completion, core, dev, drain, healthcheck, injector, locks, run,
    sidecar,
};

/// Distributed locks for any service, in any language, over http://localhost:5625.
///
/// Every option can be given as a flag, as an environment variable or, with `--config`, in a YAML
/// file whose keys are the names of the flags; the flag wins over the variable, and that over the
/// file.
#[derive(Debug, Parser)]
#[command(
    name = "sidelock",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// YAML file with options of the command, keyed by the names of its flags
    #[arg(long, value_name = "FILE", global = true, env = "SIDELOCK_CONFIG")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Everything `sidelock` can do. Those without a line here have it on their arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    Dev(dev::Args),
    Core(core::Args),
    Sidecar(sidecar::Args),
    Run(run::Args),
    /// Look at locks, break or verify them
    #[command(subcommand)]
    Locks(locks::Command),
    /// Look at the claims of a sidecar
    #[command(subcommand)]
    Claims(claims::Command),
    Cluster(cluster::Args),
    Drain(drain::Args),
    Certs(certs::Args),
    Injector(injector::Args),
    Healthcheck(healthcheck::Args),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completion(completion::Args),
    /// Print the OpenAPI document of the local API
    #[command(hide = true)]
    Openapi,
}

/// The whole command line, for parsing, help and completion.
pub fn command() -> clap::Command {
    Cli::command()
}
