//! The public socket: what is understood, who may ask what, what is too much, and that the events
//! and the snapshot say the same.

mod events;
mod large;
mod limits;
mod requests;
mod roles;
