//! System calls.
use std::os::fd::*;
/// Where the config is looked for.
pub const CONFIG_FILE: &str = "/etc/colibri/colibri.conf";
/// x
pub fn inherit(fd: i32) -> std::io::Result<OwnedFd> {
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
