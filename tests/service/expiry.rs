//! Design 5.2 and 5.3 as worked tables: when a session's timer fires, and when it may not.

use std::time::Duration;

use sidelock::core::expiry::{DUE_MAX, Expiry, STALL, TICK};
use sidelock::table::command::{Command, Effect, EndCause, OpenSession, Renewal, Reply};
use sidelock::table::id::{
    DelayNumber, Generation, LockName, RenewalNumber, Revision, SessionId, SessionKey,
};
use sidelock::table::state::Table;
use sidelock::world::clock::Instant;

const TERM: Option<u64> = Some(7);

fn at(ms: u64) -> Instant {
    Instant::from_boot(Duration::from_millis(ms))
}

fn timer(session: u64, number: u64, ttl_ms: u32) -> Effect {
    Effect::SessionTimer {
        session: SessionId(session),
        number: RenewalNumber(number),
        ttl_ms,
    }
}

fn apply(expiry: &mut Expiry, ms: u64, effects: &[Effect]) {
    expiry.applied(at(ms), &Table::default(), effects);
}

/// Ticks as the shell does, from `from` to `to`; when each command came first.
fn run(expiry: &mut Expiry, from: u64, to: u64, serving: Option<u64>) -> Vec<(u64, Command)> {
    let step = TICK.as_millis() as u64;
    let mut fired = Vec::new();
    let mut now = from;
    while now <= to {
        fired.extend(expiry.tick(at(now), serving).into_iter().map(|c| (now, c)));
        now += step;
    }
    fired
}

fn expire(session: u64, number: u64) -> Command {
    Command::Expire {
        session: SessionId(session),
        number: RenewalNumber(number),
    }
}

#[test]
fn rule_5_2_a_timer_never_fires_before_its_whole_ttl_and_soon_after() {
    // (applied at, ttl): the sidecar's deadline lies before applied at + ttl in every case.
    for (applied, ttl) in [
        (0, 1_000),
        (50, 1_000),
        (130, 10_000),
        (999, 60_000),
        (7, 1),
    ] {
        for session in 1..50 {
            let mut expiry = Expiry::default();
            run(&mut expiry, 0, applied, TERM);
            apply(&mut expiry, applied, &[timer(session, 3, ttl)]);
            let from = applied / 50 * 50;
            let fired = run(&mut expiry, from, applied + 2 * u64::from(ttl) + 200, TERM);
            let (first, command) = fired.first().expect("it has run out").clone();
            assert_eq!(command, expire(session, 3));
            let earliest = applied + u64::from(ttl);
            let latest = earliest + u64::from(ttl) / 16 + 50;
            assert!(
                (earliest..=latest).contains(&first),
                "applied {applied}, ttl {ttl}: fired at {first}"
            );
        }
    }
}

#[test]
fn rule_5_2_each_applied_renewal_starts_the_timer_anew_with_its_number() {
    let mut expiry = Expiry::default();
    run(&mut expiry, 0, 0, TERM);
    apply(&mut expiry, 0, &[timer(1, 0, 1_000)]);
    assert_eq!(run(&mut expiry, 50, 900, TERM), []);
    apply(&mut expiry, 900, &[timer(1, 1, 1_000)]);
    assert_eq!(run(&mut expiry, 950, 1_850, TERM), []);
    apply(&mut expiry, 1_850, &[timer(1, 2, 1_000)]);
    let fired = run(&mut expiry, 1_900, 3_000, TERM);
    assert_eq!(fired.first().map(|(_, c)| c), Some(&expire(1, 2)));
}

#[test]
fn rule_5_2_replicas_that_do_not_serve_keep_time_but_propose_nothing() {
    let mut follower = Expiry::default();
    apply(&mut follower, 0, &[timer(1, 0, 3_000)]);
    assert_eq!(run(&mut follower, 0, 10_000, None), []);
    // It comes to serve at 10 050: the timer ran out long ago, so one renewal interval (1 s) is all
    // that the session gets, not a full TTL.
    let fired = run(&mut follower, 10_050, 12_000, TERM);
    assert_eq!(fired.first(), Some(&(11_050, expire(1, 0))));
}

#[test]
fn rule_5_2_a_reload_starts_every_session_with_its_full_ttl() {
    let mut table = Table::default();
    let open = |key, ttl_ms| {
        Command::OpenSession(OpenSession {
            key: SessionKey(key),
            ttl_ms,
            identity: "test".into(),
            generation: Generation(1),
            principal: None,
        })
    };
    let mut opened = Vec::new();
    for (index, ttl) in [(1, 1_000), (2, 5_000)] {
        match table.apply(index, &open(u128::from(index), ttl)).0 {
            Reply::SessionOpened { session, .. } => opened.push(session),
            other => panic!("{other:?}"),
        }
    }
    table.apply(
        3,
        &Command::Renew(vec![Renewal {
            session: opened[0],
            generation: Generation(1),
            number: RenewalNumber(9),
            heard: RenewalNumber(0),
        }]),
    );
    let mut expiry = Expiry::default();
    run(&mut expiry, 0, 0, TERM);
    apply(
        &mut expiry,
        0,
        &[timer(opened[0].0, 0, 1_000), timer(77, 0, 1_000)],
    );
    run(&mut expiry, 50, 950, TERM);
    expiry.reloaded(at(950), &table);
    let fired = run(&mut expiry, 1_000, 6_400, TERM);
    let first = |session: SessionId| {
        let found = fired
            .iter()
            .find(|(_, c)| matches!(c, Command::Expire { session: s, .. } if *s == session));
        found.cloned()
    };
    let (when, command) = first(opened[0]).expect("expired");
    assert_eq!(command, expire(opened[0].0, 9), "the table's last renewal");
    assert!(when >= 1_950, "full TTL from the reload, not {when}");
    assert!(first(opened[1]).expect("expired").0 >= 5_950);
    assert_eq!(first(SessionId(77)), None, "unknown to the table");
}

