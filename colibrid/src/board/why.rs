//! Why a task is where it is: always answerable, in sentences.

use libcolibri::config::{Agent, Holder};
use libcolibri::sys;

use super::fit::holds;
use super::lifecycle::Status;
use crate::engine::Engine;
use crate::store::{DbResult, TaskRow};
use crate::time::rfc3339;

/// Agents that are gone through one by one.
const AGENTS_SHOWN: usize = 16;

impl Engine {
    /// What keeps a task from being worked on; empty for one that is worked on or has ended.
    pub(super) fn why(&self, t: &TaskRow) -> DbResult<Vec<String>> {
        Ok(match t.status {
            Status::Waiting => self.why_waiting(t)?,
            Status::Queued => self.why_queued(t)?,
            _ => Vec::new(),
        })
    }

    fn why_waiting(&self, t: &TaskRow) -> DbResult<Vec<String>> {
        let mut why: Vec<String> = self
            .store
            .needs(t.task)?
            .iter()
            .map(|(needs, status)| format!("waits for task {needs}, which is {status}"))
            .collect();
        if t.for_host {
            let free = || "it is about to be queued".to_owned();
            why.push(self.host_sentence().unwrap_or_else(free));
        }
        if let Some(at) = t.wait_until_ms {
            let at = rfc3339(at);
            why.push(match t.tries {
                0 => format!("not before {at}"),
                n => format!("attempt {} of {} at {at}", n + 1, t.attempts),
            });
        }
        Ok(why)
    }

    fn why_queued(&self, t: &TaskRow) -> DbResult<Vec<String>> {
        if self.ending {
            return Ok(vec!["the suite is stopping".into()]);
        }
        let fitting = |a: &&Agent| holds(&t.fits, &a.name);
        let agents: Vec<&Agent> = self.config.agents.iter().filter(fitting).collect();
        if agents.is_empty() {
            return Ok(vec![self.nobody(t)]);
        }
        let mut why = Vec::new();
        for a in agents.iter().take(AGENTS_SHOWN) {
            why.extend(self.why_not(a)?);
        }
        if agents.len() > AGENTS_SHOWN {
            why.push(format!("and {} agents more", agents.len() - AGENTS_SHOWN));
        }
        if let Err(refusal) = self.need_descriptor() {
            why.push(refusal.message);
        }
        why.extend(
            self.host_sentence()
                .filter(|_| agents.iter().any(|a| a.is_local())),
        );
        if why.is_empty() {
            why.push("it is about to be given to an agent".into());
        }
        Ok(why)
    }

    fn nobody(&self, t: &TaskRow) -> String {
        if let Some(only) = &t.only_agent {
            return format!("there is no agent {only} any more");
        }
        if self.config.agents.is_empty() {
            return "no agent is configured".into();
        }
        format!("no agent with {}", t.capabilities.join(" or "))
    }

    /// Why this agent does not take a task now.
    fn why_not(&self, a: &Agent) -> DbResult<Option<String>> {
        let name = &a.name;
        if self.store.agent(name)?.paused {
            return Ok(Some(format!("agent {name} is paused")));
        }
        if let Some(skill) = self.lacking_skill(a)? {
            return Ok(Some(format!("agent {name} lacks its skill {skill}")));
        }
        if let Some(hours) = a.hours.filter(|h| !h.hold(sys::wall_ms())) {
            return Ok(Some(format!("agent {name} takes tasks from {hours}")));
        }
        Ok(match a.holder {
            Holder::Local(profile) => self.load().limit(&self.config, a, profile),
            Holder::External(_) => {
                let (held, most) = (self.store.held_by(name)?, a.runs);
                Some(if held >= u64::from(most) {
                    format!("agent {name} is at its limit ({held} of {most})")
                } else {
                    format!("agent {name}, which is external, has not claimed it")
                })
            }
        })
    }
}
