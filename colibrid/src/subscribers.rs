//! Subscribers: a snapshot if they want one, then every event from their cursor on, as fast as they
//! read.

use libcolibri::warn;
use mio::Token;
use serde_json::{json, Value};

use crate::answers::too_long;
use crate::clients::{Subscription, OUT_LOW, REPLY_MAX};
use crate::engine::Engine;
use crate::request::{Refusal, Subscribe};

/// Most events in a lot, so that others get their turn.
const LOT_EVENTS: usize = 256;
/// A lot ends behind the event with which it is longer than this, in bytes.
const LOT_BYTES: usize = OUT_LOW;

/// Lines that a subscriber gets at once.
struct Lot {
    text: String,
    events: usize,
    /// The last event in it.
    cursor: u64,
}

impl Lot {
    /// Adds an event; whether there is room for another.
    fn add(&mut self, seq: u64, line: &str) -> bool {
        self.text.push_str(line);
        self.text.push('\n');
        self.events += 1;
        self.cursor = seq;
        self.events < LOT_EVENTS && self.text.len() < LOT_BYTES
    }
}

impl Engine {
    pub(crate) fn subscribe(&mut self, token: Token, s: &Subscribe) -> Result<Value, Refusal> {
        if let Some(run) = s.run {
            self.row(run)?;
        }
        let (seq, oldest) = (self.ring.published(), self.ring.oldest());
        let snapshot = match s.snapshot {
            true => Some(self.snapshot()?),
            false => None,
        };
        // Whoever does not get the snapshot gets no events either.
        let size = snapshot.as_ref().map_or(0, |s| s.to_string().len());
        if size + OUT_LOW > REPLY_MAX {
            return Err(too_long());
        }
        let cursor = s.from.unwrap_or(seq).min(seq);
        if let Some(c) = self.clients.get(token) {
            c.subscription = Some(Subscription { cursor, run: s.run });
        }
        let mut data = json!({"seq": seq, "oldest": oldest});
        if let (Some(o), Some(snap)) = (data.as_object_mut(), snapshot) {
            o.insert("snapshot".into(), snap);
        }
        Ok(data)
    }

    /// Sends subscribers what they have not seen, as long as they read.
    pub(crate) fn feed_subscribers(&mut self) {
        for token in self.clients.tokens() {
            while self.feed(token) {}
        }
    }

    /// One lot for one subscriber. `true`: there is more and room for it.
    fn feed(&mut self, token: Token) -> bool {
        let Some(c) = self.clients.get(token) else {
            return false;
        };
        let Some(sub) = c.subscription else {
            return false;
        };
        let published = self.ring.published();
        if sub.cursor >= published || c.waiting() > OUT_LOW {
            return false;
        }
        let mut lot = Lot {
            text: String::new(),
            events: 0,
            cursor: sub.cursor,
        };
        let oldest = self.ring.oldest();
        if sub.cursor + 1 < oldest {
            let gap = json!({"gap": {"from": sub.cursor + 1, "to": oldest - 1}});
            lot.text = format!("{gap}\n");
            lot.cursor = oldest - 1;
        }
        let whole = match self.ring.after(lot.cursor, sub.run) {
            Some(mut lines) => !lines.any(|(seq, line)| !lot.add(seq, line)),
            None => {
                let (from, mut room) = (lot.cursor, true);
                let read = self
                    .store
                    .events_after(from, sub.run, published, |seq, line| {
                        room = lot.add(seq, line);
                        room
                    });
                if let Err(e) = read {
                    warn!("cannot read events: {e}");
                    return false;
                }
                room
            }
        };
        let cursor = if whole { published } else { lot.cursor };
        if let Some(c) = self.clients.get(token) {
            c.send(&lot.text);
            c.subscription = Some(Subscription { cursor, ..sub });
        }
        !whole
    }
}
