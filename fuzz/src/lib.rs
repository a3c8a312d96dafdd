//! What the fuzz targets share.

/// Choices that depend on the input alone, so that an input that fails does so again: xorshift64*,
/// begun with a hash of the bytes.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Rng {
        Rng::new(libcolibri::config::hash(bytes))
    }

    /// Of this number.
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(2).wrapping_add(1) ^ 0x6a09_e667_f3bc_c909)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        match n {
            0 => 0,
            n => (self.draw() >> 16) as usize % n,
        }
    }
}
