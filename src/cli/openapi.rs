//! `sidelock openapi`: the document of the local API, as the code has it.
//! In: nothing. Out: JSON on stdout, for openapi/ and for CI. Never: a document of its own.

use super::exit::Outcome;
use super::print;

/// Prints the document.
pub fn run() -> Outcome {
    print::line(crate::api::openapi_text().trim_end())
}
