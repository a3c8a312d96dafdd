//! What the liars of these tests have in common: wrong bytes, and a suite with a false daemon in it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use colibri_tests::daemon::Daemon;
use colibri_tests::suite::{program, Scratch, Setup};
use libcolibri::wire::{self, Wire};

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

/// Everything that is wrong with bytes in any direction, made of a good message.
pub fn garbage(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("text", b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        ("zeroes", vec![0; 64]),
        ("ones", vec![0xff; 64]),
        ("an announced gigabyte", bent(good, 3, 0x40)),
        ("an unknown kind", bent(good, 4, 0xee)),
        ("another version", bent(good, 6, wire::VERSION + 1)),
        ("a flag without a meaning", bent(good, 7, 0x80)),
        (
            "a descriptor that does not come",
            bent(good, 7, wire::FLAG_FD),
        ),
    ]
}

/// A copy of the suite's programs in which `name` is a script that says `bytes` on its channel and
/// then goes on with `script`.
pub fn suite_with(name: &str, bytes: &[u8], script: &str) -> Daemon {
    let scratch = Scratch::new();
    let mut colibrid = None;
    for real in ["colibrid", "colibri-spawnd", "colibri-schedd"] {
        if real == "colibrid" {
            colibrid = Some(scratch.copy(&program(real)));
        } else if real != name {
            let _ = scratch.copy(&program(real));
        }
    }
    let said = scratch.path().join("said");
    fs::write(&said, bytes).expect("what it says");
    let liar = scratch.path().join("bin").join(name);
    let script = format!("#!/bin/sh\ncat {} >&3\n{script}\n", said.display());
    fs::write(&liar, script).expect("the liar");
    fs::set_permissions(&liar, Permissions::from_mode(0o755)).expect("executable");
    let mut daemon = Daemon::prepare(scratch, &Setup::default());
    daemon.program = colibrid.expect("copied");
    daemon
}

/// One that holds still when it has said that.
pub fn suite_that_says(name: &str, bytes: &[u8]) -> Daemon {
    suite_with(name, bytes, "cat <&3 >/dev/null")
}
