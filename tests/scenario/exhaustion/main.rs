//! Nothing left: a full disk, one that fails, no descriptors. New work is refused by a name, running work goes on,
//! and everything recovers by itself.

mod descriptors;
mod disk;
mod errors;
mod memory;
mod processes;
