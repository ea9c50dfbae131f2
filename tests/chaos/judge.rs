//! Whether a history of one lock could be that of a lock at all: is it linearizable?
//! In: holds, by what their apps saw and when. Out: nothing, or the first hold that cannot be explained.
//! Never: a guess about a claim whose answer never came; it may only have kept others waiting.
//!
//! The object is a lock with tokens: a grant needs it free and gives a greater token than ever before; a
//! hold ends by its release or by its lease. Tokens are unique, so only their order can explain a history,
//! and the earliest moment for each step is the best one: that makes the check linear. The test below
//! compares it with stateright's search over all orders.

/// One claim that was granted, in milliseconds of one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    pub token: u64,
    /// When it was asked for.
    pub asked: u64,
    /// When the answer was here.
    pub granted: u64,
    /// Until when it certainly held: it was released then at the earliest, or was promised until then.
    pub certain: u64,
}

pub fn check(holds: &[Hold]) -> Result<(), String> {
    let mut holds = holds.to_vec();
    holds.sort_by_key(|hold| hold.token);
    let mut free_from = 0;
    let mut before: Option<Hold> = None;
    for hold in holds {
        if before.is_some_and(|before| before.token == hold.token) {
            return Err(format!("a token given twice: {before:?}, {hold:?}"));
        }
        let at = hold.asked.max(free_from);
        if at > hold.granted {
            return Err(format!(
                "{hold:?} while this held, or out of order: {before:?}"
            ));
        }
        free_from = at.max(hold.certain);
        before = Some(hold);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Lock {
        held: Option<u64>,
        newest: u64,
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Op {
        Acquire,
        End(u64),
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Ret {
        Token(u64),
        Ended,
    }

    impl SequentialSpec for Lock {
        type Op = Op;
        type Ret = Ret;

        fn invoke(&mut self, op: &Op) -> Ret {
            if let Op::End(token) = op
                && self.held == Some(*token)
            {
                self.held = None;
            }
            Ret::Ended
        }

        fn is_valid_step(&mut self, op: &Op, ret: &Ret) -> bool {
            match (op, ret) {
                (Op::Acquire, Ret::Token(token)) => {
                    let may = self.held.is_none() && *token > self.newest;
                    (self.held, self.newest) = (Some(*token), *token);
                    may
                }
                (Op::End(_), Ret::Ended) => {
                    self.invoke(op);
                    true
                }
                _ => false,
            }
        }
    }

    /// What happens at a moment; at the same one, what is asked comes before what is answered.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum What {
        Asked,
        Ends,
        Granted,
    }

    /// The search over all orders. An end may come at any time from when it is certain no longer.
    fn searched(holds: &[Hold]) -> bool {
        let mut events: Vec<(u64, What, usize)> = Vec::new();
        for (at, hold) in holds.iter().enumerate() {
            events.push((hold.asked, What::Asked, at));
            events.push((hold.granted, What::Granted, at));
            events.push((hold.certain, What::Ends, at));
        }
        events.sort();
        let mut tester = LinearizabilityTester::new(Lock::default());
        for (_, what, at) in events {
            let token = holds[at].token;
            match what {
                What::Asked => tester.on_invoke((at, 0), Op::Acquire).map(|_| ()),
                What::Granted => tester.on_return((at, 0), Ret::Token(token)).map(|_| ()),
                What::Ends => tester.on_invoke((at, 1), Op::End(token)).map(|_| ()),
            }
            .expect("each claim is a thread");
        }
        tester.is_consistent()
    }

    #[test]
    fn it_agrees_with_a_search_over_all_orders() {
        let mut dice = StdRng::seed_from_u64(1);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..3_000 {
            let count = dice.random_range(1..5);
            let holds: Vec<Hold> = (0..count)
                .map(|_| {
                    let asked = dice.random_range(0..12);
                    let granted = asked + dice.random_range(0..8);
                    let certain = granted + dice.random_range(0..3);
                    let token = dice.random_range(1..6);
                    Hold {
                        token,
                        asked,
                        granted,
                        certain,
                    }
                })
                .collect();
            let verdict = check(&holds).is_ok();
            assert_eq!(verdict, searched(&holds), "{holds:?}");
            if verdict { good += 1 } else { bad += 1 }
        }
        assert!(good > 300 && bad > 300, "{good} good, {bad} bad");
    }
}
