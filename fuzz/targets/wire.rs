//! Messages between the daemons: whatever decodes is what a sender would have written, byte for byte.
//!
//! The first byte of the input picks the direction and whether a whole frame follows or the kind
//! and its payload (so that lengths need not be guessed).
#![no_main]

use libcolibri::msg::{FromMonitor, FromSchedd, FromSpawnd, ToMonitor, ToSchedd, ToSpawnd};
use libcolibri::record::Entry;
use libcolibri::wire::{decode, encode, header, Reader, Wire, Writer, HEADER};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&pick, rest)) = data.split_first() else {
        return;
    };
    let framed = pick & 0x80 != 0;
    match pick % 7 {
        0 => check::<ToSpawnd>(framed, rest),
        1 => check::<FromSpawnd>(framed, rest),
        2 => check::<ToSchedd>(framed, rest),
        3 => check::<FromSchedd>(framed, rest),
        4 => check::<ToMonitor>(framed, rest),
        5 => check::<FromMonitor>(framed, rest),
        _ => entry(rest),
    }
});

fn check<M: Wire>(framed: bool, bytes: &[u8]) {
    if framed {
        frame::<M>(bytes);
    } else if let Some((kind, payload)) = bytes.split_first() {
        message::<M>(u16::from(*kind), payload);
    }
}

fn frame<M: Wire>(bytes: &[u8]) {
    let Ok(Some(h)) = header::<M>(bytes) else {
        return;
    };
    assert!(h.len <= M::MAX && h.fd == M::brings_fd(h.kind));
    let Some(payload) = bytes.get(HEADER..HEADER + h.len) else {
        return;
    };
    if let Some(again) = message::<M>(h.kind, payload) {
        assert_eq!(again, bytes[..HEADER + h.len], "another header");
    }
}

/// The frame of the message if it is one.
fn message<M: Wire>(kind: u16, payload: &[u8]) -> Option<Vec<u8>> {
    let msg: M = decode(kind, payload).ok()?;
    let mut again = Vec::new();
    encode(&msg, &mut again);
    assert_eq!(&again[HEADER..], payload, "another payload, kind {kind}");
    let h = header::<M>(&again).expect("our own header").expect("whole");
    assert_eq!((h.len, h.kind), (payload.len(), kind));
    Some(again)
}

/// An entry as the journal holds it, which may be followed by anything.
fn entry(bytes: &[u8]) {
    let mut r = Reader::new(bytes);
    let Ok(entry) = Entry::get(&mut r) else {
        return;
    };
    let used = bytes.len() - r.left();
    let mut again = Vec::new();
    entry.put(&mut Writer::new(&mut again));
    assert_eq!(again, bytes[..used], "another entry");
}
