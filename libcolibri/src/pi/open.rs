//! What is open inside a run: tools that have begun, dialogs that wait for a person.

use crate::record::{Closed, Dialog, Record};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Open tools that are told apart; more are only counted.
const TOOLS: usize = 256;
/// Open dialogs that are kept; more are treated as if they had been overtaken.
pub const DIALOGS: usize = 32;

/// A tool that has begun and not ended.
#[derive(Debug, Clone, Copy)]
struct Tool {
    /// Hash of the call id: constant memory, whatever ids the stream invents.
    id: u64,
    /// Place in the order of all tool starts.
    serial: u64,
}

#[derive(Debug)]
struct Waiting {
    request: String,
    /// 0 = never.
    deadline_ms: u64,
    /// Tools that began up to this place can be the one that asks.
    serial: u64,
}

/// Open tools and dialogs, both bounded.
#[derive(Debug, Default)]
pub struct Open {
    tools: Vec<Tool>,
    untold: u64,
    serial: u64,
    dialogs: Vec<Waiting>,
}

impl Open {
    /// Whether a tool is running.
    pub fn has_tools(&self) -> bool {
        !self.tools.is_empty() || self.untold > 0
    }

    /// Whether a person is being asked.
    pub fn waits(&self) -> bool {
        !self.dialogs.is_empty()
    }

    /// Whether this dialog is open.
    pub fn is_waiting(&self, request: &str) -> bool {
        self.dialogs.iter().any(|d| d.request == request)
    }

    /// When the first dialog answers itself.
    pub fn deadline(&self) -> Option<u64> {
        let all = self.dialogs.iter().map(|d| d.deadline_ms);
        all.filter(|&at| at != 0).min()
    }

    /// The run is over, and with it whatever was open.
    pub fn clear(&mut self, out: &mut Vec<Record>) {
        self.tools.clear();
        self.untold = 0;
        self.close(out, Closed::Overtaken, |_| true);
    }

    /// A tool begins. Pi asks for permission before it goes on to the next call, so no dialog is open.
    pub fn tool_start(&mut self, id: &str, out: &mut Vec<Record>) {
        self.close(out, Closed::Overtaken, |_| true);
        let id = hash(id);
        self.tools.retain(|t| t.id != id);
        self.serial += 1;
        if self.tools.len() < TOOLS {
            let serial = self.serial;
            self.tools.push(Tool { id, serial });
        } else {
            self.untold = self.untold.saturating_add(1);
        }
    }

    /// Output of a tool shows that it does not wait: a dialog that no other open tool can have
    /// opened is over.
    pub fn tool_update(&mut self, id: &str, out: &mut Vec<Record>) {
        if self.dialogs.is_empty() {
            return;
        }
        let id = hash(id);
        let others = self.tools.iter().filter(|t| t.id != id);
        // Serials grow, so the oldest of the others decides.
        let oldest = others.map(|t| t.serial).min().unwrap_or(u64::MAX);
        self.close(out, Closed::Overtaken, |d| oldest > d.serial);
    }

    /// A tool is over.
    pub fn tool_end(&mut self, id: &str, out: &mut Vec<Record>) {
        self.tool_update(id, out);
        let id = hash(id);
        let before = self.tools.len();
        self.tools.retain(|t| t.id != id);
        if self.tools.len() == before {
            self.untold = self.untold.saturating_sub(1);
        }
    }

    /// A dialog opens.
    pub fn asked(&mut self, dialog: Dialog, at_ms: u64, out: &mut Vec<Record>) {
        let request = dialog.request.clone();
        self.close(out, Closed::Overtaken, |d| d.request == request);
        if self.dialogs.len() == DIALOGS {
            let oldest = self.dialogs[0].request.clone();
            self.close(out, Closed::Overtaken, |d| d.request == oldest);
        }
        self.dialogs.push(Waiting {
            request,
            deadline_ms: match dialog.timeout_ms {
                0 => 0,
                timeout => at_ms.saturating_add(timeout),
            },
            serial: self.serial,
        });
        out.push(Record::Asked(dialog));
    }

    /// We wrote the answer.
    pub fn answered(&mut self, request: &str, how: Closed, out: &mut Vec<Record>) {
        self.close(out, how, |d| d.request == request);
    }

    /// Closes what has answered itself by now.
    pub fn time_out(&mut self, at_ms: u64, out: &mut Vec<Record>) {
        self.close(out, Closed::TimedOut, |d| {
            d.deadline_ms != 0 && d.deadline_ms <= at_ms
        });
    }

    fn close(&mut self, out: &mut Vec<Record>, how: Closed, over: impl Fn(&Waiting) -> bool) {
        self.dialogs.retain(|d| {
            if !over(d) {
                return true;
            }
            out.push(Record::Settled {
                request: d.request.clone(),
                how,
            });
            false
        });
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
