//! Watching the run's jail for its end (FreeBSD).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libcolibri::sys::jail::{self, Watch};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

/// The kernel's word on when the jail has no process left.
pub struct JailWatch(Watch);

impl JailWatch {
    /// Watches the jail of an owning descriptor, which must stay open.
    ///
    /// # Errors
    /// When it is no jail descriptor.
    pub fn new(jail: BorrowedFd<'_>, registry: &Registry, token: Token) -> io::Result<JailWatch> {
        let watch = Watch::new(jail)?;
        registry.register(&mut SourceFd(&watch.as_raw_fd()), token, Interest::READABLE)?;
        Ok(JailWatch(watch))
    }

    /// Whether it has been removed since the last call: proof as long as nobody closed it.
    pub fn removed(&mut self) -> bool {
        while let Ok(Some(event)) = self.0.take() {
            if event == jail::Event::Removed {
                return true;
            }
        }
        false
    }

    /// The queue behind it, for confinement.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }
}
