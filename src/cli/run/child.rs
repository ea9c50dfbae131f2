//! The command in its own process group.
//! In: program, arguments, environment. Out: its exit code. Never: a signal to a group that is gone.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::cli::exit::{CANNOT_EXECUTE, FAILED, Failure, NOT_FOUND};
use crate::world::clock::{BootClock, Clock, Instant};

/// How often we look whether a terminated group is gone.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The running command.
pub struct Child {
    process: tokio::process::Child,
    group: Pid,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts it, with these variables added to its environment.
    pub fn start(command: &[OsString], variables: &[(&str, String)]) -> Result<Self, Failure> {
        let (program, arguments) = command.split_first().expect("clap requires a command");
        let started = tokio::process::Command::new(program)
            .args(arguments)
            .envs(variables.iter().map(|(key, value)| (*key, value)))
            .process_group(0)
            .spawn();
        let process = started.map_err(|error| {
            let code = match error.kind() {
                ErrorKind::NotFound => NOT_FOUND,
                _ => CANNOT_EXECUTE,
            };
            Failure::new(code, format_args!("{}: {error}", program.to_string_lossy()))
        })?;
        let group = process
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .expect("a process that nobody has waited for has an id");
        Ok(Self {
            process,
            group,
            status: None,
        })
    }

    /// Waits for the command itself (not for all its group).
    pub async fn wait(&mut self) -> Result<ExitStatus, Failure> {
        let waited = self.process.wait().await;
        let status = waited.map_err(|error| Failure::new(FAILED, error))?;
        self.status = Some(status);
        Ok(status)
    }

    /// Sends a signal to the group. One that is gone has no use for it.
    pub fn signal(&self, signal: Signal) {
        if let Err(error) = rustix::process::kill_process_group(self.group, signal)
            && error != rustix::io::Errno::SRCH
        {
            eprintln!("sidelock: cannot signal the command: {error}");
        }
    }

    /// SIGTERM now; SIGKILL at `kill_at` to what is left of the group.
    pub async fn end(&mut self, kill_at: Instant) {
        self.signal(Signal::TERM);
        // A stopped process acts on SIGTERM only once it goes on.
        self.signal(Signal::CONT);
        while BootClock.now() < kill_at {
            if self.status.is_none() && matches!(self.process.try_wait(), Ok(Some(_))) {
                // Reaped; from now on only the rest of the group counts.
                self.status = Some(ExitStatus::default());
            }
            if self.status.is_some() && self.is_gone() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.signal(Signal::KILL);
        if self.status.is_none() {
            // The kill cannot fail to end it; an error here means that it was already reaped.
            self.process.wait().await.ok();
        }
    }

    fn is_gone(&self) -> bool {
        rustix::process::test_kill_process_group(self.group) == Err(rustix::io::Errno::SRCH)
    }
}

/// The exit code that a shell would show.
pub fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    // Exit codes have 8 bits, and 128 + the highest signal (64) fits as well.
    u8::try_from(code).unwrap_or(u8::MAX)
}
