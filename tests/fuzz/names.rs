//! Names and ids out of arbitrary text.
//! In: text. Out: a name that keeps the grammar, or an error. Never: a name that changes on its way.

use sidelock::table::id::{CLAIM_ID_BYTES_MAX, ClaimId, LOCK_NAME_BYTES_MAX, LockName, OwnerId};

use crate::dice::Dice;
use crate::throw;

#[test]
fn a_name_is_what_was_parsed_and_keeps_its_grammar() {
    throw!(|mut dice: Dice| {
        let mut bytes = dice.text(&["orders/42", "a", "\u{2713}"]).into_bytes();
        if !bytes.is_empty() {
            dice.mangle(&mut bytes);
        }
        bytes.extend_from_slice(dice.rest());
        check(&String::from_utf8_lossy(&bytes));
    });
}

fn check(text: &str) {
    let dots = text == "." || text == "..";
    if let Ok(name) = LockName::parse(text) {
        assert_eq!(name.as_str(), text);
        assert!((1..=LOCK_NAME_BYTES_MAX).contains(&text.len()) && !dots);
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    let claim = ClaimId::parse(text);
    let owner = OwnerId::parse(text);
    assert_eq!(claim.is_ok(), owner.is_ok(), "{text:?}");
    if let (Ok(claim), Ok(owner)) = (claim, owner) {
        assert_eq!((claim.as_str(), owner.as_str()), (text, text));
        assert!((1..=CLAIM_ID_BYTES_MAX).contains(&text.len()) && !dots);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        assert!(text.bytes().all(plain), "{text:?}");
    }
}
