//! Blocks of tokens: the one way a number leaves the shard's counter.
//! In: how many are needed. Out: numbers that were never given out. Never: a number twice, or 2^53.

use super::id::{TOKEN_MAX, Token};
use super::state::{Counters, Table};
use crate::planted::{self, Bug};

/// Consecutive tokens that nobody else will ever get. A grant takes a block of one for each of its
/// locks; a delegation takes a larger one besides and numbers its local grants from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenBlock {
    first: u64,
    len: u64,
}

impl TokenBlock {
    /// `len` tokens from `first` on; none if there are no such numbers.
    pub fn new(first: u64, len: u64) -> Option<Self> {
        let last = first.checked_add(len)?.checked_sub(1)?;
        (len == 0 || (first > 0 && last <= TOKEN_MAX)).then_some(Self { first, len })
    }

    /// Takes the least token out.
    pub fn take(&mut self) -> Option<Token> {
        self.len = self.len.checked_sub(1)?;
        let token = Token::new(self.first);
        self.first += 1;
        token
    }

    /// The least token, if any is left.
    pub fn first(self) -> Option<Token> {
        (self.len > 0).then(|| Token::new(self.first)).flatten()
    }

    /// The greatest token, if any is left.
    pub fn last(self) -> Option<Token> {
        let last = (self.first + self.len).checked_sub(1)?;
        (self.len > 0).then(|| Token::new(last)).flatten()
    }

    /// The tokens, in ascending order.
    pub fn tokens(self) -> impl Iterator<Item = Token> {
        (self.first..self.first + self.len).filter_map(Token::new)
    }

    /// How many.
    pub fn len(self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

impl Counters {
    /// How many tokens are left.
    pub(super) fn left(&self) -> u64 {
        TOKEN_MAX - self.token.min(TOKEN_MAX)
    }

    /// Takes the next `len` tokens; `None`, and nothing taken, if so many are not left.
    pub(super) fn reserve(&mut self, len: u64) -> Option<TokenBlock> {
        let last = self.token.checked_add(len)?;
        if last > TOKEN_MAX {
            return None;
        }
        let first = self.token + 1;
        self.token = if planted::is(Bug::BlockNotCounted) {
            first
        } else {
            last
        };
        Some(TokenBlock { first, len })
    }
}

impl Table {
    /// Whether a claim over so many locks could still be numbered. No number left, no grant.
    pub(super) fn has_tokens(&self, locks: usize) -> bool {
        (locks as u64) <= TOKEN_MAX - self.counters.token.min(TOKEN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(block: Option<TokenBlock>) -> Vec<u64> {
        block.map_or(Vec::new(), |block| block.tokens().map(Token::get).collect())
    }

    #[test]
    fn blocks_never_overlap_and_ascend() {
        let mut counters = Counters::default();
        assert_eq!(numbers(counters.reserve(3)), [1, 2, 3]);
        assert_eq!(numbers(counters.reserve(1)), [4]);
        assert_eq!(numbers(counters.reserve(2)), [5, 6]);
        assert_eq!(counters.token, 6);
    }

    #[test]
    fn the_last_number_is_given_out_once_and_nothing_beyond() {
        let mut counters = Counters {
            token: TOKEN_MAX - 2,
            ..Counters::default()
        };
        assert_eq!(counters.reserve(3), None);
        assert_eq!(
            counters.token,
            TOKEN_MAX - 2,
            "a refused block takes nothing"
        );
        assert_eq!(numbers(counters.reserve(2)), [TOKEN_MAX - 1, TOKEN_MAX]);
        assert_eq!(counters.reserve(1), None);
        assert_eq!(counters.reserve(u64::MAX), None);
    }
}
