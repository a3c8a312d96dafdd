//! `fuzz TARGET SECONDS [SEED]` feeds mutated inputs to one target for so many seconds. A failure
//! prints the seed and leaves the input in a file; `fuzz TARGET FILE` runs that file again.
//!
//! A new target is a file beside this one with a `pub const TARGET: Target`, and a line in TARGETS.

mod mutate;
mod pi_stream;

use mutate::{Mutator, Rng};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Something to be fuzzed.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Inputs to begin with.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Pieces that mean something to the target.
    pub dictionary: &'static [&'static [u8]],
    /// Longest input, in bytes.
    pub max_len: usize,
    /// Runs one input; panics when an invariant does not hold. Further choices come from the generator.
    pub run: fn(&[u8], &mut Rng),
}

const TARGETS: &[Target] = &[pi_stream::TARGET];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let target = args
        .first()
        .and_then(|name| TARGETS.iter().find(|t| t.name == *name));
    let (Some(target), Some(what)) = (target, args.get(1)) else {
        let names: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
        eprintln!(
            "usage: fuzz TARGET SECONDS|FILE [SEED]\ntargets: {}",
            names.join(" ")
        );
        return ExitCode::from(2);
    };
    let seed = args.get(2).and_then(|s| s.parse().ok()).unwrap_or(1);
    match what.parse::<u64>() {
        Ok(seconds) => fuzz(target, seconds, seed),
        Err(_) => again(target, what, seed),
    }
}

fn fuzz(target: &Target, seconds: u64, seed: u64) -> ExitCode {
    let corpus = (target.corpus)();
    assert!(!corpus.is_empty(), "{}: no corpus", target.name);
    let mut mutator = Mutator::new(corpus, target.dictionary, target.max_len);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut count = 0_u64;
    while count == 0 || Instant::now() < end {
        // Every input has its own seed, so that a failure needs no history.
        let this = seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut rng = Rng::new(this);
        let input = mutator.next(&mut rng);
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input, &mut rng.clone()))).is_err() {
            let file = format!("crash-{}-{seed}-{count}", target.name);
            let kept = std::fs::write(&file, &input);
            eprintln!(
                "{}: failed, seed {seed}, input {count}, in {file}: {kept:?}",
                target.name
            );
            return ExitCode::FAILURE;
        }
        count += 1;
    }
    println!(
        "{}: {count} inputs in {seconds} s, seed {seed}: no failure",
        target.name
    );
    ExitCode::SUCCESS
}

/// Runs one kept input, with many choices of the rest.
fn again(target: &Target, file: &str, seed: u64) -> ExitCode {
    let input = match std::fs::read(file) {
        Ok(input) => input,
        Err(e) => {
            eprintln!("fuzz: cannot read {file}: {e}");
            return ExitCode::FAILURE;
        }
    };
    for n in 0..1000 {
        (target.run)(&input, &mut Rng::new(seed.wrapping_add(n)));
    }
    println!("{}: {file} does no harm", target.name);
    ExitCode::SUCCESS
}
