//! A schedd that says what a test wants: whatever is written into the pipe `pipe` in the directory
//! above its own. Of what it hears it answers only what a living schedd must, and forgets the rest.
//!
//! It is copied to where colibrid looks for colibri-schedd; its channel is descriptor 3.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use libcolibri::msg::{FromSchedd, ToSchedd};
use libcolibri::wire;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

fn main() {
    let own = std::env::current_exe().expect("its own place");
    let dir = own.ancestors().nth(2).expect("a directory above it");
    let channel = libcolibri::sys::inherit(3).expect("the channel");
    let mut channel = UnixStream::from(channel);
    channel.set_nonblocking(false).expect("blocking");
    // Open for writing as well, so that it does not end when the test's end closes.
    let mut pipe = File::options()
        .read(true)
        .write(true)
        .open(dir.join("pipe"))
        .expect("the pipe");
    let mut first = Vec::new();
    wire::encode(&FromSchedd::Ready, &mut first);
    channel.write_all(&first).expect("said");
    let (mut block, mut said) = (vec![0; 64 * 1024], Vec::new());
    loop {
        let mut fds = [channel.as_fd(), pipe.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = poll(&mut fds, PollTimeout::NONE);
        let [heard, to_say] = fds.map(|fd| fd.any().unwrap_or(false));
        let mut answer = Vec::new();
        if heard {
            match channel.read(&mut block) {
                Ok(0) | Err(_) => return,
                Ok(n) => said.extend_from_slice(&block[..n]),
            }
            answers(&mut said, &mut answer);
        }
        if to_say {
            let n = pipe.read(&mut block).expect("the pipe");
            answer.extend_from_slice(&block[..n]);
        }
        if channel.write_all(&answer).is_err() {
            return;
        }
    }
}

/// Takes whole frames out of what was said.
fn answers(said: &mut Vec<u8>, answer: &mut Vec<u8>) {
    while let Ok(Some(h)) = wire::header::<ToSchedd>(said) {
        let end = wire::HEADER + h.len;
        if said.len() < end {
            return;
        }
        let frame: Vec<u8> = said.drain(..end).collect();
        if let Ok(ToSchedd::Ping { token }) = wire::decode(h.kind, &frame[wire::HEADER..]) {
            wire::encode(&FromSchedd::Pong { token }, answer);
        }
    }
}
