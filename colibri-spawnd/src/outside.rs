//! Connections by name to programs that are not of the suite, for colibrid, which cannot make them
//! once it is confined. Nothing is read from them here.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{connect as join, socket, AddressFamily, SockFlag, SockType, UnixAddr};

/// A stream to the socket of this name, non-blocking. Its queue of connections may be full: that is
/// an error, too, and never a wait.
///
/// # Errors
/// When nobody listens there, or the config names nothing.
pub fn connect(path: Option<&Path>) -> io::Result<OwnedFd> {
    let path = path.ok_or(io::Error::from(nix::errno::Errno::ENOENT))?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    join(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{bind, listen, Backlog};

    use super::*;

    #[test]
    fn a_socket_that_takes_no_more_is_an_error_and_no_wait() {
        let dir = std::env::temp_dir().join(format!("colibri-outside-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("sock");
        assert!(connect(None).is_err());
        let missing = connect(Some(&path)).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        // Nobody accepts.
        let mut taken = Vec::new();
        let full = loop {
            match connect(Some(&path)) {
                Ok(s) => taken.push(s),
                Err(e) => break e,
            }
            assert!(taken.len() < 16, "its queue has no end");
        };
        assert!(!taken.is_empty(), "{full}");
        drop(listener);
        let gone = connect(Some(&path)).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::ConnectionRefused);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
