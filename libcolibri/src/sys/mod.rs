//! System calls: everything the suite needs from the kernel that `std` and `nix` don't offer safely.
//!
//! This module holds all `unsafe` code and all platform code of the project. The files beside this
//! one are the portable surface, with the same signatures on both systems; `linux/` and `freebsd/`
//! hold what differs, and the choice between them is made once, below. What exists on one system
//! only is reached as [`jail`] (FreeBSD) and `namespace` (Linux).
//!
//! Errors are plain [`std::io::Error`]s; the caller knows the action and the object and adds them.

pub mod cell;
mod clock;
mod cred;
mod fd;
mod message;
mod probe;
mod process;
mod signals;
mod tree;
mod wait;

#[cfg(target_os = "freebsd")]
#[path = "freebsd/mod.rs"]
mod system;
#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod system;

#[cfg(target_os = "freebsd")]
pub use system::jail;
#[cfg(target_os = "linux")]
pub use system::namespace;

pub use clock::{mono_ms, wall_ms};
pub use cred::{drop_to, peer_cred, Ids, PeerCred};
pub use fd::{
    borrow, cloexec_from, close_from, dup_to, flock_exclusive_nb, inherit, lock_is_held,
    open_descriptors,
};
pub use message::{receive, Received};
pub use nix::sys::resource::Resource;
pub use nix::sys::signal::Signal;
pub use process::{
    become_reaper, boot_id, die_with_parent, exec_fd, exec_path, exit_now, fork, no_new_privs,
    not_traceable, parent_is, process_start, set_limits, set_title, Fork, ProcessHandle,
};
pub use signals::{
    block_signals, default_signals, ignore_signals, nice, restore_signals, set_nice,
};
pub use system::CONFIG_FILE;
pub use tree::{available_container, count_tree, count_trees, find_by_environment, signal_tree};
pub use wait::{wait_any, Ended};

pub(crate) use probe::sleep_by_clock;
pub(crate) use system::confine;
