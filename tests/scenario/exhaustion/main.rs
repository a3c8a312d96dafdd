//! Nothing left: a full disk, no descriptors. New work is refused by a name, running work goes on,
//! and everything recovers by itself.

mod descriptors;
mod disk;
mod memory;
mod processes;
