//! What will be done to a suite, decided by a seed alone: nothing that happens changes the plan, so
//! a seed replays it.

use std::fmt;

/// A small generator of numbers (SplitMix64): the same seed, the same numbers, everywhere.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Begins with a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }
}

/// How a run is to go when nobody interferes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Works, settles, exits with 0: done.
    Works,
    /// Works and exits with this status without having settled: error.
    Fails(u8),
    /// Asks, and works on when it is answered: done.
    Asks,
    /// Settles and leaves a grandchild that ignores SIGTERM: done, when that is dead.
    Leaves,
    /// Lives until it is stopped.
    Lives,
    /// The same, and ignores SIGTERM, and has a grandchild.
    Deaf,
}

/// One run to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Which in the plan; also in its prompt.
    pub nonce: u64,
    /// How it goes.
    pub kind: Kind,
    /// Tools that it uses.
    pub tools: u64,
    /// Milliseconds that it takes.
    pub wait: u64,
}

impl Script {
    /// The prompt for `colibri-scripted`.
    #[must_use]
    pub fn prompt(&self) -> String {
        let (before, after) = (self.tools / 2, self.tools - self.tools / 2);
        let head = format!("nonce {} tool {before} wait {}", self.nonce, self.wait);
        let tail = match self.kind {
            Kind::Works => "settle rest".to_owned(),
            Kind::Fails(code) => format!("exit {code}"),
            Kind::Asks => "settle rest".to_owned(),
            Kind::Leaves => "child settle exit 0".to_owned(),
            Kind::Lives => "live".to_owned(),
            Kind::Deaf => "live".to_owned(),
        };
        let middle = match self.kind {
            Kind::Asks => "ask ",
            Kind::Deaf => "deaf child ",
            _ => "",
        };
        format!("{head} {middle}tool {after} {tail}")
    }

    /// Whether it ends without being asked or answered.
    #[must_use]
    pub fn ends_alone(&self) -> bool {
        matches!(self.kind, Kind::Works | Kind::Fails(_) | Kind::Leaves)
    }
}

/// One task to be put on the board: what each attempt at it does, and what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its nonce is also in the task's title and key.
    pub script: Script,
    /// It names the skill of which the driver imports one edition after another.
    pub skill: bool,
    /// What its agent has to be able to do.
    pub capability: Option<&'static str>,
    /// An earlier task that has to be done before.
    pub after: Option<u64>,
}

/// Schedules that a round has.
pub const SCHEDULES: usize = 3;

/// Which daemons a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Victims {
    /// colibrid, colibri-spawnd, colibri-schedd.
    pub parts: [bool; 3],
    /// The keeper first.
    pub keeper: bool,
}

impl fmt::Display for Victims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["colibrid", "spawnd", "schedd"];
        let mut hit: Vec<&str> = names
            .iter()
            .zip(self.parts)
            .filter_map(|(name, hit)| hit.then_some(*name))
            .collect();
        if self.keeper {
            hit.insert(0, "keeper");
        }
        f.write_str(&hit.join(" + "))
    }
}

