//! The JSON of whatever a survey has found.
//! In: findings, and how they were read. Out: the body of the route that asked. Never: another kind of body
//! than the kind of findings.

use serde::Serialize;

use super::contention::ContentionBody;
use super::order::OrderBody;
use super::sessions::SessionList;
use super::waits::{DeadlockList, WaitsBody};
use super::why::WhyBody;
use super::worth::Worth;
use crate::table::contention::Window;
use crate::table::survey::{Findings, Survey};

/// What the page `/ui` shows of the cell, by the names of its parts.
pub fn on_the_page(contended: u32, deadlocks: u32) -> [(&'static str, Survey); 5] {
    let window = Window::Minute;
    let limit = contended;
    [
        ("contention", Survey::Contention { window, limit }),
        ("deadlocks", Survey::Deadlocks { limit: deadlocks }),
        ("lock_order", Survey::Order),
        ("waits", Survey::Waits),
        ("sessions", Survey::Sessions),
    ]
}

/// One of the bodies; its JSON is that body's, without a wrapper.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum SurveyBody<'a> {
    /// `GET /v1/deadlocks`
    Deadlocks(DeadlockList<'a>),
    /// `GET /v1/lock-order`
    Order(OrderBody<'a>),
    /// `GET /v1/waits`
    Waits(WaitsBody<'a>),
    /// `GET /v1/sessions`
    Sessions(SessionList<'a>),
    /// `GET /v1/locks/{name}/why`
    Why(WhyBody<'a>),
    /// `GET /v1/contention`, of the cell
    Contention(ContentionBody<'a>),
}

impl<'a> SurveyBody<'a> {
    /// What was found, as it was read.
    pub fn new(worth: Worth, found: &'a Findings) -> Self {
        match found {
            Findings::Deadlocks(deadlocks) => Self::Deadlocks(DeadlockList::new(worth, deadlocks)),
            Findings::Order(order) => Self::Order(OrderBody::new(worth, order)),
            Findings::Waits(waits) => Self::Waits(WaitsBody::new(worth, waits)),
            Findings::Sessions(sessions) => Self::Sessions(SessionList::new(worth, sessions)),
            Findings::Why(why) => Self::Why(WhyBody::new(worth, why)),
            Findings::Contention(view) => {
                Self::Contention(ContentionBody::new(worth, "cell", view))
            }
        }
    }
}
