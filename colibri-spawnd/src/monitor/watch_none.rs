//! Watching the run's jail for its end, where there are no jails.

use std::io;
use std::os::fd::BorrowedFd;

use mio::{Registry, Token};

/// There is none to watch.
pub enum JailWatch {}

impl JailWatch {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new(_jail: BorrowedFd<'_>, _: &Registry, _: Token) -> io::Result<JailWatch> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Cannot be called.
    pub fn removed(&mut self) -> bool {
        match *self {}
    }

    /// Cannot be called.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}
