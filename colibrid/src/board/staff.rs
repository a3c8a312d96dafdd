//! Agents that come and go while the suite runs. Those of the config stay as they stand there.

use libcolibri::config::{AddedAgent, Holder, Subject, AGENTS_MAX};
use libcolibri::{info, warn};
use serde_json::{json, Value};

use super::ask::AddAgent;
use super::serve::db;
use crate::engine::Engine;
use crate::request::Refusal;
use crate::store::DbResult;

type Reply = Result<Value, Refusal>;

impl Engine {
    /// Takes the agents that were added from the database: at the start, and after a commit that failed.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) fn load_agents(&mut self) -> DbResult<()> {
        let stored = self.store.added_agents()?;
        for name in std::mem::take(&mut self.added) {
            self.dismiss(&name);
        }
        for (name, spec) in stored {
            let added = serde_json::from_str::<AddedAgent>(&spec);
            let taken = match added {
                _ if self.config.agent(&name).is_some() => Err("the config has one".to_owned()),
                Ok(added) => self.employ(&name, &added).map_err(|e| e.message),
                Err(e) => Err(e.to_string()),
            };
            if let Err(why) = taken {
                warn!("agent {name}, which was added, is left out: {why}");
            }
        }
        Ok(())
    }

    /// Makes it one of the agents.
    fn employ(&mut self, name: &str, added: &AddedAgent) -> Result<(), Refusal> {
        let agent = added.agent(name, &self.config.profiles);
        let agent = agent
            .map_err(|(field, what)| Refusal::new("bad-request", format!("{field}: {what}")))?;
        if let Holder::External(users) = &agent.holder {
            let uid = |s: &Subject| match s {
                Subject::Uid(n) => Some(*n),
                _ => None,
            };
            let uids = users.iter().filter_map(uid).collect();
            self.names.agents.insert(name.to_owned(), uids);
        }
        self.config.agents.push(agent);
        self.config.agents.sort_by(|a, b| a.name.cmp(&b.name));
        self.added.insert(name.to_owned());
        Ok(())
    }

    fn dismiss(&mut self, name: &str) {
        self.config.agents.retain(|a| a.name != name);
        self.names.agents.remove(name);
        self.added.remove(name);
    }

    /// Whether an agent was added by a command.
    pub(super) fn is_added(&self, name: &str) -> bool {
        self.added.contains(name)
    }

    pub(super) fn add_agent(&mut self, a: &AddAgent) -> Reply {
        let name = &a.agent_id;
        if self.config.agent(name).is_some() {
            let message = format!("there is an agent {name} already");
            return Err(Refusal::new("conflict", message));
        }
        if self.config.agents.len() >= AGENTS_MAX {
            let message = format!("there are {AGENTS_MAX} agents");
            return Err(Refusal::new("too-many", message));
        }
        self.employ(name, &a.spec)?;
        let spec = serde_json::to_string(&a.spec).unwrap_or_default();
        db(self.store.set_agent(name, Some(&spec)))?;
        db(self.refit_all())?;
        info!("agent {name} was added");
        Ok(json!({"name": name, "source": "command"}))
    }

    /// Its record stays, for one of the same name.
    pub(super) fn remove_agent(&mut self, name: &str) -> Reply {
        self.agent(name)?;
        let conflict = |message| Err(Refusal::new("conflict", message));
        let stored = db(self.store.added_agents())?;
        if !self.is_added(name) && stored.iter().any(|(n, _)| n == name) {
            // The config's outweighs it; it is not to come back when that goes.
            db(self.store.set_agent(name, None))?;
            return Ok(json!({ "name": name }));
        }
        if !self.is_added(name) {
            let file = self.config.file.display();
            return conflict(format!("agent {name} stands in {file}: remove it there"));
        }
        let held = db(self.store.held_by(name))?;
        if held > 0 {
            let message =
                format!("agent {name} has {held} tasks: pause it, and wait for their end");
            return conflict(message);
        }
        self.dismiss(name);
        db(self.store.set_agent(name, None))?;
        db(self.refit_all())?;
        info!("agent {name} was removed");
        Ok(json!({"name": name}))
    }
}