/// One thing that is done. Runs and tasks are meant by their place in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Start a run and wait for the answer.
    Spawn(Script),
    /// Start several without waiting for answers in between, as one burst.
    Burst(Vec<Script>),
    /// Start several, kill daemons before the answers can be read.
    SpawnAndKill(Vec<Script>, Victims),
    /// Add a task.
    Task(Task),
    /// Import an edition of the skill and add several tasks, kill daemons before the answers can be
    /// read, and ask for the same once more.
    TasksAndKill(Vec<Task>, Victims),
    /// Import another edition of the skill.
    Import,
    /// Let a schedule come now.
    RunNow(usize),
    /// Answer the question of a run, or of a task's, if it asks.
    Answer(u64),
    /// Stop a run, cancel a task.
    Stop(u64),
    /// kill -9 its monitor.
    KillMonitor(u64),
    /// kill -9 daemons; then the suite must come back.
    Kill(Victims),
    /// Twice, the second time as soon as the suite is back.
    KillTwice(Victims, Victims),
    /// The same with the next suite while it starts, after so many milliseconds.
    FalseStart(Victims, u64),
    /// SIGHUP: start again.
    Restart,
    /// SIGTERM: all runs end; then start anew.
    StopSuite,
    /// A client that sends half a request and goes.
    HastyClient,
    /// A subscriber that never reads.
    StalledClient,
    /// Compare the board with the kernel.
    Audit,
    /// Milliseconds of peace.
    Pause(u64),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Spawn(s) => write!(f, "start {}: {}", s.nonce, s.prompt()),
            Step::Burst(all) => write!(f, "start {} at once", span(all.iter())),
            Step::SpawnAndKill(all, v) => {
                write!(f, "start {} and kill {v} at once", span(all.iter()))
            }
            Step::Task(t) => write!(f, "task {t}"),
            Step::TasksAndKill(all, v) => {
                let nonces = span(all.iter().map(|t| &t.script));
                write!(f, "import, add tasks {nonces}, kill {v} at once, repeat")
            }
            Step::Import => f.write_str("import another edition"),
            Step::RunNow(n) => write!(f, "let schedule {n} come now"),
            Step::FalseStart(v, ms) => {
                write!(f, "kill {v}, and what is started then after {ms} ms")
            }
            Step::Answer(n) => write!(f, "answer {n}"),
            Step::Stop(n) => write!(f, "stop {n}"),
            Step::KillMonitor(n) => write!(f, "kill the monitor of {n}"),
            Step::Kill(v) => write!(f, "kill {v}"),
            Step::KillTwice(a, b) => write!(f, "kill {a}, and when it is back {b}"),
            Step::Restart => f.write_str("SIGHUP"),
            Step::StopSuite => f.write_str("SIGTERM, and start anew"),
            Step::HastyClient => f.write_str("half a request"),
            Step::StalledClient => f.write_str("a subscriber that does not read"),
            Step::Audit => f.write_str("audit"),
            Step::Pause(ms) => write!(f, "pause {ms} ms"),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.script.nonce)?;
        if let Some(word) = self.capability {
            write!(f, " for {word}")?;
        }
        if let Some(before) = self.after {
            write!(f, " after {before}")?;
        }
        if self.skill {
            f.write_str(" with the skill")?;
        }
        write!(f, ": {}", self.script.prompt())
    }
}

/// The nonces of some scripts: the first and the last.
fn span<'a>(mut all: impl Iterator<Item = &'a Script>) -> String {
    let first = all.next().map_or(0, |s| s.nonce);
    format!("{first} to {}", all.last().map_or(first, |s| s.nonce))
}

/// One suite's life.
#[derive(Debug, Clone)]
pub struct Plan {
    /// It was made from this.
    pub seed: u64,
    /// The suite has a keeper; otherwise the driver starts it again.
    pub kept: bool,
    /// In this order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// A plan of `length` steps, and a third as many further ones that each add a task.
    #[must_use]
    pub fn new(seed: u64, length: usize) -> Self {
        let mut maker = Maker {
            rng: Rng::new(seed),
            nonce: 0,
            last_task: None,
        };
        // The keeper waits longer each time: fewer faults fit into a round.
        let kept = maker.rng.below(3) == 0;
        let mut steps = Vec::new();
        for n in 0..length {
            steps.push(maker.step(kept));
            if n % 3 == 0 {
                steps.push(Step::Task(maker.task()));
            }
        }
        Self { seed, kept, steps }
    }
}

struct Maker {
    rng: Rng,
    nonce: u64,
    last_task: Option<u64>,
}

impl Maker {
    fn step(&mut self, kept: bool) -> Step {
        let faults = if kept { 2 } else { 6 };
        let choice = self.rng.below(100 + faults);
        match choice {
            0..30 => Step::Spawn(self.script()),
            30..34 => {
                let n = 2 + self.rng.below(12);
                Step::Burst((0..n).map(|_| self.script()).collect())
            }
            34..44 => Step::Answer(self.earlier()),
            44..54 => Step::Stop(self.earlier()),
            54..59 => Step::KillMonitor(self.earlier()),
            59..64 => Step::HastyClient,
            64..66 => Step::StalledClient,
            66..71 => Step::Audit,
            71..72 => Step::Restart,
            72..75 => Step::Import,
            75..78 => Step::RunNow(usize::try_from(self.rng.number()).unwrap_or(0) % SCHEDULES),
            78..100 => Step::Pause(1 + self.rng.below(60)),
            _ => self.fault(kept),
        }
    }

