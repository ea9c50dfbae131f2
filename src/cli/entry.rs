//! From the command line to the running command.
//! In: argv, the environment, the config file. Out: an exit code. Never: clap's own exit code 2.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use clap::FromArgMatches;
use clap::error::ErrorKind;
use clap::parser::ValueSource;

use super::args::{Cli, Command, command};
use super::exit::{self, Failure, Outcome};
use super::{
    certs, claims, cluster, completion, core, dev, drain, healthcheck, injector, locks, openapi,
    print, run, sidecar,
};
use crate::config::file::{self, Whose};
use crate::telemetry::logs;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match dispatch(cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(),
    }
}

/// Parses with the config file's values as the defaults: flag > environment > file.
fn parse(argv: Vec<OsString>) -> Result<Cli, ExitCode> {
    // A first look only for `--config` and the name of the command; errors are for the second look.
    let first = command()
        .ignore_errors(true)
        .try_get_matches_from(&argv)
        .ok();
    let named = first.as_ref().and_then(|matches| {
        let path = matches.get_one::<std::path::PathBuf>("config")?;
        let whose = match matches.value_source("config")? {
            ValueSource::CommandLine => Whose::Command,
            // The environment is a whole container's: of its server, and of the probes and tools beside it.
            _ => Whose::Everybody,
        };
        Some((matches.subcommand_name()?.to_owned(), path.clone(), whose))
    });
    let mut definition = command();
    if let Some((name, path, whose)) = named {
        definition = file::apply(definition, &name, &path, whose)
            .map_err(|error| Failure::usage(error).report())?;
    }
    let parsed = definition
        .try_get_matches_from_mut(&argv)
        .and_then(|matches| Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut definition)));
    parsed.map_err(|error| refuse(&error))
}

/// Help and version are no errors; all else is a usage error.
fn refuse(error: &clap::Error) -> ExitCode {
    // Nothing can be done about a closed stdout or stderr at this point; the code still tells.
    error.print().ok();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::from(exit::OK),
        _ => ExitCode::from(exit::USAGE),
    }
}

fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Dev(args) => server("dev", dev::run(args)),
        Command::Core(args) => server("core", core::run(args)),
        Command::Sidecar(args) => server("sidecar", sidecar::run(args)),
        Command::Run(args) => client(run::run(args)),
        Command::Locks(command) => client(locks::run(command)),
        Command::Claims(command) => client(claims::run(command)),
        Command::Cluster(args) => client(cluster::run(args)),
        Command::Drain(args) => client(drain::run(args)),
        Command::Certs(args) => certs::run(args),
        Command::Injector(args) => server("injector", injector::run(args)),
        Command::Healthcheck(args) => client(healthcheck::run(args)),
        Command::Version => print::line(concat!("sidelock ", env!("CARGO_PKG_VERSION"))),
        Command::Completion(args) => completion::run(&args),
        Command::Openapi => openapi::run(),
    }
}

/// Long-running parts: a worker per core, logs, and whatever else is told of them.
fn server(part: &str, command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    {
        // The exporters live on the runtime.
        let _within = runtime.enter();
        logs::start(part);
    }
    let outcome = runtime.block_on(command);
    logs::finish();
    outcome
}

/// Commands that ask and print: one thread is enough, and stderr is theirs.
fn client(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    runtime.block_on(command)
}
