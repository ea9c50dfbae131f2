//! Whether a history of one lock could be that of a lock at all: is it linearizable?
//! In: holds, by what their apps saw and when. Out: nothing, or the first hold that cannot be explained.
//! Never: a guess about a claim whose answer never came; it may only have kept others waiting.
//!
//! The object is a lock with tokens: an exclusive grant needs it free and gives a greater token than ever
//! before; a hold ends by its release or by its lease. These tokens are unique, so only their order can
//! explain a history, and the earliest moment for each step is the best one: that makes the check linear.
//! The test below compares it with stateright's search over all orders. Holds that may share are judged by
//! what every explanation needs: of two that exclude each other the one with the lesser token ends before
//! the other is granted, and no more permits are certainly held at any moment than there are.

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Exclusive,
    Shared,
    /// One of so many permits.
    Permit {
        of: usize,
    },
}

/// One claim that was granted, in milliseconds of one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    pub mode: Mode,
    pub token: u64,
    /// When it was asked for.
    pub asked: u64,
    /// When the answer was here.
    pub granted: u64,
    /// Until when it certainly held: it was released then at the earliest, or was promised until then.
    pub certain: u64,
}

pub fn check(holds: &[Hold]) -> Result<(), String> {
    let (alone, together): (Vec<Hold>, Vec<Hold>) =
        holds.iter().partition(|hold| hold.mode == Mode::Exclusive);
    check_exclusive(&alone)?;
    for one in &together {
        for other in &alone {
            let (first, second) = match one.token < other.token {
                true => (one, other),
                false => (other, one),
            };
            if first.certain > second.granted || first.token == second.token {
                return Err(format!("{second:?} while this held: {first:?}"));
            }
        }
    }
    check_permits(&together)
}

/// At no moment more of them are certainly held than there are.
fn check_permits(holds: &[Hold]) -> Result<(), String> {
    for hold in holds {
        let Mode::Permit { of } = hold.mode else {
            continue;
        };
        let beside = holds
            .iter()
            .filter(|other| other.granted <= hold.granted && hold.granted < other.certain);
        let beside = beside.count();
        if beside > of {
            return Err(format!("{hold:?} is one of {beside}"));
        }
    }
    Ok(())
}

fn check_exclusive(holds: &[Hold]) -> Result<(), String> {
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

    fn hold(mode: Mode, token: u64, granted: u64, certain: u64) -> Hold {
        Hold {
            mode,
            token,
            asked: granted,
            granted,
            certain,
        }
    }

    #[test]
    fn those_that_share_may_overlap_and_others_may_not() {
        let (alone, shared) = (Mode::Exclusive, Mode::Shared);
        check(&[hold(shared, 1, 0, 9), hold(shared, 2, 1, 8)]).expect("they share");
        check(&[hold(shared, 1, 0, 5), hold(alone, 2, 5, 8)]).expect("one after the other");
        check(&[hold(shared, 1, 0, 5), hold(alone, 2, 4, 8)]).expect_err("at the same time");
        check(&[hold(shared, 3, 0, 4), hold(alone, 2, 5, 8)]).expect_err("the tokens went back");
        let permit = Mode::Permit { of: 2 };
        let two = [hold(permit, 1, 0, 9), hold(permit, 2, 1, 9)];
        check(&two).expect("there are two");
        check(&[two[0], two[1], hold(permit, 3, 9, 10)]).expect("two have ended");
        check(&[two[0], two[1], hold(permit, 3, 8, 10)]).expect_err("a third");
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
                        mode: Mode::Exclusive,
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
