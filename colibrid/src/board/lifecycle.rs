//! The life of a task as a pure state machine, and the policy that tries it again.
//!
//! queued → claimed → started → done or failed; cancelled from anywhere before the end; waiting
//! for other tasks or for a time before it is queued, and for the host after that.

use std::str::FromStr;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// For other tasks, for a time, or for the host.
    Waiting,
    /// For an agent.
    Queued,
    /// An agent has it.
    Claimed,
    /// The agent works on it.
    Started,
    /// It has a result.
    Done,
    /// It was given up.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

impl Status {
    /// All of them, in the order of a task's life.
    pub const ALL: [Status; 7] = [
        Status::Waiting,
        Status::Queued,
        Status::Claimed,
        Status::Started,
        Status::Done,
        Status::Failed,
        Status::Cancelled,
    ];

    /// The word in the protocol and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Waiting => "waiting",
            Status::Queued => "queued",
            Status::Claimed => "claimed",
            Status::Started => "started",
            Status::Done => "done",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens to it by itself.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Status::Done | Status::Failed | Status::Cancelled)
    }

    /// Whether an agent has it.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(self, Status::Claimed | Status::Started)
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(s: &str) -> Result<Status, ()> {
        let found = Status::ALL.into_iter().find(|x| x.as_str() == s);
        found.ok_or(())
    }
}

/// Why an attempt at a task failed, as far as it matters for trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The model's provider was busy, slow or out of reach.
    Provider,
    /// The agent could not be started for lack of something that comes back.
    Start,
    /// The agent's process died, or its monitor was lost.
    Crash,
    /// The holder of a lease fell silent.
    Lease,
    /// The agent itself failed, or ended without a result.
    Agent,
    /// The provider refused for good: key, quota, a request that is too long.
    Refused,
    /// The deadline passed.
    Deadline,
    /// A task that it depends on was not done.
    Dependency,
    /// What it may cost is spent.
    Budget,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 9] = [
        Class::Provider,
        Class::Start,
        Class::Crash,
        Class::Lease,
        Class::Agent,
        Class::Refused,
        Class::Deadline,
        Class::Dependency,
        Class::Budget,
    ];

    /// The word in the protocol and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Provider => "provider",
            Class::Start => "start",
            Class::Crash => "crash",
            Class::Lease => "lease",
            Class::Agent => "agent",
            Class::Refused => "refused",
            Class::Deadline => "deadline",
            Class::Dependency => "dependency",
            Class::Budget => "budget",
        }
    }

    /// Whether it may pass by itself: what is tried again by default.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Class::Provider | Class::Start | Class::Crash | Class::Lease
        )
    }

    /// Whether a task can ask to be tried again after it at all.
    #[must_use]
    pub fn can_retry(self) -> bool {
        !matches!(self, Class::Deadline | Class::Dependency | Class::Budget)
    }
}

impl FromStr for Class {
    type Err = ();

    fn from_str(s: &str) -> Result<Class, ()> {
        let found = Class::ALL.into_iter().find(|x| x.as_str() == s);
        found.ok_or(())
    }
}

/// When a task is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Attempts that have failed.
    pub tries: u32,
    /// How many may.
    pub attempts: u32,
    /// After which classes; bit `n` stands for the class `n` of [`Class::ALL`].
    pub on: u32,
}

impl Policy {
    /// The bits of some classes.
    #[must_use]
    pub fn bits(classes: impl IntoIterator<Item = Class>) -> u32 {
        classes.into_iter().fold(0, |bits, c| bits | 1 << c as u32)
    }

    /// What is tried again when a task says nothing else.
    #[must_use]
    pub fn transient() -> u32 {
        Policy::bits(Class::ALL.into_iter().filter(|c| c.is_transient()))
    }

    /// Whether one more failure of this class is followed by another attempt.
    #[must_use]
    pub fn again(self, class: Class) -> bool {
        let wanted = self.on & 1 << class as u32 != 0;
        wanted && class.can_retry() && self.tries + 1 < self.attempts
    }
}

/// What happened to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// What it waited for has come.
    Ready,
    /// An agent was given it.
    Claimed,
    /// The agent has begun.
    Started,
    /// The agent has a result.
    Succeeded,
    /// The attempt, or all of it, failed.
    Failed(Class),
    /// The host allows no launch, and only a launch can help it.
    Held,
    /// The attempt ended for a reason that lies outside of it, such as the end of the suite.
    Returned,
    /// Somebody does not want it any more, and nobody works on it.
    Cancelled,
    /// Somebody wants it to be tried again.
    Retried,
}

