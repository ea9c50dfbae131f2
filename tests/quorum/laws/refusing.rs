//! Who is read-only grants nothing. In: a sidecar's mode and how many claims hold there, after each thing that
//! it hears or is asked. Out: a grant that should not be. Never: a grant of the core's: to hear it ends the mode.

use sidelock::sidecar::desk::Desk;
use sidelock::sidecar::handle::SidecarMode;
use sidelock::world::clock::Instant;

/// One sidecar as it was when last looked at.
#[derive(Debug, Default)]
pub struct Refusing {
    granted: u64,
}

impl Refusing {
    /// To be called after everything that may have changed the desk.
    pub fn look(&mut self, desk: &Desk, now: Instant) -> Result<(), String> {
        self.check(
            desk.mode(now),
            desk.status_view(now, std::iter::empty()).granted,
        )
    }

    fn check(&mut self, mode: SidecarMode, granted: u64) -> Result<(), String> {
        let before = std::mem::replace(&mut self.granted, granted);
        match mode {
            SidecarMode::ReadOnly if granted > before => Err(format!(
                "it is read-only and has granted {} claims",
                granted - before
            )),
            SidecarMode::ReadOnly | SidecarMode::Normal | SidecarMode::Jeopardy => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grants_in_read_only_are_found() {
        let mut one = Refusing::default();
        one.check(SidecarMode::Normal, 1).expect("it may");
        one.check(SidecarMode::ReadOnly, 1).expect("it did not");
        one.check(SidecarMode::ReadOnly, 0).expect("one was let go");
        one.check(SidecarMode::ReadOnly, 1)
            .expect_err("it must not");
    }
}
