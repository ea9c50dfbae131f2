//! The whole: configuration, state, steps. Time is counted in ticks of the core's clock and of each pod's.
//! In: a state. Out: every state that may follow. Never: an order of messages; a network that keeps one.

use std::collections::BTreeSet;

use stateright::{Model, Property};

use crate::core::Core;
use crate::laws;
use crate::pod::Pod;
use crate::resource::Resource;

pub const PODS: usize = 2;

/// What may go wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The deadline counts from when the acknowledgement came in.
    DeadlineFromReceipt,
    /// The deadline is the TTL whole, by another clock.
    NoMargin,
    /// An expiry counts though a renewal was applied after it was proposed.
    ExpiryDoesNotCompare,
    /// A new leader expires by timers that have not heard of the last renewals.
    LeaderKeepsOldTimers,
    /// A return frees the lock though a claim under it goes on.
    ReturnForgetsHolder,
    /// Frames of a process that was taken over from still count.
    OldGenerationCounts,
    /// A process that takes over numbers its grants from the old block again.
    BlockBegunAgain,
}

/// Bounds of the exploration, and the numbers of the protocol.
#[derive(Clone)]
pub struct World {
    pub name: &'static str,
    /// By the core's clock.
    pub ttl: u8,
    /// What a pod makes of it, by its own clock.
    pub safe: u8,
    /// Most ticks of the core between two of a pod; none: any number.
    pub rate: Option<u8>,
    /// Most ticks of the core.
    pub horizon: u8,
    /// Most renewals, requests, take-overs of a pod, and elections.
    pub renewals: u8,
    /// So many of the pods renew at all.
    pub renewing: usize,
    pub asks: u8,
    pub take_overs: u8,
    pub elections: u8,
    /// Whether apps write to the resource, and whether it compares tokens.
    pub writes: bool,
    pub fenced: bool,
    pub mistake: Option<Mistake>,
}

/// What is on its way. It is never taken off: it may arrive late, twice, in any order, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    Renew {
        pod: usize,
        generation: u8,
        number: u8,
    },
    Renewed {
        pod: usize,
        generation: u8,
        number: u8,
    },
    Ask {
        pod: usize,
        generation: u8,
        seq: u8,
    },
    Granted {
        pod: usize,
        seq: u8,
        first: u8,
    },
    Recall {
        pod: usize,
        of: u8,
    },
    Return {
        pod: usize,
        generation: u8,
        seq: u8,
        of: u8,
        kept: bool,
    },
    Release {
        pod: usize,
        generation: u8,
        seq: u8,
    },
    Expire {
        pod: usize,
        number: u8,
    },
    Open {
        pod: usize,
        generation: u8,
    },
    Attached {
        pod: usize,
        generation: u8,
        seq: u8,
        waits: Option<u8>,
        lock: Option<Had>,
    },
}

/// What a process that takes over is told it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Had {
    pub of: u8,
    /// A new block if it is delegated; none if a plain claim holds it.
    pub block: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub core: Core,
    pub pods: [Pod; PODS],
    pub resource: Resource,
    pub net: BTreeSet<Message>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    CoreTicks,
    PodTicks(usize),
    Elected,
    ProposeExpiry(usize),
    Deliver(Message),
    Renew(usize),
    Ask(usize),
    Grant(usize),
    LetGo(usize),
    GiveBack(usize),
    TakeOver(usize),
    Read(usize),
    Write(usize),
}

impl World {
    /// Clocks may differ by a factor of two, so a TTL of 3 is safe for 1.
    pub fn of_the_rules() -> Self {
        Self {
            name: "by the rules",
            ttl: 3,
            safe: 1,
            rate: Some(2),
            horizon: 3,
            renewals: 1,
            renewing: 2,
            asks: 1,
            take_overs: 0,
            elections: 0,
            writes: false,
            fenced: true,
            mistake: None,
        }
    }

    pub fn with_a_take_over() -> Self {
        Self {
            name: "with a take-over",
            renewing: 1,
            take_overs: 1,
            ..Self::of_the_rules()
        }
    }

    pub fn with_an_election() -> Self {
        Self {
            name: "with an election",
            elections: 1,
            ..Self::of_the_rules()
        }
    }

