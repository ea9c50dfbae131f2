//! Why a lock is as it is, in sentences for people.
//! In: all that the table says of a lock. Out: one sentence. Never: anything that the view does not say.

use std::time::Duration;

use super::history::HistoryBody;
use crate::table::id::ClaimId;
use crate::table::survey::{HolderWhy, WaiterWhy, WhyView};

/// Of very many holders or locks, so many are named.
const NAMED_MAX: usize = 3;

/// The whole lock: who has it, and who would.
pub fn of_lock(view: &WhyView) -> String {
    let queue = match (view.queue.first(), view.waiters) {
        (None, _) | (_, 0) => "nobody waits".to_owned(),
        (Some(first), count) => {
            let first = &first.waiter;
            let waits = if count == 1 {
                "claim waits"
            } else {
                "claims wait"
            };
            let next = format!("{} on {}", first.claim_id, first.identity);
            format!("{count} {waits}, next is {next}")
        }
    };
    let closed = view.lock_delay_ms;
    if !view.holders.is_empty() {
        return format!("{}; {queue}", held(&view.holders));
    }
    if let Some(delay_ms) = closed {
        let delay = span(Duration::from_millis(delay_ms.into()));
        return format!("closed for a lock-delay of {delay} after its holder died; {queue}");
    }
    match view.history.first() {
        None => format!("free, and nothing is remembered of it; {queue}"),
        Some(last) => {
            let last = HistoryBody::from(last);
            format!("free; {queue}; last: {}", last.sentence())
        }
    }
}

fn held(holders: &[HolderWhy]) -> String {
    let one = |why: &HolderWhy| {
        let holder = &why.holder;
        let held = span(why.held);
        let breaking = if holder.breaking {
            ", asked by an operator to let go"
        } else {
            ""
        };
        match (why.delegated, &why.user) {
            (false, _) => {
                let (claim, on) = (&holder.claim_id, &holder.identity);
                format!("{claim} on {on} for {held}{breaking}")
            }
            (true, None) => {
                let on = &holder.identity;
                format!("the sidecar {on}, which keeps it for its apps, for {held}{breaking}")
            }
            (true, Some(user)) => {
                let (claim, on) = (&user.claim_id, &holder.identity);
                format!("{claim} on {on}, whose sidecar has kept it for {held}{breaking}")
            }
        }
    };
    listed("held by ", holders.iter().map(one), holders.len())
}

/// One waiter: what it waits for.
pub fn of_waiter(view: &WhyView, why: &WaiterWhy) -> String {
    let elsewhere = || {
        let names = why.elsewhere.iter().map(ToString::to_string);
        listed("", names, why.elsewhere.len())
    };
    if why.behind == 0 {
        return match (view.lock_delay_ms, why.elsewhere.is_empty()) {
            (Some(_), _) => "waits until the lock-delay is over".to_owned(),
            (None, false) => format!("could have this lock, and waits for {}", elsewhere()),
            (None, true) if why.trial => {
                "waits to hear whether a lock that is kept at a sidecar is in use".to_owned()
            }
            (None, true) => "is next".to_owned(),
        };
    }
    let holds = |id: &&ClaimId| {
        view.holders.iter().any(|it| {
            let user = it.user.as_ref().map(|user| &user.claim_id);
            it.holder.claim_id == **id || user == Some(*id)
        })
    };
    let holders = why.waits_for.iter().filter(holds).count();
    let named = why.waits_for.iter().map(ToString::to_string);
    let behind = usize::try_from(why.behind).unwrap_or(usize::MAX);
    let whom = listed("waits for ", named, behind);
    let how = match (holders, behind) {
        (0, 1) => ", which waits before it",
        (0, _) => ", which wait before it",
        (holders, behind) if holders < behind => ", which hold the lock or wait before it",
        (1, _) => ", which holds the lock",
        _ => ", which hold the lock",
    };
    let trial = if why.trial {
        ", and gives up if it is in use"
    } else {
        ""
    };
    let also = if why.elsewhere.is_empty() {
        String::new()
    } else {
        format!("; also for {}", elsewhere())
    };
    format!("{whom}{how}{trial}{also}")
}

/// The first few of them, and how many more there are.
fn listed(lead: &str, items: impl Iterator<Item = String>, count: usize) -> String {
    let named: Vec<String> = items.take(NAMED_MAX).collect();
    let more = count.saturating_sub(named.len());
    let named = named.join(", ");
    match more {
        0 => format!("{lead}{named}"),
        more => format!("{lead}{named} and {more} more"),
    }
}

