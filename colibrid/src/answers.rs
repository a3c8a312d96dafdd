//! Replies: made while a request is served, sent when what they promise is durable.

use libcolibri::debug;
use mio::Token;
use serde_json::Value;

use crate::clients::REPLY_MAX;
use crate::engine::Engine;
use crate::request::{reply, Refusal};

/// A reply that waits for the end of the turn.
pub struct Answer {
    /// To whom.
    pub client: Token,
    /// What to echo.
    id: Option<Value>,
    /// The line; what it promises is durable when it is sent.
    line: String,
    promise: Promise,
}

/// What a reply promises to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Nothing.
    Nothing,
    /// That new work was accepted: it is taken back when it cannot be stored.
    Accepted,
    /// A wish about a living run: it is done, stored or not.
    Stored,
}

/// The refusal of a request whose reply would be too long.
pub(crate) fn too_long() -> Refusal {
    let message = "the reply would be longer than 7 MiB: ask for less at once";
    Refusal::new("too-long", message)
}

impl Answer {
    fn new(
        client: Token,
        id: Option<Value>,
        outcome: Result<Value, Refusal>,
        promise: Promise,
    ) -> Answer {
        let mut line = reply(id.as_ref(), outcome);
        if line.len() > REPLY_MAX {
            line = reply(id.as_ref(), Err(too_long()));
        }
        Answer {
            client,
            id,
            line,
            promise,
        }
    }

    fn refuse(&mut self, why: Refusal) {
        self.line = reply(self.id.as_ref(), Err(why));
    }
}

impl Engine {
    /// Answers a request when the turn has ended.
    pub(crate) fn answer(
        &mut self,
        client: Token,
        id: Option<Value>,
        outcome: Result<Value, Refusal>,
        promise: Promise,
    ) {
        self.answers.push(Answer::new(client, id, outcome, promise));
    }

    /// Answers that it is not done.
    pub(crate) fn refuse(&mut self, client: Token, id: Option<Value>, why: Refusal) {
        self.answer(client, id, Err(why), Promise::Nothing);
    }

    /// Answers a client that was made to wait, and hears it again.
    pub(crate) fn answer_waiting(
        &mut self,
        client: Token,
        id: Option<Value>,
        outcome: Result<Value, Refusal>,
        promise: Promise,
    ) {
        if let Some(c) = self.clients.get(client) {
            c.busy = false;
            self.again.push(client);
        }
        self.answer(client, id, outcome, promise);
    }

    /// Bytes of the replies that a client has got in this turn.
    pub(crate) fn answered(&self, client: Token) -> usize {
        let theirs = self.answers.iter().filter(|a| a.client == client);
        theirs.map(|a| a.line.len()).sum()
    }

    /// New work of this turn could not be stored.
    pub(crate) fn refuse_accepted(&mut self, why: &Refusal) {
        for a in self.answers.iter_mut() {
            if a.promise == Promise::Accepted {
                a.refuse(why.clone());
            }
        }
    }

    pub(crate) fn flush_answers(&mut self) {
        for mut a in std::mem::take(&mut self.answers) {
            if let (Some(s), Promise::Stored) = (&self.stuck, a.promise) {
                let message = format!("it is being done, but cannot be stored: {}", s.why);
                a.refuse(Refusal::new("unavailable", message));
            }
            if let Some(c) = self.clients.get(a.client) {
                c.send(&a.line);
            }
        }
    }

    /// A client is gone: nobody waits for its answers.
    pub(crate) fn forget_client(&mut self, token: Token) {
        debug!("client {} is gone", token.0);
        self.answers.retain(|a| a.client != token);
        self.host.forget(token);
    }
}
