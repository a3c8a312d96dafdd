//! From a connection to facts, and how it is known that they are the present ones. Pure.
//!
//! A status says where to subscribe; then tasks are listed, and a second status settles what all begins with.
//! Events that came before it wait until then. What is shown is the present once every event up to the second
//! status has been taken in; from then on each must follow its predecessor, or the connection is given up and
//! everything read anew.

use serde_json::value::RawValue;

use super::ask::Ask;
use super::facts::Facts;
use crate::framing::Told;
use crate::model::{Event, Status};
use crate::model_board::Tasks;
use crate::output::read;

/// Events from before the connection that are asked for, for the tails of runs.
const BACK: u64 = 500;
/// Events that may wait for the second status.
const WAITING_MAX: usize = 20_000;
/// Tasks listed at first: status, and how many of it.
const LISTED: [(&str, u32); 7] = [
    ("started", 200),
    ("claimed", 200),
    ("queued", 200),
    ("waiting", 200),
    ("done", 20),
    ("failed", 20),
    ("cancelled", 20),
];

/// How the facts stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is no connection; since when (seconds since 1970), and why.
    Away(i64, String),
    /// Being read.
    Reading,
    /// The present.
    Live,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    /// What is known.
    pub facts: Facts,
    standing: Standing,
    /// The last event of the first status, and of the second.
    first: u64,
    settled: Option<u64>,
    /// The last event that came.
    seen: u64,
    waiting: Vec<Event>,
    /// A list of more tasks was asked for.
    listing: bool,
}

impl Session {
    /// Before the first connection.
    #[must_use]
    pub fn new(now: i64) -> Session {
        Session {
            facts: Facts::default(),
            standing: Standing::Away(now, "connecting".into()),
            first: 0,
            settled: None,
            seen: 0,
            waiting: Vec::new(),
            listing: false,
        }
    }

    /// How the facts stand.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether the facts are the present.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.standing == Standing::Live
    }

    /// There is a connection: the first request on it.
    pub fn connected(&mut self) -> Ask {
        let now = match self.standing {
            Standing::Away(since, _) => since,
            _ => 0,
        };
        *self = Session {
            standing: Standing::Reading,
            ..Session::new(now)
        };
        Ask::Begin
    }

    /// The connection is gone, or another attempt has failed.
    pub fn lost(&mut self, why: String, now: i64) {
        let since = match self.standing {
            Standing::Away(since, _) => since,
            _ => now,
        };
        self.standing = Standing::Away(since, why);
    }

    /// The reply to one of the requests that it made.
    ///
    /// # Errors
    /// Why the connection is of no use.
    pub fn reply(&mut self, ask: &Ask, data: &RawValue) -> Result<Vec<Ask>, String> {
        match ask {
            Ask::Begin => {
                self.first = parse::<Status>(data)?.seq;
                self.seen = self.first.saturating_sub(BACK);
                let mut asks = vec![Ask::Subscribe(self.seen)];
                asks.extend(LISTED.map(|(status, most)| Ask::Tasks(status, most)));
                asks.push(Ask::Settle);
                return Ok(asks);
            }
            Ask::Tasks(..) => {
                let tasks = parse::<Tasks>(data)?.tasks;
                self.facts.list(tasks, self.settled.is_none());
                self.listing = false;
            }
            Ask::Settle => {
                let status: Status = parse(data)?;
                self.settled = Some(status.seq);
                self.facts.begin(status);
                for event in std::mem::take(&mut self.waiting) {
                    self.take(event);
                }
            }
            _ => {}
        }
        self.look();
        Ok(Vec::new())
    }

    /// Takes in the next line of the subscription.
    ///
    /// # Errors
    /// Something is missing: the facts are not the present any more.
    pub fn told(&mut self, told: Told) -> Result<(), String> {
        let event = match told {
            // Events from before the first status that are not kept any more.
            Told::Gap(gap) if self.settled.is_none() && gap.to <= self.first => {
                self.seen = self.seen.max(gap.to);
                return Ok(());
            }
            Told::Gap(gap) => return Err(format!("events {} to {} are lost", gap.from, gap.to)),
            Told::Event(event) => *event,
        };
        if event.seq != self.seen + 1 {
            return Err(format!("event {} came after {}", event.seq, self.seen));
        }
        self.seen = event.seq;
        if self.settled.is_some() {
            self.take(event);
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push(event);
        } else {
            return Err("events without end instead of a status".into());
        }
        self.look();
        Ok(())
    }

    fn take(&mut self, event: Event) {
        if Some(event.seq) > self.settled {
            self.facts.apply(&event);
        } else if event.seq > self.first && event.kind == "task" {
            // Its list may be older or newer; the last of these events is the newest in any case.
            self.facts.place(&event);
        }
        self.facts.remember(event);
    }

    fn look(&mut self) {
        if self.standing == Standing::Reading
            && Some(self.seen) >= self.settled
            && self.settled.is_some()
        {
            self.standing = Standing::Live;
        }
    }

    /// A list that is wanted because too few tasks are known.
    pub fn wants(&mut self) -> Option<Ask> {
        if !self.is_live() || self.listing {
            return None;
        }
        let status = self.facts.lacking()?;
        self.listing = true;
        Some(Ask::Tasks(status, 200))
    }
}

