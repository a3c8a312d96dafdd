//! A schedd that says what a test wants: first what is in the file `said`, then whatever is written
//! into the pipe `pipe`, both in the directory above its own. What it hears it forgets.
//!
//! It is copied to where colibrid looks for colibri-schedd; its channel is descriptor 3.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

fn main() {
    let own = std::env::current_exe().expect("its own place");
    let dir = own.ancestors().nth(2).expect("a directory above it");
    let (said, pipe) = (dir.join("said"), dir.join("pipe"));
    let channel = libcolibri::sys::inherit(3).expect("the channel");
    let mut channel = UnixStream::from(channel);
    channel.set_nonblocking(false).expect("blocking");
    let first = fs::read(said).expect("what is said first");
    channel.write_all(&first).expect("said");
    // Open for writing as well, so that it does not end when the test's end closes.
    let mut pipe = File::options()
        .read(true)
        .write(true)
        .open(pipe)
        .expect("the pipe");
    let mut block = vec![0; 64 * 1024];
    loop {
        let mut fds = [channel.as_fd(), pipe.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = poll(&mut fds, PollTimeout::NONE);
        let [heard, to_say] = fds.map(|fd| fd.any().unwrap_or(false));
        if heard && channel.read(&mut block).unwrap_or(0) == 0 {
            return;
        }
        if to_say {
            let n = pipe.read(&mut block).expect("the pipe");
            if channel.write_all(&block[..n]).is_err() {
                return;
            }
        }
    }
}
