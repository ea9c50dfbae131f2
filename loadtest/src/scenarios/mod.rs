//! What is measured: a file for each scenario.
//! In: a bench. Out: runs. Never: a verdict; `report/bars.rs` gives those, from the raw data.

mod bench;
mod expiry;
mod failover;
mod fifo;
mod fleet;
mod greedy;
mod hand_over;
mod held;
mod hot;
mod idle;
mod jeopardy;
mod locality;
mod long;
mod overload;
mod pairs;
mod ping_pong;
mod renewals;
mod shapes;
mod single;
mod startup;
mod tracing;
mod used;
mod weight;

use std::time::Duration;

use clap::ValueEnum;
use futures::future::LocalBoxFuture;

pub use bench::{Bench, Case};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Form {
    /// Half a minute: does it work at all?
    Smoke,
    /// Some six minutes: the table of the README.
    Quick,
    /// All of it, the long run of 20 minutes included: some 75 minutes.
    Full,
}

impl Form {
    /// After this, what has not been measured is left out.
    pub fn bound(self) -> Duration {
        Duration::from_secs(match self {
            Self::Smoke => 3 * 60,
            Self::Quick => 12 * 60,
            Self::Full => 150 * 60,
        })
    }
}

/// One scenario.
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// The smallest form that has it.
    pub from: Form,
    pub run: for<'a> fn(&'a mut Bench) -> LocalBoxFuture<'a, anyhow::Result<()>>,
}

/// All of them, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "single",
        about: "one uncontended acquire now and then",
        from: Form::Smoke,
        run: |bench| Box::pin(single::run(bench)),
    },
    Scenario {
        name: "pairs",
        about: "acquire and release of locks that nobody else wants",
        from: Form::Smoke,
        run: |bench| Box::pin(pairs::run(bench)),
    },
    Scenario {
        name: "hot",
        about: "one lock that all want",
        from: Form::Smoke,
        run: |bench| Box::pin(hot::run(bench)),
    },
    Scenario {
        name: "fifo",
        about: "who is next in line",
        from: Form::Quick,
        run: |bench| Box::pin(fifo::run(bench)),
    },
    Scenario {
        name: "failover",
        about: "the leader is killed",
        from: Form::Quick,
        run: |bench| Box::pin(failover::run(bench)),
    },
    Scenario {
        name: "startup",
        about: "from start to ready, idle memory",
        from: Form::Quick,
        run: |bench| Box::pin(startup::run(bench)),
    },
    Scenario {
        name: "hand-over",
        about: "a kept and idle lock, taken by another pod",
        from: Form::Quick,
        run: |bench| Box::pin(hand_over::run(bench)),
    },
    Scenario {
        name: "ping-pong",
        about: "one lock between two pods",
        from: Form::Quick,
        run: |bench| Box::pin(ping_pong::run(bench)),
    },
    Scenario {
        name: "locality",
        about: "two pods, 95 % of the locks their own",
        from: Form::Quick,
        run: |bench| Box::pin(locality::run(bench)),
    },
    Scenario {
        name: "greedy",
        about: "one pod with eight workers, seven with one",
        from: Form::Full,
        run: |bench| Box::pin(greedy::run(bench)),
    },
    Scenario {
        name: "shapes",
        about: "shared, counted, several at once",
        from: Form::Full,
        run: |bench| Box::pin(shapes::run(bench)),
    },
    Scenario {
        name: "weight",
        about: "memory and processor share of a sidecar",
        from: Form::Full,
        run: |bench| Box::pin(weight::run(bench)),
    },
    Scenario {
        name: "tracing",
        about: "what traces cost",
        from: Form::Full,
        run: |bench| Box::pin(tracing::run(bench)),
    },
    Scenario {
        name: "overload",
        about: "three times the capacity",
        from: Form::Full,
        run: |bench| Box::pin(overload::run(bench)),
    },
    Scenario {
        name: "renewals",
        about: "100,000 claims renewed by their apps",
        from: Form::Full,
        run: |bench| Box::pin(renewals::run(bench)),
    },
    Scenario {
        name: "expiry",
        about: "100,000 claims expire at once",
        from: Form::Full,
        run: |bench| Box::pin(expiry::run(bench)),
    },
    Scenario {
        name: "held",
        about: "a million held locks",
        from: Form::Full,
        run: |bench| Box::pin(held::run(bench)),
    },
    Scenario {
        name: "idle",
        about: "10,000 idle sidecars",
        from: Form::Full,
        run: |bench| Box::pin(idle::run(bench)),
    },
    Scenario {
        name: "jeopardy",
        about: "sidecars over TLS, the leader is killed",
        from: Form::Smoke,
        run: |bench| Box::pin(jeopardy::run(bench)),
    },
    Scenario {
        name: "long",
        about: "half load for a long time",
        from: Form::Full,
        run: |bench| Box::pin(long::run(bench)),
    },
];
