//! A sidecar and its one app: what it may grant, what it believes, what it sends.
//! In: ticks of its own clock, messages. Out: messages. Never: a look at the core's clock.

use crate::core::BLOCK;
use crate::world::{Message, Mistake, World};

/// A lock that is kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lent {
    of: u8,
    next: u8,
    end: u8,
    recalled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pod {
    clock: u8,
    /// Ticks of the core since its own last one.
    pub owed: u8,
    pub generation: u8,
    /// The core knows this process.
    attached: bool,
    /// The last renewal sent, and when those that are open were.
    renewal: u8,
    sent: Vec<(u8, u8)>,
    until: Option<u8>,
    seq: u8,
    asks: u8,
    asked: Option<u8>,
    lent: Option<Lent>,
    /// The first token of the block it had before, on disk.
    old_block: u8,
    /// Its claim is one by name in the core.
    plain: bool,
    /// The token of the claim that holds, on disk before it is told.
    pub holds: Option<u8>,
}

impl Pod {
    /// Its session was opened just now.
    pub fn new(world: &World) -> Self {
        Self {
            clock: 0,
            owed: 0,
            generation: 0,
            attached: true,
            renewal: 0,
            sent: Vec::new(),
            until: Some(world.safe()),
            seq: 0,
            asks: 0,
            asked: None,
            lent: None,
            old_block: 0,
            plain: false,
            holds: None,
        }
    }

    pub fn tick(&mut self) {
        self.clock += 1;
        self.owed = 0;
    }

    fn certain(&self) -> bool {
        self.until.is_some_and(|until| self.clock < until)
    }

    /// What its app is told when it asks.
    pub fn believes(&self) -> bool {
        self.holds.is_some() && self.certain()
    }

    pub fn may_renew(&self, world: &World) -> bool {
        self.renewal < world.renewals && self.attached
    }

    pub fn renew(&mut self, pod: usize) -> Message {
        self.renewal += 1;
        self.sent.push((self.renewal, self.clock));
        Message::Renew {
            pod,
            generation: self.generation,
            number: self.renewal,
        }
    }

    pub fn may_ask(&self, world: &World) -> bool {
        let idle = self.asked.is_none() && self.lent.is_none() && self.holds.is_none();
        self.asks < world.asks && self.attached && idle && !self.plain
    }

    pub fn ask(&mut self, pod: usize) -> Message {
        self.asks += 1;
        self.seq += 1;
        self.asked = Some(self.seq);
        Message::Ask {
            pod,
            generation: self.generation,
            seq: self.seq,
        }
    }

    pub fn may_grant(&self) -> bool {
        let left = |lent: Lent| !lent.recalled && lent.next <= lent.end;
        self.lent.is_some_and(left) && self.holds.is_none() && self.certain()
    }

    /// A grant under the delegation.
    pub fn grant(&mut self) -> Option<u8> {
        let lent = self.lent.as_mut()?;
        let token = lent.next;
        lent.next += 1;
        self.holds = Some(token);
        Some(token)
    }

    pub fn let_go(&mut self, pod: usize) -> Option<Message> {
        self.holds = None;
        if !std::mem::take(&mut self.plain) {
            return None;
        }
        self.seq += 1;
        Some(Message::Release {
            pod,
            generation: self.generation,
            seq: self.seq,
        })
    }

    pub fn may_give_back(&self) -> bool {
        self.attached && self.lent.is_some_and(|lent| lent.recalled)
    }

    /// The lock goes back with the claim that holds, if one does.
    pub fn give_back(&mut self, pod: usize) -> Option<Message> {
        let lent = self.lent.take()?;
        self.seq += 1;
        let kept = self.holds.is_some();
        self.plain = kept;
        Some(Message::Return {
            pod,
            generation: self.generation,
            seq: self.seq,
            of: lent.of,
            kept,
        })
    }

    /// The process is killed, and another one starts with what was on disk. It is certain of nothing.
    pub fn taken_over(&mut self, pod: usize) -> Message {
        self.generation += 1;
        self.attached = false;
        self.sent.clear();
        self.until = None;
        self.asked = None;
        self.lent = None;
        self.plain = false;
        Message::Open {
            pod,
            generation: self.generation,
        }
    }

    /// Whether a message may yet have an effect.
    pub fn may_care(&self, message: Message) -> bool {
        let unsure = !self.attached;
        match message {
            Message::Renewed {
                generation, number, ..
            } => {
                let open = self.sent.iter().any(|(sent, _)| *sent == number);
                generation == self.generation && open
            }
            Message::Granted { seq, .. } => unsure || self.asked == Some(seq),
            Message::Recall { of, .. } => {
                let kept = |lent: Lent| lent.of == of && !lent.recalled;
                unsure || self.asked == Some(of) || self.lent.is_some_and(kept)
            }
            Message::Attached { generation, .. } => unsure && generation == self.generation,
            _ => false,
        }
    }

    pub fn hear(&mut self, world: &World, message: Message) {
        match message {
            Message::Renewed {
                generation, number, ..
            } if generation == self.generation => {
                self.renewed(world, number);
            }
            Message::Granted { seq, first, .. } if self.asked == Some(seq) => {
                self.asked = None;
                self.old_block = first;
                self.lent = Some(lent(seq, first));
            }
            Message::Recall { of, .. } => {
                if let Some(lent) = self.lent.as_mut().filter(|lent| lent.of == of) {
                    lent.recalled = true;
                }
            }
            Message::Attached {
                generation,
                seq,
                waits,
                lock,
                ..
            } if generation == self.generation && !self.attached => {
                self.attached = true;
                self.seq = seq;
                self.asked = waits;
                self.plain = lock.is_some_and(|had| had.block.is_none());
                let again = world.makes(Mistake::BlockBegunAgain);
                self.lent = lock.and_then(|had| {
                    let first = had.block?;
                    Some(lent(had.of, if again { self.old_block } else { first }))
                });
                if lock.is_none() {
                    self.holds = None;
                }
            }
            _ => {}
        }
    }

    fn renewed(&mut self, world: &World, number: u8) {
        let Some((_, sent)) = self.sent.iter().find(|(sent, _)| *sent == number) else {
            return;
        };
        let from = if world.makes(Mistake::DeadlineFromReceipt) {
            self.clock
        } else {
            *sent
        };
        let until = from + world.safe();
        self.until = Some(self.until.map_or(until, |before| before.max(until)));
        self.sent.retain(|(sent, _)| *sent > number); // earlier ones can only state an earlier deadline
    }
}

fn lent(of: u8, first: u8) -> Lent {
    Lent {
        of,
        next: first,
        end: first + BLOCK - 1,
        recalled: false,
    }
}
