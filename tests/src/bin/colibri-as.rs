//! Connects to a socket as somebody else: `colibri-as UID:GID[,GROUP…] SOCKET`. The connection is
//! handed over on the socket that is stdin; who made it is what the other side sees of it for
//! ever. Needs root.

use libcolibri::sys::{drop_to, Ids};
use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [who, socket] = &args[..] else {
        eprintln!("usage: colibri-as UID:GID[,GROUP...] SOCKET");
        return ExitCode::from(2);
    };
    match connect(who, socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("colibri-as {who} {socket}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn connect(who: &str, socket: &str) -> io::Result<()> {
    let number = |s: &str| s.parse::<u32>().map_err(io::Error::other);
    let (uid, groups) = who.split_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let groups = groups
        .split(',')
        .map(number)
        .collect::<io::Result<Vec<u32>>>()?;
    drop_to(&Ids {
        uid: number(uid)?,
        gid: groups[0],
        groups,
    })?;
    let conn = UnixStream::connect(socket)?;
    let fds = [conn.as_raw_fd()];
    sendmsg::<()>(
        io::stdin().as_raw_fd(),
        &[IoSlice::new(b"c")],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}