/// Elapsed time as people read it.
fn span(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::table::command::{Mode, Party};
    use crate::table::id::{ClaimRef, LockName, OwnerId, Seq, SessionId, Token};
    use crate::table::view::{HolderView, WaiterView};

    const CLAIM: ClaimRef = ClaimRef {
        session: SessionId(1),
        seq: Seq(1),
    };

    fn id(text: &str) -> ClaimId {
        ClaimId::parse(text).expect("a valid id")
    }

    fn lock(text: &str) -> LockName {
        LockName::parse(text).expect("a valid name")
    }

    fn holder(claim: &str, held_ms: u64) -> HolderWhy {
        HolderWhy {
            holder: HolderView {
                claim: CLAIM,
                claim_id: id(claim),
                owner: OwnerId::of(&id(claim)),
                identity: "pod-1".into(),
                mode: Mode::Shared,
                token: Token::new(7).expect("a token"),
                metadata: BTreeMap::new(),
                value: None,
                breaking: false,
            },
            held: Duration::from_millis(held_ms),
            delegated: false,
            user: None,
        }
    }

    fn waiter(waits_for: &[&str], behind: u32) -> WaiterWhy {
        WaiterWhy {
            waiter: WaiterView {
                claim: CLAIM,
                claim_id: id("w"),
                owner: OwnerId::of(&id("w")),
                identity: "pod-2".into(),
                mode: Mode::Exclusive,
                priority: 0,
            },
            waits_for: waits_for.iter().map(|claim| id(claim)).collect(),
            behind,
            elsewhere: Vec::new(),
            trial: false,
        }
    }

    fn view(holders: Vec<HolderWhy>) -> WhyView {
        WhyView {
            name: lock("a"),
            holders,
            queue: Vec::new(),
            waiters: 0,
            lock_delay_ms: None,
            history: Vec::new(),
        }
    }

    #[test]
    fn a_lock_is_told_in_one_sentence() {
        let held = |ms| of_lock(&view(vec![holder("c", ms)]));
        assert_eq!(held(7), "held by c on pod-1 for 7 ms; nobody waits");
        assert_eq!(
            held(61_500),
            "held by c on pod-1 for 1 min 1 s; nobody waits"
        );
        assert_eq!(
            held(7_260_000),
            "held by c on pod-1 for 2 h 1 min; nobody waits"
        );
        let mut many = view(
            ["c", "d", "e", "f"]
                .map(|claim| holder(claim, 2_340))
                .into(),
        );
        many.queue = vec![waiter(&["c"], 4)];
        many.waiters = 3;
        assert_eq!(
            of_lock(&many),
            "held by c on pod-1 for 2.3 s, d on pod-1 for 2.3 s, e on pod-1 for 2.3 s and 1 more; \
             3 claims wait, next is w on pod-2"
        );
        let mut kept = view(vec![holder("c", 2_000)]);
        kept.holders[0].delegated = true;
        assert_eq!(
            of_lock(&kept),
            "held by the sidecar pod-1, which keeps it for its apps, for 2.0 s; nobody waits"
        );
        kept.holders[0].holder.breaking = true;
        kept.holders[0].user = Some(Party {
            claim: CLAIM,
            claim_id: id("u"),
            owner: OwnerId::of(&id("u")),
            identity: "pod-1".into(),
            trace_id: "".into(),
        });
        assert_eq!(
            of_lock(&kept),
            "held by u on pod-1, whose sidecar has kept it for 2.0 s, asked by an operator to let go; \
             nobody waits"
        );
        let mut closed = view(Vec::new());
        let free = "free, and nothing is remembered of it; nobody waits";
        assert_eq!(of_lock(&closed), free);
        closed.lock_delay_ms = Some(2_000);
        assert_eq!(
            of_lock(&closed),
            "closed for a lock-delay of 2.0 s after its holder died; nobody waits"
        );
    }

    #[test]
    fn a_waiter_is_told_in_one_sentence() {
        let lock_held = view(["c", "d"].map(|claim| holder(claim, 1)).into());
        let told = |waits_for: &[&str], behind| of_waiter(&lock_held, &waiter(waits_for, behind));
        assert_eq!(told(&["c"], 1), "waits for c, which holds the lock");
        assert_eq!(told(&["c", "d"], 2), "waits for c, d, which hold the lock");
        assert_eq!(told(&["x"], 1), "waits for x, which waits before it");
        assert_eq!(
            told(&["c", "d", "x", "y"], 20),
            "waits for c, d, x and 17 more, which hold the lock or wait before it"
        );
        let mut elsewhere = waiter(&[], 0);
        assert_eq!(of_waiter(&lock_held, &elsewhere), "is next");
        elsewhere.elsewhere = vec![lock("b")];
        assert_eq!(
            of_waiter(&lock_held, &elsewhere),
            "could have this lock, and waits for b"
        );
        let mut both = waiter(&["c"], 1);
        both.elsewhere = vec![lock("b"), lock("e")];
        both.trial = true;
        assert_eq!(
            of_waiter(&lock_held, &both),
            "waits for c, which holds the lock, and gives up if it is in use; also for b, e"
        );
    }
}
