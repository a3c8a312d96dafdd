//! Makes new inputs from known ones, the same ones for the same seed.

/// xorshift64*: small, fast, and the same everywhere.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(2).wrapping_add(1) ^ 0x6a09_e667_f3bc_c909)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        match n {
            0 => 0,
            n => (self.next() >> 16) as usize % n,
        }
    }
}

/// Mutates a corpus.
pub struct Mutator {
    corpus: Vec<Vec<u8>>,
    dictionary: &'static [&'static [u8]],
    max_len: usize,
}

impl Mutator {
    /// Over this corpus (not empty) and dictionary; no input is longer than `max_len`.
    pub fn new(corpus: Vec<Vec<u8>>, dictionary: &'static [&'static [u8]], max_len: usize) -> Self {
        Mutator {
            corpus,
            dictionary,
            max_len,
        }
    }

    /// A new input: a window of a known one with up to eight changes.
    pub fn next(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut input = self.window(rng);
        for _ in 0..rng.below(9) {
            self.change(&mut input, rng);
            input.truncate(self.max_len);
        }
        input
    }

    fn window(&self, rng: &mut Rng) -> Vec<u8> {
        let whole = &self.corpus[rng.below(self.corpus.len())];
        let from = match rng.below(2) {
            0 => 0,
            _ => rng.below(whole.len()),
        };
        let to = whole.len().min(from + self.max_len);
        whole[from..to].to_vec()
    }

    fn change(&self, input: &mut Vec<u8>, rng: &mut Rng) {
        let at = rng.below(input.len() + 1);
        let len = rng.below(input.len() - at + 1).min(1 + rng.below(256));
        match rng.below(7) {
            0 if at < input.len() => input[at] ^= 1 << rng.below(8),
            1 if at < input.len() => input[at] = rng.next() as u8,
            2 => drop(input.drain(at..at + len)),
            3 => input.truncate(at),
            4 => {
                let copy = input[at..at + len].repeat(1 + rng.below(8));
                input.splice(at..at, copy);
            }
            5 if !self.dictionary.is_empty() => {
                let word = self.dictionary[rng.below(self.dictionary.len())];
                input.splice(at..at + len.min(word.len()), word.iter().copied());
            }
            _ => {
                let other = self.window(rng);
                let from = rng.below(other.len());
                let to = other.len().min(from + 1 + rng.below(512));
                input.splice(at..at + len, other[from..to].iter().copied());
            }
        }
    }
}
