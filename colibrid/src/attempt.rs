//! The life of one attempt as a pure state machine: what is asked of whom, and when again.
//!
//! An attempt is over only when spawnd has proven that nothing of it is left.

use std::time::Duration;

use libcolibri::msg::{Kill, Proven};

/// Time between two SIGKILLs to a tree that does not die, and between two questions whether it
/// has.
pub const AGAIN: Duration = Duration::from_secs(2);

/// SIGKILLs that a monitor may let pass without its last word: it is taken for lost then, and killed
/// itself. Half a minute, in which one that lives gets its word through.
pub const KILLS: u8 = 15;

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// spawnd was told to start it.
    Starting,
    /// Its monitor stands.
    Running,
    /// Its end was asked for.
    Asked,
    /// It got SIGTERM.
    Termed,
    /// It gets SIGKILL until it is dead; so many it has got.
    Killed(u8),
    /// It ended or was lost; spawnd proves it and cleans up.
    Releasing,
    /// Proven dead.
    Over,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// spawnd started its monitor, or a living one was found.
    Started,
    /// spawnd did not start it.
    Refused,
    /// Somebody wants its end.
    StopWanted,
    /// The monitor asks for a signal.
    Straggling(Kill),
    /// The monitor wrote its last record.
    Ended,
    /// The monitor is gone, and its journal has no last record.
    Lost,
    /// spawnd's answer.
    Released(Proven),
    /// The deadline passed.
    Deadline,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Tell the monitor that the end is wanted.
    TellStop,
    /// Have spawnd signal the tree.
    Signal(Kill),
    /// Have spawnd prove the end and clean up.
    Release,
    /// Note that the monitor was lost.
    NoteLost,
    /// It is over.
    Finish,
}

