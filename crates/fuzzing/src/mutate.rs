//! A deterministic mutator: input for ordinary tests, made from the seeds.

/// Byte strings on which codecs are likely to fail.
const PIECES: &[&[u8]] = &[
    b"\xff",
    b"\0",
    b"[[[[[[[[",
    b"{\"a\":{\"a\":",
    b"}",
    b"]",
    b"\"",
    b",",
    b":",
    b"null",
    b"1e999",
    b"-0",
    b"9223372036854775808",
    b"0.0000000001",
    b"\\ud800",
    b"\\u0000",
    b"\xe2\x80\xa8",
    b"$patch",
    b"*a",
    b"&a ",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x0a\x00",
];
/// Maximum length of an input.
const LENGTH_LIMIT: usize = 4096;

/// Mutates input; equal seeds give equal mutations.
#[derive(Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// Creates a mutator with this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `limit`; 0 if `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit.max(1)
    }

    /// Returns a mutated copy of `seed`, possibly mixed with `other`.
    pub fn change(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut input = seed.to_vec();
        for _ in 0..=self.below(4) {
            self.step(&mut input, other);
        }
        input.truncate(LENGTH_LIMIT);
        input
    }

    fn step(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.below(7) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = u8::try_from(self.below(256)).unwrap_or(0),
            2 => drop(input.drain(at.min(end)..end)),
            3 => input.truncate(at),
            4 => {
                let from = self.below(other.len());
                let to = (from + 1 + self.below(64)).min(other.len());
                input.splice(at..at, other[from.min(to)..to].iter().copied());
            }
            5 => {
                let part: Vec<u8> = input[at.min(end)..end].to_vec();
                let times = 1 + self.below(8);
                input.splice(at..at, part.repeat(times));
            }
            _ => {
                let piece = PIECES[self.below(PIECES.len())];
                input.splice(at..at, piece.repeat(1 + self.below(3)));
            }
        }
    }
}
