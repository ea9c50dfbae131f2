//! Sidelock: distributed locks for any service, in any language, over `http://localhost:5625`.
//!
//! The map, in reading order. One claim travels from the socket to the disk and back:
//! `api` (1) -> `sidecar` (2 handle, 3 desk, 4 link) -> `core` (5 service, 6 proposer, 7 log, 8 machine)
//! -> `table` (9 apply), and its reply the same way back. Imports go one way:
//! `table <- {wire, views}`, `{wire, tls} <- {core, sidecar}`, `sidecar <- api`, `views <- {core, api}`,
//! `tls <- injector`, all of them `<- cli`.

pub mod planted;
pub mod table;

pub mod views;
pub mod wire;
pub mod world;

pub mod tls;

pub mod core;
pub mod sidecar;

pub mod api;
pub mod ui;

pub mod injector;

pub mod cli;
pub mod config;
pub mod telemetry;
