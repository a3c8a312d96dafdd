//! Says on the socket that is its descriptor 3 what a test wants, beside the process whose channel
//! that is. Each line of its stdin is an order: `send N FILE` sends the bytes of a file and N
//! descriptors with them; `end` says that nothing more will come; `hold` waits until the other side
//! has gone.

use std::fs;
use std::io::{self, BufRead, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use nix::poll::{poll, PollFd, PollFlags};
use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags};

/// How often it is looked whether the other side has gone, milliseconds.
const AGAIN_MS: u16 = 100;

fn main() -> io::Result<()> {
    let channel = UnixStream::from(libcolibri::sys::inherit(3)?);
    for order in io::stdin().lock().lines() {
        let order = order?;
        match order.split(' ').collect::<Vec<_>>()[..] {
            ["send", count, file] => send(&channel, count, &fs::read(file)?)?,
            ["end"] => channel.shutdown(Shutdown::Write)?,
            ["hold"] => hold(&channel)?,
            _ => return Err(io::Error::other(format!("no such order: {order}"))),
        }
    }
    Ok(())
}

/// Reads nothing: what comes is for the other process.
fn hold(channel: &UnixStream) -> io::Result<()> {
    let mut fds = [PollFd::new(channel.as_fd(), PollFlags::empty())];
    // FreeBSD does not wake who asks for no event, so it is asked again.
    while poll(&mut fds, AGAIN_MS)? == 0 {}
    Ok(())
}

fn send(channel: &UnixStream, count: &str, bytes: &[u8]) -> io::Result<()> {
    let count = count.parse().map_err(io::Error::other)?;
    let fds = vec![channel.as_raw_fd(); count];
    let with = [ControlMessage::ScmRights(&fds)];
    let with = if count == 0 { &[][..] } else { &with[..] };
    let (bytes, flags) = ([IoSlice::new(bytes)], MsgFlags::empty());
    sendmsg::<()>(channel.as_raw_fd(), &bytes, with, flags, None)?;
    Ok(())
}