/// The data of a reply.
///
/// # Errors
/// They are not the protocol's.
pub fn parse<T: serde::de::DeserializeOwned>(data: &RawValue) -> Result<T, String> {
    read(data).map_err(|e| e.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.into()).unwrap()
    }

    fn event(seq: u64, more: &str) -> Told {
        let json = format!(r#"{{"seq":{seq},"at":"x"{more}}}"#);
        Told::Event(serde_json::from_str(&json).unwrap())
    }

    fn begun(first: u64) -> Session {
        let mut s = Session::new(5);
        assert_eq!(s.connected(), Ask::Begin);
        let asks = s.reply(&Ask::Begin, &raw(&format!(r#"{{"seq":{first}}}"#)));
        let asks = asks.unwrap();
        assert_eq!(asks[0], Ask::Subscribe(first.saturating_sub(BACK)));
        assert_eq!(asks.last(), Some(&Ask::Settle));
        s
    }

    #[test]
    fn nothing_is_shown_as_present_before_it_is() {
        let mut s = begun(2);
        s.told(event(1, "")).unwrap();
        s.told(event(2, "")).unwrap();
        // Between the two statuses a task came and one was listed.
        let list = raw(r#"{"tasks":[{"id":1,"status":"queued"}]}"#);
        s.reply(&Ask::Tasks("queued", 9), &list).unwrap();
        let settle = raw(r#"{"seq":4,"tasks":{"queued":1,"started":1}}"#);
        s.reply(&Ask::Settle, &settle).unwrap();
        assert_eq!(s.standing(), &Standing::Reading);
        let task = r#","kind":"task","task":2,"status":"started","before":"claimed""#;
        s.told(event(3, task)).unwrap();
        assert!(!s.is_live());
        s.told(event(4, "")).unwrap();
        assert!(s.is_live());
        // The event was in the counts, not in the lists.
        assert_eq!(s.facts.counts["started"], 1);
        assert_eq!(s.facts.tasks.len(), 2);
        let task = r#","kind":"task","task":2,"status":"done","before":"started""#;
        s.told(event(5, task)).unwrap();
        assert_eq!((s.facts.counts["started"], s.facts.counts["done"]), (0, 1));
        assert_eq!(s.facts.log.len(), 5);
    }

    #[test]
    fn what_is_missing_is_noticed() {
        let mut s = begun(1000);
        let old = crate::model::Gap { from: 501, to: 900 };
        s.told(Told::Gap(old)).unwrap();
        for seq in 901..=1000 {
            s.told(event(seq, "")).unwrap();
        }
        s.reply(&Ask::Settle, &raw(r#"{"seq":1000}"#)).unwrap();
        assert!(s.is_live());
        assert!(s.told(event(1002, "")).is_err());
        let new = crate::model::Gap { from: 1, to: 1003 };
        assert!(s.told(Told::Gap(new)).is_err());
    }

    #[test]
    fn being_away_has_a_beginning_and_forgets() {
        let mut s = begun(0);
        s.reply(&Ask::Settle, &raw("{}")).unwrap();
        assert!(s.is_live());
        s.lost("it closed the connection".into(), 70);
        s.lost("connection refused".into(), 75);
        assert_eq!(
            s.standing(),
            &Standing::Away(70, "connection refused".into())
        );
        s.connected();
        assert!(s.facts.panes.is_empty() && s.facts.log.is_empty());
        assert_eq!(s.standing(), &Standing::Reading);
    }
}