#[test]
fn rule_5_3_nothing_is_proposed_for_a_renewal_interval_of_the_longest_ttl_after_a_new_term() {
    // (longest ttl, serving from): sessions 1 ran out long before.
    for (longest, from) in [(3_000_u32, 20_000_u64), (10_000, 20_000), (60_000, 90_000)] {
        let mut expiry = Expiry::default();
        apply(&mut expiry, 0, &[timer(1, 0, 1_000)]);
        run(&mut expiry, 0, from - 50, None);
        apply(&mut expiry, from - 50, &[timer(2, 0, longest)]);
        let fired = run(&mut expiry, from, from + u64::from(longest), TERM);
        let (first, command) = fired.first().expect("due").clone();
        assert_eq!(command, expire(1, 0));
        let earliest = from + u64::from(longest / 3);
        assert!(
            (earliest..=earliest + 50).contains(&first),
            "{longest}: {first}"
        );
        // A later term of the same node begins with the same patience.
        let again = run(
            &mut expiry,
            200_000,
            200_000 + u64::from(longest / 3) - 50,
            Some(8),
        );
        assert_eq!(again, []);
    }
}

#[test]
fn rule_5_3_a_late_tick_is_a_stall_and_gives_another_renewal_interval() {
    let stall = STALL.as_millis() as u64;
    // (gap between two ticks, when the expiry of a session that ran out at 3 000 to 3 188 may come)
    for (gap, earliest) in [
        (stall, 5_500),
        (stall + 1, 5_501 + 1_000),
        (30_000, 35_000 + 1_000),
    ] {
        let mut expiry = Expiry::default();
        run(&mut expiry, 0, 0, TERM);
        apply(&mut expiry, 0, &[timer(1, 0, 3_000)]);
        assert_eq!(run(&mut expiry, 50, 2_950, TERM), []);
        apply(&mut expiry, 2_950, &[timer(1, 1, 2_400)]);
        apply(&mut expiry, 2_950, &[timer(2, 0, 3_000)]);
        run(&mut expiry, 3_000, 5_000, TERM);
        let fired = run(&mut expiry, 5_000 + gap, 5_000 + gap + 2_000, TERM);
        let (first, command) = fired.first().expect("due").clone();
        assert_eq!(command, expire(1, 1));
        assert_eq!(first, earliest, "gap {gap}");
    }
}

#[test]
fn rule_5_3_a_renewal_during_the_patience_saves_the_session() {
    let mut expiry = Expiry::default();
    apply(&mut expiry, 0, &[timer(1, 4, 3_000)]);
    run(&mut expiry, 0, 9_950, None);
    assert_eq!(run(&mut expiry, 10_000, 10_900, TERM), []);
    apply(&mut expiry, 10_900, &[timer(1, 5, 3_000)]);
    assert_eq!(run(&mut expiry, 10_950, 13_850, TERM), []);
}

#[test]
fn rule_5_6_mass_expiry_is_paced_and_complete() {
    let mut expiry = Expiry::default();
    run(&mut expiry, 0, 0, TERM);
    let dead: Vec<Effect> = (1..=1_000)
        .map(|session| timer(session, 0, 1_000))
        .collect();
    apply(&mut expiry, 0, &dead);
    let mut ended = std::collections::BTreeSet::new();
    for tick in 0..100 {
        let now = tick * 50;
        let due = expiry.tick(at(now), TERM);
        assert!(due.len() <= DUE_MAX);
        for command in due {
            let Command::Expire { session, .. } = command else {
                panic!("{command:?}");
            };
            assert!(ended.insert(session), "proposed once");
            let cause = EndCause::SessionExpired;
            apply(&mut expiry, now, &[Effect::SessionEnded { session, cause }]);
        }
    }
    assert_eq!(ended.len(), 1_000);
}

#[test]
fn an_expiry_without_effect_is_proposed_again() {
    let mut expiry = Expiry::default();
    run(&mut expiry, 0, 0, TERM);
    apply(&mut expiry, 0, &[timer(1, 0, 1_000)]);
    let fired = run(&mut expiry, 50, 4_000, TERM);
    assert_eq!(fired.len(), 2, "{fired:?}");
    assert_eq!(fired[0].1, fired[1].1);
}

#[test]
fn a_lock_delay_runs_its_whole_time_and_is_dropped_when_it_is_over() {
    let lock = LockName::parse("a").expect("valid");
    let mut expiry = Expiry::default();
    run(&mut expiry, 0, 0, TERM);
    let start = Effect::DelayTimer {
        lock: lock.clone(),
        delay: DelayNumber(5),
        delay_ms: 700,
    };
    apply(&mut expiry, 0, &[start]);
    let reopen = Command::Reopen {
        lock: lock.clone(),
        delay: DelayNumber(5),
    };
    assert_eq!(run(&mut expiry, 50, 1_000, TERM), [(700, reopen)]);
    // The table has no such delay any more.
    let changed = Effect::LockChanged {
        lock,
        revision: Revision(9),
    };
    apply(&mut expiry, 1_000, &[changed]);
    assert_eq!(run(&mut expiry, 1_050, 9_000, TERM), []);
}
