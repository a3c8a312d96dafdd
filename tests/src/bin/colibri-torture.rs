//! Fault injection against the real binaries.
//!
//! Usage: `colibri-torture [--seconds N] [--seed N] [--steps N] [-v]`
//!
//! Plays rounds until the time is over, each with a suite of its own and a plan that its seed alone
//! decides; the seed of the first round is given or drawn, and printed, and each further round takes
//! the next number. `--seconds 0` plays one round: that is how a seed is played again. With `-v`
//! every step is printed as it is done; otherwise the steps of a round are printed when it fails.

use colibri_tests::measure::conditions;
use colibri_tests::procs::users_of;
use colibri_tests::torture::plan::Plan;
use colibri_tests::torture::round::{play, Tally};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What was done in this round, for the report of a failure.
static DONE: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Args {
    seconds: u64,
    seed: u64,
    steps: usize,
    verbose: bool,
}

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(why) => {
            eprintln!("colibri-torture: {why}");
            return ExitCode::from(2);
        }
    };
    report_panics();
    println!("{}", conditions());
    println!(
        "plan    {} seconds, {} steps a round, first seed {}\n",
        args.seconds, args.steps, args.seed
    );
    let until = Instant::now() + Duration::from_secs(args.seconds);
    let mut sum = Tally::default();
    let mut seed = args.seed;
    loop {
        let tally = round(seed, &args);
        sum.runs += tally.runs;
        sum.tasks += tally.tasks;
        sum.occurrences += tally.occurrences;
        sum.faults += tally.faults;
        sum.monitors += tally.monitors;
        sum.stops += tally.stops;
        sum.events += tally.events;
        seed = seed.wrapping_add(1);
        if Instant::now() >= until {
            break;
        }
    }
    println!(
        "\nnothing lost, nothing left over: {} rounds, {} runs, {} tasks, {} occurrences, {} faults, \
         {} monitors killed, {} stops, {} events",
        seed.wrapping_sub(args.seed),
        sum.runs,
        sum.tasks,
        sum.occurrences,
        sum.faults,
        sum.monitors,
        sum.stops,
        sum.events
    );
    ExitCode::SUCCESS
}

fn round(seed: u64, args: &Args) -> Tally {
    let plan = Plan::new(seed, args.steps);
    done().clear();
    let tally = play(&plan, |n, step| {
        let line = format!("{n:>4}  {step}");
        if args.verbose {
            println!("{line}");
        }
        done().push(line);
    });
    let mut line = format!(
        "seed {seed:<12} {:>3} runs {:>3} tasks {:>2} occurrences {:>2} faults {:>2} monitors \
         {:>2} stops {:>5} events {:>3} snapshots",
        tally.runs,
        tally.tasks,
        tally.occurrences,
        tally.faults,
        tally.monitors,
        tally.stops,
        tally.events,
        tally.compared
    );
    if tally.back.count() > 0 {
        let _ = write!(
            line,
            "; back in {:.0} ms, at most {:.0}",
            tally.back.median(),
            tally.back.quantile(1.0)
        );
    }
    println!("{line}{}", if plan.kept { " (kept)" } else { "" });
    tally
}

fn done() -> std::sync::MutexGuard<'static, Vec<String>> {
    DONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A failure says what was done before it, where the suite's files are, and how to see it again;
/// then nothing of the suite stays behind.
fn report_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let steps = std::mem::take(&mut *done());
        println!("\nwhat was done:");
        for line in &steps {
            println!("{line}");
        }
        let place = steps.first().and_then(|l| l.split_once("directory "));
        if let Some((_, dir)) = place {
            let dir = PathBuf::from(dir);
            let log = std::fs::read_to_string(dir.join("stderr")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("\nthe end of the daemons' log:");
            for line in &lines[lines.len().saturating_sub(60)..] {
                println!("  {line}");
            }
            println!("\nkept: {}", dir.display());
            for pid in users_of(&dir) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        println!("\nFAILED; a round is played again by --seconds 0 --seed N\n");
        usual(info);
        std::process::exit(1);
    }));
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let drawn = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut args = Args {
        seconds: 120,
        seed: drawn.map_or(1, |d| d.as_millis() as u64 % 1_000_000_000),
        steps: 150,
        verbose: false,
    };
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().ok_or(format!("{word} needs a number"))?;
            value
                .parse::<u64>()
                .map_err(|_| format!("{value} is not a number"))
        };
        match word.as_str() {
            "--seconds" => args.seconds = number()?,
            "--seed" => args.seed = number()?,
            "--steps" => args.steps = usize::try_from(number()?).unwrap_or(usize::MAX),
            "-v" => args.verbose = true,
            other => return Err(format!("what is {other}?")),
        }
    }
    Ok(args)
}
