//! Who is read-only grants nothing. In: a sidecar's mode at the end of a step, and what it granted in it.
//! Out: a grant that should not be. Never: a grant of the core's that was on its way: hearing it ends the mode.

use sidelock::sidecar::handle::SidecarMode;

/// Whether a sidecar in this mode may have granted so many claims.
pub fn check(pod: usize, mode: SidecarMode, granted: usize) -> Result<(), String> {
    match mode {
        SidecarMode::ReadOnly if granted > 0 => Err(format!(
            "pod {pod} is read-only and has granted {granted} claims"
        )),
        SidecarMode::ReadOnly | SidecarMode::Normal | SidecarMode::Jeopardy => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grants_in_read_only_are_found() {
        check(0, SidecarMode::Normal, 1).expect("it may");
        check(0, SidecarMode::ReadOnly, 0).expect("it did not");
        check(0, SidecarMode::ReadOnly, 1).expect_err("it must not");
    }
}
