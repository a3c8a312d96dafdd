//! What the liars of these tests have in common: wrong bytes, and a suite with a false daemon in it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use colibri_tests::daemon::Daemon;
use colibri_tests::suite::{program, Scratch, Setup};
use libcolibri::wire::{self, Wire, WireError};

pub fn frame<M: Wire>(m: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode(m, &mut bytes);
    bytes
}

/// The same frame with one byte of its header changed: 0..4 length, 4 kind, 6 version, 7 flags.
pub fn bent(good: &[u8], at: usize, to: u8) -> Vec<u8> {
    let mut bytes = good.to_vec();
    bytes[at] = to;
    bytes
}

/// Everything that is wrong with bytes in any direction, made of a good message, and what its
/// reader says about it.
pub fn garbage<M: Wire>(good: &M) -> Vec<(&'static str, Vec<u8>, WireError)> {
    use WireError::{Flags, Kind, TooLong, Trailing, Version};
    let good = frame(good);
    let len = good.len() - wire::HEADER;
    let much = TooLong {
        len: len + (0x40 << 24),
        max: M::MAX,
    };
    let more = TooLong {
        len: M::MAX + 1,
        max: M::MAX,
    };
    let mut over = good.clone();
    let length = u32::try_from(M::MAX + 1).expect("a length");
    over[..4].copy_from_slice(&length.to_le_bytes());
    let longer = [&bent(&good, 0, good[0] + 1)[..], &[0]].concat();
    let version = M::VERSION + 1;
    let text = b"GET / HTTP/1.0\r\n\r\n".to_vec();
    vec![
        ("text", text.clone(), Version(text[6])),
        ("zeroes", vec![0; 64], Version(0)),
        ("ones", vec![0xff; 64], Version(0xff)),
        ("an announced gigabyte", bent(&good, 3, 0x40), much),
        ("one byte more than may be", over, more),
        ("a byte too many", longer, Trailing(1)),
        ("an unknown kind", bent(&good, 4, 0xee), Kind(0xee)),
        ("another version", bent(&good, 6, version), Version(version)),
        (
            "a flag without a meaning",
            bent(&good, 7, 0x80),
            Flags(0x80),
        ),
        (
            "a descriptor that does not come",
            bent(&good, 7, wire::FLAG_FD),
            Flags(wire::FLAG_FD),
        ),
    ]
}

/// What colibrid says of a daemon whose words fit no moment.
pub fn out_of_turn(name: &str) -> String {
    format!("{name} said something out of turn: it is not to be trusted")
}

/// A copy of the suite's programs in which `name` is a script that says `bytes` on its channel and
/// then goes on with `script`.
pub fn suite_with(name: &str, bytes: &[u8], script: &str) -> Daemon {
    let scratch = Scratch::new();
    let mut colibrid = None;
    let _ = scratch.copy(&program("colibri-inject"));
    for real in ["colibrid", "colibri-spawnd", "colibri-schedd"] {
        if real == "colibrid" {
            colibrid = Some(scratch.copy(&program(real)));
        } else if real != name {
            let _ = scratch.copy(&program(real));
        }
    }
    let said = scratch.path().join("said");
    fs::write(&said, bytes).expect("what it says");
    let script = format!("cat {} >&3\n{script}", said.display());
    put_script(&scratch, name, &script);
    let mut daemon = Daemon::prepare(scratch, &Setup::default());
    daemon.program = colibrid.expect("copied");
    daemon
}

/// Puts a shell script in the place of one of the programs.
pub fn put_script(scratch: &Scratch, name: &str, script: &str) {
    let dir = scratch.path().join("scripts");
    fs::create_dir(&dir).expect("a directory");
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the script");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
    let _ = scratch.copy(&path);
}

/// One that holds still when it has said that.
pub fn suite_that_says(name: &str, bytes: &[u8]) -> Daemon {
    suite_with(name, bytes, "echo hold | \"${0%/*}/colibri-inject\"")
}