/// One step: the next status, or `None` if that cannot happen to a task that stands there. A step
/// from held to waiting is a failure that is tried again after a delay.
#[must_use]
pub fn step(status: Status, happened: Happened, policy: Policy) -> Option<Status> {
    use Happened as H;
    use Status as S;
    Some(match (status, happened) {
        (S::Waiting, H::Ready) => S::Queued,
        (S::Queued, H::Held) => S::Waiting,
        (S::Queued, H::Claimed) => S::Claimed,
        (S::Claimed, H::Started) => S::Started,
        (S::Claimed | S::Started, H::Succeeded) => S::Done,
        (S::Claimed | S::Started, H::Returned) => S::Queued,
        (S::Claimed | S::Started, H::Failed(c)) if policy.again(c) => S::Waiting,
        (S::Claimed | S::Started, H::Failed(_)) => S::Failed,
        (S::Waiting | S::Queued, H::Failed(Class::Deadline | Class::Dependency)) => S::Failed,
        (S::Done | S::Failed | S::Cancelled, H::Cancelled) => return None,
        (_, H::Cancelled) => S::Cancelled,
        (S::Waiting | S::Failed | S::Cancelled, H::Retried) => S::Queued,
        _ => return None,
    })
}

/// Milliseconds before attempt `tries + 1`: doubled with each failure, at most `max_s`, of which
/// between half and all, so that tasks that failed together do not come back together. The same
/// task gets the same delay every time it is computed.
#[must_use]
pub fn delay_ms(task: u64, tries: u32, first_s: u32, max_s: u32) -> u64 {
    let doubled = u64::from(first_s) << tries.saturating_sub(1).min(30);
    let whole = doubled.min(u64::from(max_s)) * 1000;
    let bytes = [task.to_le_bytes(), u64::from(tries).to_le_bytes()].concat();
    let share = libcolibri::config::hash(&bytes) % 1001;
    whole / 2 + whole / 2 * share / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(tries: u32, attempts: u32) -> Policy {
        Policy {
            tries,
            attempts,
            on: Policy::transient(),
        }
    }

    fn every() -> Vec<Happened> {
        let mut all = vec![
            Happened::Ready,
            Happened::Claimed,
            Happened::Started,
            Happened::Succeeded,
            Happened::Held,
            Happened::Returned,
            Happened::Cancelled,
            Happened::Retried,
        ];
        all.extend(Class::ALL.map(Happened::Failed));
        all
    }

    #[test]
    fn only_a_person_brings_a_task_back_from_its_end() {
        for status in Status::ALL.into_iter().filter(|s| s.is_final()) {
            for h in every() {
                let next = step(status, h, policy(0, 3));
                let back = status != Status::Done && h == Happened::Retried;
                assert_eq!(next, back.then_some(Status::Queued), "{status:?} {h:?}");
            }
        }
    }

    #[test]
    fn a_task_is_claimed_only_from_the_queue_and_done_only_by_its_holder() {
        for status in Status::ALL {
            for h in every() {
                match step(status, h, policy(0, 3)) {
                    Some(Status::Claimed) => assert_eq!(status, Status::Queued),
                    Some(Status::Done) => assert!(status.is_held()),
                    Some(Status::Waiting) => {
                        assert!(status.is_held() || h == Happened::Held);
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn attempts_are_counted_and_permanent_failures_are_final() {
        let fail = |c, tries| step(Status::Started, Happened::Failed(c), policy(tries, 3));
        assert_eq!(fail(Class::Crash, 0), Some(Status::Waiting));
        assert_eq!(fail(Class::Crash, 1), Some(Status::Waiting));
        assert_eq!(fail(Class::Crash, 2), Some(Status::Failed));
        assert_eq!(fail(Class::Agent, 0), Some(Status::Failed));
        let everything = Policy {
            tries: 0,
            attempts: 9,
            on: u32::MAX,
        };
        for class in Class::ALL {
            assert_eq!(everything.again(class), class.can_retry());
        }
    }

    #[test]
    fn words_come_back() {
        for s in Status::ALL {
            assert_eq!(s.as_str().parse(), Ok(s));
        }
        for c in Class::ALL {
            assert_eq!(c.as_str().parse(), Ok(c));
        }
        assert!("running".parse::<Status>().is_err());
    }

    #[test]
    fn delays_grow_to_their_cap_and_scatter() {
        for tries in 1..40 {
            let whole = (30u64 << (tries - 1).min(30)).min(3600) * 1000;
            for task in 0..50 {
                let d = delay_ms(task, tries, 30, 3600);
                assert!(d >= whole / 2 && d <= whole, "{tries}: {d}");
                assert_eq!(d, delay_ms(task, tries, 30, 3600));
            }
        }
        let different: std::collections::BTreeSet<u64> =
            (0..50).map(|task| delay_ms(task, 3, 30, 3600)).collect();
        assert!(different.len() > 25);
        assert_eq!(delay_ms(1, 1, 0, 0), 0);
    }
}
