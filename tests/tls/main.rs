//! Who is at the other end: real processes with certificates, and those who have none or the wrong ones.

mod cell;
mod identity;
mod operators;
mod reach;
mod rotation;
mod rules;
mod tokens;
