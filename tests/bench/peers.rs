//! The same accident for several supervisors: 100 children, kill -9 of the supervisor, 10 children
//! exit with 7 while nobody is there, the supervisor is started again.
//!
//! Counted: which of the other 90 children still live, how many are started a second time, how many
//! the supervisor has under its control again (it names the process and can stop it), of how many of
//! the 10 it can tell the exit status, and the seconds until it answers about all 100.
//!
//! Peers are taken from the directory `COLIBRI_PEERS` (see tools/get-peers.sh) or the search path;
//! one that is not there is said to be missing.
//!
//! Usage: bench-peers [CHILDREN]

use colibri_tests::measure::{conditions, row, table};
use colibri_tests::peers::{colibri, pitchfork, pueue, runit, s6, supervisord, Peer};
use colibri_tests::procs;
use colibri_tests::suite::Scratch;
use colibri_tests::wait::{must, wait_for, LONG};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Children that exit in the gap, of a hundred.
const EXIT_OF_100: usize = 10;

fn main() {
    let children: usize = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(100);
    println!("{}", conditions());
    println!("work    {children} children, kill -9 of the supervisor, a tenth exits in the gap\n");
    let mut rows = vec![row([
        "supervisor",
        "alive",
        "doubled",
        "managed again",
        "exit statuses",
        "answers after",
    ])];
    for make in [
        colibri::make,
        s6::make,
        runit::make,
        supervisord::make,
        pueue::make,
        pitchfork::make,
    ] {
        let scratch = Scratch::new();
        match make(scratch.path(), children) {
            Ok(peer) => {
                eprintln!("{} …", peer.name());
                let cells = accident(peer, scratch.path(), children);
                // At once: the next one may fail.
                eprintln!("  {}", cells.join("  "));
                rows.push(cells);
            }
            Err((name, why)) => {
                rows.push(row([&format!("{name}: {why}"), "-", "-", "-", "-", "-"]))
            }
        }
    }
    print!("{}", table(&rows));
}

/// Names of the children that were started, with a line per start: number and process.
fn started(dir: &Path) -> Vec<(usize, i32)> {
    let text = fs::read_to_string(dir.join("started")).unwrap_or_default();
    let parse = |l: &str| {
        let (n, pid) = l.split_once(' ')?;
        Some((n.parse().ok()?, pid.parse().ok()?))
    };
    text.lines().filter_map(parse).collect()
}

fn accident(mut peer: Box<dyn Peer>, dir: &Path, children: usize) -> Vec<String> {
    peer.start();
    must("all children", LONG * 2, || {
        (started(dir).len() == children).then_some(())
    });
    must("the supervisor to know them", LONG, || {
        (peer.managed().len() == children).then_some(())
    });
    let first = peer.processes(&started(dir).into_iter().collect());
    let leave = children * EXIT_OF_100 / 100;
    peer.kill();
    fs::write(dir.join("go"), "").expect("written");
    let of = |n: usize| first.get(&n).copied().unwrap_or(0);
    let lives = |n: usize| of(n) > 1 && procs::alive(of(n));
    assert_eq!(
        first.len(),
        children,
        "{} does not show its children",
        peer.name()
    );
    let gone = wait_for(Duration::from_secs(20), || {
        (0..leave).all(|n| !lives(n)).then_some(())
    });
    if gone.is_none() {
        eprintln!("{}: children did not leave", peer.name());
    }
    let from = Instant::now();
    peer.start();
    let answered = wait_for(LONG, || peer.answers(children).then_some(from.elapsed()));
    // What is started a second time is started soon, and what is adopted is so, too.
    let _ = wait_for(Duration::from_secs(5), || {
        (started(dir).len() >= 2 * children).then_some(())
    });
    let alive: BTreeSet<usize> = (leave..children).filter(|n| lives(*n)).collect();
    let doubled = started(dir).len() - children;
    let managed = peer.managed();
    let again = alive
        .iter()
        .filter(|n| managed.get(n).is_some_and(|pid| peer.same(*pid, of(**n))))
        .count();
    let statuses = (0..leave)
        .filter(|n| peer.exit_status(*n) == Some(7))
        .count();
    let cells = row([
        peer.name(),
        format!("{} of {}", alive.len(), children - leave),
        doubled.to_string(),
        format!("{again} of {}", children - leave),
        format!("{statuses} of {leave}"),
        answered.map_or("never".into(), |t| format!("{:.2} s", t.as_secs_f64())),
    ]);
    peer.end();
    // Whatever it left.
    for pid in first.into_values() {
        if pid > 1 && procs::alive(pid) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }
    cells
}
