//! Frames of a core, false or mangled, on their way into a real desk that has claims.
//! In: dice. Out: a panic of the desk, or a record of it that does not come back. Never: a clock.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use sidelock::sidecar::desk::Desk;
use sidelock::sidecar::saved::Saved;
use sidelock::sidecar::session::StreamRef;
use sidelock::sidecar::{codec, saved_codec};
use sidelock::wire::v1;
use sidelock::world::clock::Instant;

use crate::dice::Dice;
use crate::news::{self, Heard};
use crate::{records, throw};

const STEPS_MAX: usize = 60;

#[test]
fn bytes_of_a_core_are_decoded_or_refused() {
    throw!(|dice: Dice| {
        let frame = v1::CoreFrame::decode(dice.rest());
        drop(frame.map(codec::decode));
    });
}

#[test]
fn no_frame_of_a_core_panics_the_desk() {
    throw!(|dice: Dice| play(dice, false));
}

#[test]
fn no_number_at_the_end_of_its_range_panics_the_desk() {
    throw!(|dice: Dice| play(dice, true));
}

fn play(mut dice: Dice, boundless: bool) {
    let mut scene = Scene::new();
    scene.heard.boundless = boundless;
    for _ in 0..STEPS_MAX {
        if dice.is_over() {
            break;
        }
        scene.step(&mut dice);
    }
}

struct Scene {
    desk: Desk,
    now: Instant,
    stream: StreamRef,
    heard: Heard,
    saved: Saved,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::from_boot(Duration::from_secs(1_000));
        let mut scene = Self {
            desk: Desk::new(records::rules(), now),
            now,
            stream: StreamRef { node: 0, number: 0 },
            heard: Heard::default(),
            saved: Saved::default(),
        };
        scene.connect();
        scene.settle();
        let attached = v1::Attached {
            session: news::SESSION,
            generation: 1,
            ttl_ms: 10_000,
            ..v1::Attached::default()
        };
        scene.hear(v1::CoreFrame {
            attached: Some(attached),
            ..v1::CoreFrame::default()
        });
        scene.settle();
        scene
    }

    fn step(&mut self, dice: &mut Dice) {
        self.desk.advance(self.now);
        let id = records::claim_id(dice);
        let now = self.now;
        match dice.below(16) {
            0..=3 => drop(self.desk.claim(now, id, records::ask(dice), Arc::from(""))),
            4 => drop(self.desk.release(now, &id)),
            5 => {
                let value = dice.once_in(2).then(|| Arc::from("v"));
                drop(self.desk.renew(now, &id, None, value));
            }
            6 => {
                let ms = dice.pick(&[1, 100, 1_000, 4_000, 70_000]);
                self.now = now + Duration::from_millis(ms);
            }
            7 if dice.once_in(4) => {
                self.desk.stream_down(now, self.stream);
                self.connect();
            }
            7 if dice.once_in(4) => self.restart(),
            7 if dice.once_in(16) => self.desk.drain(now),
            _ => {
                let mut bytes = news::frame(dice, &mut self.heard).encode_to_vec();
                if self.heard.boundless && dice.once_in(4) {
                    dice.mangle(&mut bytes);
                }
                if let Ok(frame) = v1::CoreFrame::decode(&*bytes) {
                    self.hear(frame);
                }
            }
        }
        self.settle();
    }

    fn connect(&mut self) {
        self.stream.number += 1;
        self.desk.stream_up(self.now, self.stream);
        self.hear(v1::CoreFrame {
            leader: Some(v1::Leader {
                id: 1,
                term: 1,
                serving: true,
                ..v1::Leader::default()
            }),
            ..v1::CoreFrame::default()
        });
    }

    fn hear(&mut self, frame: v1::CoreFrame) {
        if let Ok(frame) = codec::decode(frame) {
            self.desk.advance(self.now);
            self.desk.hear(self.now, self.stream, frame);
        }
    }

    /// What the driver does after each step.
    fn settle(&mut self) {
        self.desk.advance(self.now);
        for record in self.desk.take_records() {
            let read = saved_codec::decode(saved_codec::encode(&record));
            assert!(read.as_ref() == Some(&record) || self.heard.boundless);
            self.saved.apply(record);
        }
        while let Some(frame) = self.desk.take_frame(self.now, self.stream) {
            let seqs = frame.operations.iter().map(|operate| operate.seq.0);
            self.heard.seqs.extend(seqs);
            let renewals = frame.renewals.iter().map(|renewal| renewal.number.0);
            self.heard.renewals.extend(renewals);
            self.heard
                .queries
                .extend(frame.queries.iter().map(|query| query.id));
        }
        drop(self.desk.take_answers());
        assert_ne!(self.desk.next_wake(self.now), Some(Instant::default()));
        drop(self.desk.claims(self.now, 100, None));
    }

    fn restart(&mut self) {
        let saved = std::mem::take(&mut self.saved);
        self.desk = Desk::taken_over(records::rules(), saved, self.now);
        for record in self.desk.all_records(self.now) {
            self.saved.apply(record);
        }
        self.connect();
    }
}
