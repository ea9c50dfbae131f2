//! While a sidecar may trust its session, the cell keeps it: a leader that was stopped, elected or restarted
//! ends nothing that was renewed. In: sessions that sidecars trust, and the newest table. Out: one that is gone.
//! Never: a session judged by the clock of anyone but its own sidecar.

use sidelock::sidecar::desk::Desk;
use sidelock::table::Table;
use sidelock::table::id::SessionId;
use sidelock::world::clock::Instant;

/// The session that this sidecar trusts at this moment.
pub fn trusted(desk: &Desk, now: Instant) -> Option<SessionId> {
    let view = desk.mode_view(now);
    let session = view.sessions.first()?;
    let id = session.session.map(SessionId)?;
    (!session.safe_for.is_zero()).then_some(id)
}

/// Whether `table`, the newest of all, has each of them.
pub fn check(trusted: &[(usize, SessionId)], table: &Table) -> Result<(), String> {
    let gone = trusted
        .iter()
        .find(|(_, session)| table.session(*session).is_none());
    match gone {
        None => Ok(()),
        Some((pod, session)) => Err(format!(
            "pod {pod} may trust its session {session}, but the cell has ended it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_session_that_is_gone_is_found() {
        check(&[], &Table::default()).expect("nobody trusts");
        check(&[(0, SessionId(1))], &Table::default()).expect_err("it is gone");
    }
}
