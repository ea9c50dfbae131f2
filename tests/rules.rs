//! One test for each sentence of the design's sections 3 and 4 and of the table's part of 5, by its name.
//! In: commands through the one door. Out: a broken promise by its own words.
//! Never: a look at anything but replies, effects and the public views.

#[path = "rules/cell.rs"]
mod cell;
#[path = "rules/delegations.rs"]
mod delegations;
#[path = "rules/order.rs"]
mod order;
#[path = "rules/permits.rs"]
mod permits;
#[path = "rules/section_3.rs"]
mod section_3;
#[path = "rules/section_3_deadlock.rs"]
mod section_3_deadlock;
#[path = "rules/section_4_and_5.rs"]
mod section_4_and_5;
