//! The core as one: what its log makes of what is told to it, and the leader's timers.
//! In: messages of pods. Out: replies. Never: a second thought about what was applied.

use std::collections::BTreeSet;

use crate::world::{Had, Message, Mistake, PODS, World};

/// Tokens in a block.
pub const BLOCK: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    pub alive: bool,
    pub generation: u8,
    /// The last operation applied.
    pub seq: u8,
    /// The last renewal applied.
    pub renewal: u8,
    deadline: u8,
    /// The request that waits.
    waits: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    pub pod: usize,
    /// The request it was granted to.
    of: u8,
    /// A claim by name, not a delegation.
    plain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Core {
    pub now: u8,
    pub elections: u8,
    pub sessions: [Session; PODS],
    pub holder: Option<Holder>,
    /// The last token of a block.
    counter: u8,
}

impl Core {
    pub fn new(world: &World) -> Self {
        let session = Session {
            alive: true,
            generation: 0,
            seq: 0,
            renewal: 0,
            deadline: world.ttl,
            waits: None,
        };
        Self {
            now: 0,
            elections: 0,
            sessions: [session; PODS],
            holder: None,
            counter: 0,
        }
    }

    pub fn may_expire(&self, pod: usize) -> bool {
        self.sessions[pod].alive && self.now >= self.sessions[pod].deadline
    }

    /// A new leader gives every session its full TTL.
    pub fn elected(&mut self, world: &World) {
        self.elections += 1;
        for session in &mut self.sessions {
            session.deadline = if world.makes(Mistake::LeaderKeepsOldTimers) {
                world.ttl
            } else {
                self.now + world.ttl
            };
        }
    }

    pub fn hear(&mut self, world: &World, message: Message, net: &mut BTreeSet<Message>) {
        match message {
            Message::Renew {
                pod,
                generation,
                number,
            } => {
                let now = self.now;
                let Some(session) = self.session(world, pod, generation) else {
                    return;
                };
                if number > session.renewal {
                    session.renewal = number;
                    session.deadline = now + world.ttl;
                    net.insert(Message::Renewed {
                        pod,
                        generation,
                        number,
                    });
                }
            }
            Message::Expire { pod, number } => {
                let session = &mut self.sessions[pod];
                let stands =
                    number != session.renewal && !world.makes(Mistake::ExpiryDoesNotCompare);
                if session.alive && !stands {
                    session.alive = false;
                    session.waits = None;
                    if self.holder.is_some_and(|holder| holder.pod == pod) {
                        self.freed(net);
                    }
                }
            }
            Message::Open { pod, generation } => self.opened(pod, generation, net),
            Message::Ask {
                pod,
                generation,
                seq,
            } => {
                if self.applies(world, pod, generation, seq) {
                    self.asked(pod, seq, net);
                }
            }
            Message::Return {
                pod,
                generation,
                seq,
                of,
                kept,
            } => {
                if !self.applies(world, pod, generation, seq) {
                    return;
                }
                match &mut self.holder {
                    Some(holder) if holder.pod == pod && holder.of == of && !holder.plain => {
                        if kept && !world.makes(Mistake::ReturnForgetsHolder) {
                            holder.plain = true;
                        } else {
                            self.freed(net);
                        }
                    }
                    _ => {}
                }
            }
            Message::Release {
                pod,
                generation,
                seq,
            } => {
                let applies = self.applies(world, pod, generation, seq);
                if applies
                    && self
                        .holder
                        .is_some_and(|holder| holder.pod == pod && holder.plain)
                {
                    self.freed(net);
                }
            }
            Message::Renewed { .. }
            | Message::Granted { .. }
            | Message::Recall { .. }
            | Message::Attached { .. } => {}
        }
    }

    /// Whether a message may yet have an effect.
    pub fn may_care(&self, world: &World, message: Message) -> bool {
        let speaks = |pod: usize, generation: u8| {
            let session = &self.sessions[pod];
            let old = generation < session.generation;
            session.alive && (!old || world.makes(Mistake::OldGenerationCounts))
        };
        match message {
            Message::Renew {
                pod,
                generation,
                number,
            } => speaks(pod, generation) && number > self.sessions[pod].renewal,
            Message::Ask {
                pod,
                generation,
                seq,
            }
            | Message::Return {
                pod,
                generation,
                seq,
                ..
            }
            | Message::Release {
                pod,
                generation,
                seq,
            } => speaks(pod, generation) && seq > self.sessions[pod].seq,
            Message::Expire { pod, number } => {
                let stands = number != self.sessions[pod].renewal;
                self.sessions[pod].alive && (!stands || world.makes(Mistake::ExpiryDoesNotCompare))
            }
            Message::Open { pod, generation } => {
                self.sessions[pod].alive && generation > self.sessions[pod].generation
            }
            _ => false,
        }
    }

    /// The session, if this process speaks for it.
    fn session(&mut self, world: &World, pod: usize, generation: u8) -> Option<&mut Session> {
        let session = &mut self.sessions[pod];
        let speaks = generation == session.generation || world.makes(Mistake::OldGenerationCounts);
        (session.alive && speaks).then_some(session)
    }

    /// Whether an operation is the next one of its session; it is then applied, once.
    fn applies(&mut self, world: &World, pod: usize, generation: u8, seq: u8) -> bool {
        let Some(session) = self.session(world, pod, generation) else {
            return false;
        };
        let next = seq == session.seq + 1;
        if next {
            session.seq = seq;
        }
        next
    }

    /// Another process speaks for a session from now on, and learns what it has.
    fn opened(&mut self, pod: usize, generation: u8, net: &mut BTreeSet<Message>) {
        let session = &mut self.sessions[pod];
        if !session.alive || generation <= session.generation {
            return;
        }
        session.generation = generation;
        let Session { seq, waits, .. } = *session;
        let lock = self
            .holder
            .filter(|holder| holder.pod == pod)
            .map(|holder| Had {
                of: holder.of,
                block: (!holder.plain).then(|| self.reserve()),
            });
        net.insert(Message::Attached {
            pod,
            generation,
            seq,
            waits,
            lock,
        });
    }

    fn reserve(&mut self) -> u8 {
        self.counter += BLOCK;
        self.counter + 1 - BLOCK
    }

    fn asked(&mut self, pod: usize, seq: u8, net: &mut BTreeSet<Message>) {
        match self.holder {
            None => self.grant(pod, seq, net),
            Some(holder) => {
                self.sessions[pod].waits = Some(seq);
                if !holder.plain {
                    net.insert(Message::Recall {
                        pod: holder.pod,
                        of: holder.of,
                    });
                }
            }
        }
    }

    fn grant(&mut self, pod: usize, seq: u8, net: &mut BTreeSet<Message>) {
        self.holder = Some(Holder {
            pod,
            of: seq,
            plain: false,
        });
        let first = self.reserve();
        net.insert(Message::Granted { pod, seq, first });
    }

    fn freed(&mut self, net: &mut BTreeSet<Message>) {
        self.holder = None;
        for pod in 0..PODS {
            if let Some(seq) = self.sessions[pod].waits.take() {
                self.grant(pod, seq, net);
                return; // with two pods nobody else can wait
            }
        }
    }
}
