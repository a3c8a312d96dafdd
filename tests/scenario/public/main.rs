//! The public socket.
