//! Picks a command and runs it.
//! In: the command line, `SIDELOCK_*`, a config file. Out: an exit code. Never: logic of its own.

fn main() -> std::process::ExitCode {
    sidelock::cli::main()
}
