//! How a command ends: exit codes, and the one error type that carries them.
//! In: what went wrong. Out: a number that scripts can rely on, and a sentence for people.
//! Never: a code that is not listed here.

use std::fmt;
use std::process::ExitCode;

/// All went well.
pub const OK: u8 = 0;
/// The answer is "no", or the command failed for a reason with no code of its own.
pub const FAILED: u8 = 1;
/// The command line is wrong (EX_USAGE of sysexits.h).
pub const USAGE: u8 = 64;
/// No sidecar, no core or no quorum (EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;
/// `run` lost the lock while its command was running (EX_TEMPFAIL).
pub const LOST: u8 = 75;
/// `run` found the command but could not execute it, as shells say it.
pub const CANNOT_EXECUTE: u8 = 126;
/// `run` did not find the command, as shells say it.
pub const NOT_FOUND: u8 = 127;

/// A failed command: its exit code, and what to print on stderr.
#[derive(Debug)]
pub struct Failure {
    /// One of the codes above, or a child's.
    pub code: u8,
    /// A whole sentence, or nothing if all has been said.
    pub text: String,
}

impl Failure {
    /// With a code of this file.
    pub fn new(code: u8, text: impl fmt::Display) -> Self {
        Self {
            code,
            text: text.to_string(),
        }
    }

    /// Something that makes no sense together, beyond what clap can see.
    pub fn usage(text: impl fmt::Display) -> Self {
        Self::new(USAGE, text)
    }

    /// Nobody there to ask.
    pub fn unavailable(text: impl fmt::Display) -> Self {
        Self::new(UNAVAILABLE, text)
    }

    /// Prints the text and gives the code to the system.
    pub fn report(self) -> ExitCode {
        if !self.text.is_empty() {
            eprintln!("sidelock: {}", self.text);
        }
        ExitCode::from(self.code)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(FAILED, format_args!("{error:#}"))
    }
}

/// What every command returns: the code to exit with.
pub type Outcome = Result<u8, Failure>;
