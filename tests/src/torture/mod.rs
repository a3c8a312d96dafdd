//! Fault injection: a plan made from a seed, played against a real suite, and everything that has
//! to be true afterwards. `colibri-torture` is the program.

pub mod board;
pub mod book;
pub mod follow;
pub mod occurrences;
pub mod plan;
pub mod round;
pub mod tasks;
pub mod verdict;
pub mod world;
