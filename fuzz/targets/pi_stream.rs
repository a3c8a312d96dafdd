//! Pi's stream and its fold: the same events and states however the bytes are cut, bounded memory.

#![no_main]

use colibri_fuzz::Rng;
use libcolibri::pi::{Event, Fold, Input, Options, Parser, View};
use libcolibri::record::{Record, LONG, OPTIONS, SHORT};
use libcolibri::state::{Exit, Phase};
use libfuzzer_sys::fuzz_target;

/// What a line may hold while it is read: an answer and a dialog's text (whose buffers can be twice
/// as big as what they hold) and the options.
const HELD: usize = 6 * LONG + 2 * OPTIONS * SHORT;

fuzz_target!(|data: &[u8]| run(data, &mut Rng::of(data)));

fn run(input: &[u8], rng: &mut Rng) {
    let whole = read(input, &mut Rng::new(0), input.len().max(1));
    let max = 1 + rng.below(200);
    assert_eq!(read(input, rng, max), whole, "pieces up to {max}");
    let seed = rng.draw();
    let first = folded(&whole.0, &mut Rng::new(seed));
    assert_eq!(
        folded(&whole.0, &mut Rng::new(seed)),
        first,
        "not deterministic"
    );
}

/// Events and counters of the input, fed in pieces of up to `max` bytes.
fn read(input: &[u8], rng: &mut Rng, max: usize) -> (Vec<Event>, [u64; 4]) {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let n = rest.len().min(max - rng.below(max));
        parser.feed(&rest[..n], &mut |e| events.push(e));
        assert!(parser.held() <= HELD, "holds {}", parser.held());
        rest = &rest[n..];
    }
    parser.finish(&mut |e| events.push(e));
    assert_eq!(parser.held(), 0);
    let counts = [
        parser.lines(),
        parser.bytes(),
        parser.updates(),
        parser.malformed(),
    ];
    (events, counts)
}

/// All records and the final view, with acts of our own in between.
fn folded(events: &[Event], rng: &mut Rng) -> (Vec<Record>, View) {
    let live = rng.below(2) == 0;
    let mut fold = Fold::new(Options { mode: None, live });
    let mut out = Vec::new();
    let mut at = 1;
    for event in events {
        at += rng.below(300) as u64;
        fold.step(Input::Event(event.clone()), at, &mut out);
        match rng.below(40) {
            0 => fold.step(Input::Aborted, at, &mut out),
            1 => fold.step(Input::Tick, at, &mut out),
            2 => fold.step(Input::Stopping, at, &mut out),
            3 => fold.step(Input::Finishing, at, &mut out),
            4 => {
                let (request, cancelled) = ("x", rng.below(2) == 0);
                fold.step(Input::Answered { request, cancelled }, at, &mut out);
            }
            _ => {}
        }
        assert!(
            fold.next_deadline().is_none_or(|d| d > at),
            "a deadline was missed"
        );
    }
    let asked = rng.below(2) == 0;
    let exit = match rng.below(3) {
        0 => Exit::Code(0),
        1 => Exit::Code(143),
        _ => Exit::Signal(9),
    };
    fold.step(Input::Exit { exit, asked }, at, &mut out);
    let view = fold.view().clone();
    assert_eq!(view.phase, Phase::None);
    for record in &out {
        if let Record::State { reason, .. } = record {
            assert!(reason.len() <= SHORT && !reason.contains('\n'));
        }
    }
    (out, view)
}
