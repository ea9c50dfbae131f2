//! `sidelock completion SHELL`: the completion script, generated from the arguments themselves.
//! In: the name of a shell. Out: a script on stdout. Never: a hand-written copy of the flags.

use super::exit::{self, Outcome};

/// Arguments of `completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> Outcome {
    clap_complete::generate(
        args.shell,
        &mut super::command(),
        "sidelock",
        &mut std::io::stdout(),
    );
    Ok(exit::OK)
}
