//! Decisions out of the fuzzer's bytes, and mangled copies of valid encodings.
//! In: bytes. Out: picks, numbers, damaged bytes. Never: a decision that the bytes do not determine.

use std::ops::Range;

/// Numbers at which something may overflow or change its meaning.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    127,
    65_535,
    65_536,
    u32::MAX as u64,
    (1 << 53) - 1,
    1 << 53,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];

/// The rest of an input. When it is used up, every throw is 0: the usual.
pub struct Dice<'a> {
    rest: &'a [u8],
}

impl<'a> Dice<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left, as it is.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                *byte
            }
            None => 0,
        }
    }

    pub fn number(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// Less than `bound`, which is small.
    pub fn below(&mut self, bound: usize) -> usize {
        let byte = usize::from(self.byte());
        if bound > 256 {
            return (byte << 8 | usize::from(self.byte())) % bound;
        }
        byte % bound.max(1)
    }

    /// True once in so many throws.
    pub fn once_in(&mut self, times: u8) -> bool {
        self.byte() % times == times - 1
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// One of these mostly, and sometimes any number at all.
    pub fn near(&mut self, usual: &[u64]) -> u64 {
        match self.byte() {
            244..=251 => self.pick(&EDGES),
            252..=255 => self.number(),
            _ if usual.is_empty() => self.pick(&EDGES),
            _ => self.pick(usual),
        }
    }

    /// The same for a smaller type.
    pub fn near32(&mut self, usual: &[u32]) -> u32 {
        let usual: Vec<u64> = usual.iter().copied().map(u64::from).collect();
        let number = self.near(&usual);
        u32::try_from(number).unwrap_or((number >> 32) as u32)
    }

    /// One text mostly, and sometimes one that is no name.
    pub fn text(&mut self, usual: &[&str]) -> String {
        match self.byte() {
            251 => String::new(),
            252 => "..".to_owned(),
            253 => "\u{7f}\n".to_owned(),
            254 => "n".repeat(600),
            255 => "\u{2713}/%".to_owned(),
            _ => self.pick(usual).to_owned(),
        }
    }

    fn range(&mut self, len: usize) -> Range<usize> {
        let from = self.below(len.max(1));
        let to = (from + 1 + self.below(16)).min(len);
        from.min(to)..to
    }

    /// Damages bytes in one to four places.
    pub fn mangle(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            self.damage(bytes);
            let range = self.range(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(range.start),
                1 => drop(bytes.drain(range)),
                2 => {
                    let copy = bytes[range.clone()].to_vec();
                    bytes.splice(range.start..range.start, copy);
                }
                3 => {
                    let new: Vec<u8> = (0..self.below(8)).map(|_| self.byte()).collect();
                    bytes.splice(range.start..range.start, new);
                }
                4 => {
                    let mut varint = vec![0xff; 9];
                    varint.push(1);
                    bytes.splice(range.start..(range.start + 1).min(bytes.len()), varint);
                }
                _ => {}
            }
        }
    }

    /// Damages bytes as a disk might: their order and the boundaries between them stay.
    pub fn damage(&mut self, bytes: &mut [u8]) {
        if bytes.is_empty() {
            return;
        }
        let range = self.range(bytes.len());
        match self.below(4) {
            0 => bytes[range.start] ^= 1 << self.below(8),
            1 => bytes[range.start] = self.byte(),
            2 => bytes[range].fill(0),
            _ => {}
        }
    }
}
