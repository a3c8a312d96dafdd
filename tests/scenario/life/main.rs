//! The life of a suite and of its runs: starting, stopping, being killed, going on.

mod adoption;
mod asked;
mod bare;
mod begun;
mod closed;
mod crash;
mod explain;
mod group;
mod idle;
mod journal;
mod left_over;
mod mute;
mod power;
mod start;
mod stop;
mod suite;
mod upgrade;
mod zombies;