    pub fn of_any_rate() -> Self {
        Self {
            name: "clocks of any rate",
            rate: None,
            renewals: 0,
            writes: true,
            ..Self::of_the_rules()
        }
    }

    pub fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    pub fn safe(&self) -> u8 {
        if self.makes(Mistake::NoMargin) {
            self.ttl
        } else {
            self.safe
        }
    }
}

impl State {
    fn new(world: &World) -> Self {
        Self {
            core: Core::new(world),
            pods: std::array::from_fn(|_| Pod::new(world)),
            resource: Resource::default(),
            net: BTreeSet::new(),
        }
    }

    fn deliver(&mut self, world: &World, message: Message) {
        match message {
            Message::Renewed { pod, .. }
            | Message::Granted { pod, .. }
            | Message::Recall { pod, .. }
            | Message::Attached { pod, .. } => self.pods[pod].hear(world, message),
            _ => self.core.hear(world, message, &mut self.net),
        }
    }
}

impl State {
    /// Drops messages that no longer have any effect, so that states that differ in these alone are one.
    fn forget(&mut self, world: &World) {
        let Self {
            core, pods, net, ..
        } = self;
        net.retain(|message| match message {
            Message::Renewed { pod, .. }
            | Message::Granted { pod, .. }
            | Message::Recall { pod, .. }
            | Message::Attached { pod, .. } => pods[*pod].may_care(*message),
            _ => core.may_care(world, *message),
        });
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if self.core_may_tick(state) {
            actions.push(Action::CoreTicks);
        }
        if state.core.elections < self.elections {
            actions.push(Action::Elected);
        }
        for (at, pod) in state.pods.iter().enumerate() {
            let may = [
                (pod.owed > 0, Action::PodTicks(at)),
                (state.core.may_expire(at), Action::ProposeExpiry(at)),
                (at < self.renewing && pod.may_renew(self), Action::Renew(at)),
                (pod.may_ask(self), Action::Ask(at)),
                (pod.may_grant(), Action::Grant(at)),
                (pod.holds.is_some(), Action::LetGo(at)),
                (pod.may_give_back(), Action::GiveBack(at)),
                (
                    at == 0 && pod.generation < self.take_overs,
                    Action::TakeOver(at),
                ),
                (self.writes && state.resource.may_read(at), Action::Read(at)),
                (
                    self.writes && state.resource.may_write(at),
                    Action::Write(at),
                ),
            ];
            actions.extend(
                may.iter()
                    .filter(|(may, _)| *may)
                    .map(|(_, action)| *action),
            );
        }
        actions.extend(state.net.iter().copied().map(Action::Deliver));
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::CoreTicks => {
                state.core.now += 1;
                let most = self.rate.unwrap_or(1);
                for pod in &mut state.pods {
                    pod.owed = (pod.owed + 1).min(most);
                }
            }
            Action::PodTicks(at) => state.pods[at].tick(),
            Action::Elected => state.core.elected(self),
            Action::ProposeExpiry(pod) => {
                let number = state.core.sessions[pod].renewal;
                state.net.insert(Message::Expire { pod, number });
            }
            Action::Deliver(message) => state.deliver(self, message),
            Action::Renew(at) => {
                let message = state.pods[at].renew(at);
                state.net.insert(message);
            }
            Action::Ask(at) => {
                let message = state.pods[at].ask(at);
                state.net.insert(message);
            }
            Action::Grant(at) => {
                let token = state.pods[at].grant()?;
                state.resource.granted(at, token);
            }
            Action::LetGo(at) => {
                state.net.extend(state.pods[at].let_go(at));
                state.resource.let_go(at);
            }
            Action::GiveBack(at) => {
                state.net.extend(state.pods[at].give_back(at));
            }
            Action::TakeOver(at) => {
                let message = state.pods[at].taken_over(at);
                state.net.insert(message);
            }
            Action::Read(at) => state.resource.read(self, at),
            Action::Write(at) => state.resource.write(self, at),
        }
        state.forget(self);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        laws::all(self)
    }
}

impl World {
    fn core_may_tick(&self, state: &State) -> bool {
        let in_step = |pod: &Pod| self.rate.is_none_or(|most| pod.owed < most);
        state.core.now < self.horizon && state.pods.iter().all(in_step)
    }
}
