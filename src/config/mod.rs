//! Configuration: raw text in, checked values out.
//! In: flags, environment and a YAML file. Out: types that are valid by construction.
//! Never: a default that is not written where its option is defined.

pub mod address;
pub mod api_token;
pub mod duration;
pub mod file;
pub mod followed;
pub mod limits;
