//! The newest events in memory, so that subscribers who keep up cost the database nothing.

use std::collections::VecDeque;
use std::rc::Rc;

/// Most events in memory.
const COUNT_MAX: usize = 4096;
/// Most bytes of events in memory.
const BYTES_MAX: usize = 4 * 1024 * 1024;

struct Slot {
    seq: u64,
    run: u64,
    line: Rc<str>,
}

/// The tail of the event log, and its numbering.
pub struct Ring {
    slots: VecDeque<Slot>,
    bytes: usize,
    oldest: u64,
    last: u64,
    published: u64,
}

impl Ring {
    /// A log whose stored events go from `oldest` to `last`.
    #[must_use]
    pub fn new(oldest: u64, last: u64) -> Ring {
        Ring {
            slots: VecDeque::new(),
            bytes: 0,
            oldest,
            last,
            published: last,
        }
    }

    /// The number that the next event gets.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.last + 1
    }

    /// The number of the last event that subscribers may see.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published
    }

    /// The number of the oldest event that is still kept.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Adds an event of this turn; `keep` is how many events the database keeps.
    pub fn push(&mut self, seq: u64, run: u64, line: String, keep: u64) {
        self.last = seq;
        self.oldest = self.oldest.max((seq + 1).saturating_sub(keep));
        self.bytes += line.len();
        let line = line.into();
        self.slots.push_back(Slot { seq, run, line });
        while self.slots.len() > COUNT_MAX || self.bytes > BYTES_MAX {
            if let Some(s) = self.slots.pop_front() {
                self.bytes -= s.line.len();
            }
        }
    }

    /// What was pushed is durable now.
    pub fn publish(&mut self) {
        self.published = self.last;
    }

    /// What was pushed since the last publication could not be stored.
    pub fn forget_unpublished(&mut self) {
        while self.slots.back().is_some_and(|s| s.seq > self.published) {
            if let Some(s) = self.slots.pop_back() {
                self.bytes -= s.line.len();
            }
        }
        self.last = self.published;
    }

    /// The published events after `from` that are in memory, of one run or of all; `None` when
    /// the first of them is in the database only.
    pub fn after(
        &self,
        from: u64,
        run: Option<u64>,
    ) -> Option<impl Iterator<Item = (u64, &Rc<str>)>> {
        let first = self.slots.front().map_or(self.last + 1, |s| s.seq);
        if from + 1 < first {
            return None;
        }
        let skip = (from + 1 - first) as usize;
        let published = self.published;
        let tail = self.slots.iter().skip(skip);
        Some(
            tail.take_while(move |s| s.seq <= published)
                .filter(move |s| run.is_none_or(|r| r == s.run))
                .map(|s| (s.seq, &s.line)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seqs(r: &Ring, from: u64) -> Option<Vec<u64>> {
        r.after(from, None).map(|i| i.map(|(s, _)| s).collect())
    }

    #[test]
    fn only_published_events_are_seen_and_unstored_ones_are_taken_back() {
        let mut r = Ring::new(1, 10);
        r.push(11, 1, "a".into(), 100);
        assert_eq!(seqs(&r, 10), Some(vec![]));
        r.publish();
        r.push(12, 1, "b".into(), 100);
        assert_eq!(seqs(&r, 10), Some(vec![11]));
        r.forget_unpublished();
        assert_eq!(r.next(), 12);
        assert_eq!(seqs(&r, 9), None);
    }

    /// What the ring is to be: everything that was ever published, and what was not yet.
    #[derive(Default)]
    struct Model {
        published: Vec<(u64, u64)>,
        pushed: Vec<(u64, u64)>,
    }

    #[test]
    fn it_is_its_model_whatever_is_pushed_published_and_taken_back() {
        for seed in 1..=30u64 {
            let mut state = seed;
            let mut below = |n: u64| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) % n
            };
            let mut r = Ring::new(1, 0);
            let mut m = Model::default();
            for _ in 0..2000 {
                match below(8) {
                    0..4 => {
                        let (seq, run) = (r.next(), below(3));
                        let due = m.published.len() + m.pushed.len() + 1;
                        assert_eq!(seq, due as u64);
                        r.push(seq, run, format!("{seq} of {run}"), 5000);
                        m.pushed.push((seq, run));
                    }
                    4..6 => {
                        r.publish();
                        m.published.append(&mut m.pushed);
                    }
                    6 => {
                        r.forget_unpublished();
                        m.pushed.clear();
                    }
                    _ => {
                        let from = below(m.published.len() as u64 + 3);
                        let run = (below(2) == 0).then(|| below(3));
                        let due: Vec<String> = m
                            .published
                            .iter()
                            .filter(|(s, of)| *s > from && run.is_none_or(|r| r == *of))
                            .map(|(s, of)| format!("{s} of {of}"))
                            .collect();
                        // Nothing was forgotten yet, so all of it is in memory.
                        let told = r.after(from, run).expect("in memory");
                        let told: Vec<String> = told.map(|(_, l)| l.to_string()).collect();
                        assert_eq!(told, due, "seed {seed}, after {from} of {run:?}");
                    }
                }
                assert_eq!(r.published(), m.published.len() as u64);
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_the_cursor_falls_back_to_the_database() {
        let mut r = Ring::new(1, 0);
        for seq in 1..=10_000 {
            r.push(seq, seq % 2, "x".repeat(100), 5000);
        }
        r.publish();
        assert!(r.slots.len() <= COUNT_MAX);
        assert_eq!(r.oldest(), 5001);
        assert_eq!(seqs(&r, 0), None);
        assert_eq!(seqs(&r, 9_998), Some(vec![9_999, 10_000]));
        let one = r.after(9_990, Some(1)).unwrap().count();
        assert_eq!(one, 5);
    }
}