/// The next stage, what is to be done, and when to come back (`None`: no deadline).
pub type Step = (Stage, &'static [Effect], Option<Duration>);

/// One step. `grace` is the profile's patience between asking, SIGTERM and SIGKILL;
/// `stop_wanted` whether the end was wanted before it stood. `None`: nothing changes, a running
/// deadline included.
#[must_use]
pub fn step(stage: Stage, happened: Happened, stop_wanted: bool, grace: Duration) -> Option<Step> {
    use Happened as H;
    use Stage as S;
    Some(match (stage, happened) {
        (S::Over, _) => return None,
        (S::Starting, H::Started) if stop_wanted => (S::Asked, &[Effect::TellStop], Some(grace)),
        (S::Starting, H::Started) => (S::Running, &[], None),
        (S::Starting, H::Refused) => (S::Over, &[Effect::Finish], None),
        (S::Running, H::StopWanted) => (S::Asked, &[Effect::TellStop], Some(grace)),
        (S::Asked, H::Deadline) => (S::Termed, &[Effect::Signal(Kill::Term)], Some(grace)),
        (S::Termed, H::Deadline) => (S::Killed(1), &[Effect::Signal(Kill::Kill)], Some(AGAIN)),
        (S::Killed(n), H::Deadline) if n < KILLS => {
            (S::Killed(n + 1), &[Effect::Signal(Kill::Kill)], Some(AGAIN))
        }
        (S::Killed(_), H::Deadline) => (S::Releasing, &[Effect::NoteLost, Effect::Release], None),
        (S::Releasing, H::Released(Proven::Empty)) => (S::Over, &[Effect::Finish], None),
        (S::Releasing, H::Released(Proven::Alive)) => (S::Releasing, &[], Some(AGAIN)),
        (S::Releasing, H::Deadline) => (S::Releasing, &[Effect::Release], None),
        (S::Releasing, _) => return None,
        (_, H::Ended) => (S::Releasing, &[Effect::Release], None),
        (_, H::Lost) => (S::Releasing, &[Effect::NoteLost, Effect::Release], None),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);
    const STAGES: [Stage; 8] = [
        Stage::Starting,
        Stage::Running,
        Stage::Asked,
        Stage::Termed,
        Stage::Killed(1),
        Stage::Killed(KILLS),
        Stage::Releasing,
        Stage::Over,
    ];
    const ALL: [Happened; 10] = [
        Happened::Started,
        Happened::Refused,
        Happened::StopWanted,
        Happened::Straggling(Kill::Term),
        Happened::Straggling(Kill::Kill),
        Happened::Ended,
        Happened::Lost,
        Happened::Released(Proven::Empty),
        Happened::Released(Proven::Alive),
        Happened::Deadline,
    ];

    #[test]
    fn only_a_proof_or_a_refusal_finishes() {
        for stage in STAGES {
            for h in ALL {
                let Some((next, effects, _)) = step(stage, h, false, GRACE) else {
                    continue;
                };
                let finishes = effects.contains(&Effect::Finish);
                assert_eq!(finishes, next == Stage::Over, "{stage:?} {h:?}");
                if finishes {
                    assert!(matches!(
                        (stage, h),
                        (Stage::Starting, Happened::Refused)
                            | (Stage::Releasing, Happened::Released(Proven::Empty))
                    ));
                }
            }
        }
    }

    #[test]
    fn a_wanted_stop_always_gets_to_a_kill() {
        for stop_first in [false, true] {
            let mut stage = Stage::Starting;
            let mut effects = Vec::new();
            let mut feed = |h| {
                let (next, e, deadline) = step(stage, h, stop_first, GRACE).unwrap();
                stage = next;
                effects.extend_from_slice(e);
                deadline
            };
            feed(Happened::Started);
            if !stop_first {
                feed(Happened::StopWanted);
            }
            for _ in 0..3 {
                assert!(feed(Happened::Deadline).is_some());
            }
            assert_eq!(feed(Happened::Ended), None);
            assert_eq!(stage, Stage::Releasing);
            assert_eq!(
                effects,
                [
                    Effect::TellStop,
                    Effect::Signal(Kill::Term),
                    Effect::Signal(Kill::Kill),
                    Effect::Signal(Kill::Kill),
                    Effect::Release
                ]
            );
        }
    }

    #[test]
    fn a_monitor_that_says_nothing_holds_up_no_stop() {
        let mut stage = Stage::Running;
        let mut kills = 0;
        let mut happened = Happened::StopWanted;
        while stage != Stage::Releasing {
            let (next, effects, deadline) = step(stage, happened, true, GRACE).unwrap();
            kills += effects
                .iter()
                .filter(|e| **e == Effect::Signal(Kill::Kill))
                .count();
            assert_eq!(deadline.is_none(), next == Stage::Releasing);
            assert!(kills <= usize::from(KILLS), "it is killed for ever");
            assert_eq!(effects.contains(&Effect::NoteLost), deadline.is_none());
            (stage, happened) = (next, Happened::Deadline);
        }
        assert_eq!(kills, usize::from(KILLS));
    }

    /// Whatever happens in whatever order: it finishes at most once, only after a proof was asked
    /// for (or nothing was started), and nothing is done afterwards; once it is lost or has ended it
    /// is never signalled nor told to stop again.
    #[test]
    fn no_order_of_happenings_breaks_an_attempt() {
        for seed in 1..=3000u64 {
            let mut state = seed;
            let mut below = |n: usize| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) as usize % n
            };
            let (mut stage, mut stop_wanted) = (Stage::Starting, false);
            let (mut released, mut finished, mut over) = (false, 0, false);
            for _ in 0..30 {
                let happened = ALL[below(ALL.len())];
                stop_wanted |= happened == Happened::StopWanted;
                let Some((next, effects, deadline)) = step(stage, happened, stop_wanted, GRACE)
                else {
                    continue;
                };
                for effect in effects {
                    assert_eq!(finished, 0, "seed {seed}: {effect:?} after the end");
                    match effect {
                        Effect::Release => (released, over) = (true, true),
                        Effect::Finish => {
                            finished += 1;
                            assert!(released || happened == Happened::Refused, "seed {seed}");
                        }
                        Effect::TellStop | Effect::Signal(_) => {
                            assert!(!over, "seed {seed}: {effect:?} to what is over");
                        }
                        Effect::NoteLost => assert!(
                            happened == Happened::Lost || stage == Stage::Killed(KILLS),
                            "seed {seed}"
                        ),
                    }
                }
                // A stop that is under way always comes back by itself.
                let waits = matches!(next, Stage::Asked | Stage::Termed | Stage::Killed(_));
                assert!(!waits || deadline.is_some(), "seed {seed}: {next:?}");
                stage = next;
            }
        }
    }

    #[test]
    fn an_unproven_release_is_asked_again() {
        let alive = Happened::Released(Proven::Alive);
        let (stage, _, deadline) = step(Stage::Releasing, alive, false, GRACE).unwrap();
        assert_eq!(deadline, Some(AGAIN));
        let (_, effects, _) = step(stage, Happened::Deadline, false, GRACE).unwrap();
        assert_eq!(effects, [Effect::Release]);
    }
}
