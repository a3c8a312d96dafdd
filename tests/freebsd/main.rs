//! What only FreeBSD has: rights of single descriptors, capability violations, jails, rctl.
#![cfg(target_os = "freebsd")]

mod agent;
mod holdings;
mod jails;
mod limits;
mod syslog;
mod violations;
