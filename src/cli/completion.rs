//! `sidelock completion SHELL`: the completion script, generated from the arguments themselves.
//! In: the name of a shell. Out: a script on stdout. Never: a hand-written copy of the flags.

use super::exit::Outcome;
use super::print;

/// Arguments of `completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "sidelock", &mut script);
    print::line(String::from_utf8_lossy(&script).trim_end())
}