    fn fault(&mut self, kept: bool) -> Step {
        match self.rng.below(14) {
            0..6 => Step::Kill(self.victims(kept)),
            6..8 => {
                let n = 1 + self.rng.below(8);
                let scripts = (0..n).map(|_| self.script()).collect();
                Step::SpawnAndKill(scripts, self.victims(kept))
            }
            8..10 => {
                let n = 1 + self.rng.below(8);
                // The number of none of them is known when they are asked for.
                let apart = |t| Task { after: None, ..t };
                let tasks = (0..n).map(|_| apart(self.task())).collect();
                Step::TasksAndKill(tasks, self.victims(kept))
            }
            10..11 => Step::KillTwice(self.victims(kept), self.victims(kept)),
            11..13 => Step::FalseStart(self.victims(kept), self.rng.below(80)),
            _ if kept => Step::Restart,
            _ => Step::StopSuite,
        }
    }

    fn victims(&mut self, kept: bool) -> Victims {
        // Each of the seven sets that are not empty.
        let bits = 1 + self.rng.below(7);
        let keeper = kept && self.rng.below(4) == 0;
        Victims {
            parts: [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0],
            keeper,
        }
    }

    /// A run or a task that was planned before, rather a late one.
    fn earlier(&mut self) -> u64 {
        let back = self.rng.below(12).min(self.rng.below(40));
        self.nonce.saturating_sub(back).max(1)
    }

    fn script(&mut self) -> Script {
        self.nonce += 1;
        let code = 1 + u8::try_from(self.rng.below(100)).unwrap_or(0);
        let kind = match self.rng.below(20) {
            0..8 => Kind::Works,
            8..11 => Kind::Fails(code),
            11..14 => Kind::Asks,
            14..16 => Kind::Leaves,
            16..19 => Kind::Lives,
            _ => Kind::Deaf,
        };
        Script {
            nonce: self.nonce,
            kind,
            tools: self.rng.below(12),
            wait: self.rng.below(4) * self.rng.below(400),
        }
    }

    fn task(&mut self) -> Task {
        let mut script = self.script();
        // Its agent has nothing else to do meanwhile: few are left to live until they are stopped.
        if script.kind == Kind::Deaf || script.kind == Kind::Lives && self.rng.below(3) > 0 {
            script.kind = Kind::Works;
        }
        let waits = self.rng.below(6) == 0;
        let after = self.last_task.replace(script.nonce).filter(|_| waits);
        let capability = match self.rng.below(3) {
            0 => Some("left"),
            1 => Some("right"),
            _ => None,
        };
        Task {
            script,
            skill: self.rng.below(3) == 0,
            capability,
            after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_its_plan() {
        let (a, b) = (Plan::new(7, 200), Plan::new(7, 200));
        assert_eq!(a.steps, b.steps);
        assert_ne!(a.steps, Plan::new(8, 200).steps);
    }

    #[test]
    fn a_round_has_fifty_tasks() {
        let steps = Plan::new(1, 150).steps;
        let tasks = steps.iter().filter(|s| matches!(s, Step::Task(_)));
        assert_eq!(tasks.count(), 50);
    }

    #[test]
    fn every_kind_of_step_and_every_set_of_victims_is_planned() {
        let steps: Vec<Step> = (0..40).flat_map(|s| Plan::new(s, 200).steps).collect();
        let mut kinds: Vec<_> = steps.iter().map(std::mem::discriminant).collect();
        kinds.dedup();
        let mut found: Vec<std::mem::Discriminant<Step>> = Vec::new();
        for k in kinds {
            if !found.contains(&k) {
                found.push(k);
            }
        }
        assert_eq!(found.len(), 19);
        let hit = |want: [bool; 3]| {
            let fits = |s: &Step| matches!(s, Step::Kill(v) if v.parts == want);
            steps.iter().any(fits)
        };
        for bits in 1..8 {
            assert!(hit([bits & 1 != 0, bits & 2 != 0, bits & 4 != 0]), "{bits}");
        }
    }
}
