//! What a peer sends along is closed, however much it is.

mod harness;

use std::io;
use std::os::fd::AsRawFd;

use libcolibri::chan::{self, Chan, ChanError};
use libcolibri::msg::{FromSchedd, ToSchedd};
use libcolibri::sys;
use libcolibri::wire;
use nix::sys::resource::{setrlimit, Resource};
use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags};

use harness::{case, Case};

fn main() {
    harness::main(CASES);
}

const CASES: &[Case] = &[
    case(
        "descriptors that nobody announced are closed",
        strays_are_closed,
    ),
    case("those that there is no room for, too", strays_without_room),
];

/// Sends a message with that many descriptors to a channel that expects none. How the channel takes
/// it, and how many descriptors this process has more than before, the channel still open.
fn send_strays(count: usize) -> (Result<bool, ChanError>, usize) {
    let (ours, theirs) = chan::pair().unwrap();
    let mut channel = Chan::<FromSchedd, ToSchedd>::new(theirs);
    let mut frame = Vec::new();
    wire::encode(&ToSchedd::Ping { token: 1 }, &mut frame);
    let fds = vec![ours.as_raw_fd(); count];
    let (bytes, fds) = (
        [io::IoSlice::new(&frame)],
        [ControlMessage::ScmRights(&fds)],
    );
    let before = sys::open_descriptors().unwrap().len();
    sendmsg::<()>(ours.as_raw_fd(), &bytes, &fds, MsgFlags::empty(), None).unwrap();
    let taken = channel.recv().map(|got| got.is_some());
    let more = sys::open_descriptors().unwrap().len() - before;
    // A channel that has kept them closes them in the end.
    drop(channel);
    assert_eq!(sys::open_descriptors().unwrap().len(), before - 1);
    (taken, more)
}

fn strays_are_closed() {
    // As many as may be ahead of their frames are kept until that is known; see also chan.rs.
    for count in [1, 2] {
        assert!(matches!(send_strays(count), (Ok(true), more) if more == count));
    }
    // 253 is the most that Linux sends at once.
    for count in [3, 200, 253] {
        let (taken, more) = send_strays(count);
        assert!(
            matches!(taken, Err(ChanError::StrayFd)),
            "{count}: {taken:?}"
        );
        assert_eq!(more, 0, "{count}");
    }
}

fn strays_without_room() {
    // Room for a few of them only.
    setrlimit(Resource::RLIMIT_NOFILE, 20, 20).unwrap();
    let (taken, more) = send_strays(100);
    // FreeBSD hands out none then, and the call fails.
    let refused = matches!(taken, Err(ChanError::StrayFd | ChanError::Io(_)));
    assert!(refused, "{taken:?}");
    assert_eq!(more, 0);
}
