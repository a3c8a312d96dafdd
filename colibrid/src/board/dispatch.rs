//! Dispatch: queued tasks and free agents, one decision after the other, all in one transaction.

use std::collections::BTreeMap;
use std::time::Instant;

use libcolibri::config::{Agent, Config, Holder};
use libcolibri::{info, sys};

use super::ask::CreateTask;
use super::fit::{choose, fits, holds, join, Free};
use super::lifecycle::Happened;
use super::moves::Actor;
use super::tag::TaskTag;
use super::REST;
use crate::engine::Engine;
use crate::store::{DbResult, NewClaim};

/// Tasks of each set of agents that wait for the host at once.
const HELD_MAX: u32 = 16;

/// How many runs are alive: of the suite, of each profile, of each agent.
#[derive(Debug, Default)]
pub(super) struct Load {
    all: usize,
    profiles: BTreeMap<String, usize>,
    agents: BTreeMap<String, usize>,
}

impl Load {
    fn add(&mut self, profile: &str, agent: &str) {
        self.all += 1;
        *self.profiles.entry(profile.to_owned()).or_default() += 1;
        *self.agents.entry(agent.to_owned()).or_default() += 1;
    }

    /// Runs of an agent.
    pub(super) fn of_agent(&self, name: &str) -> usize {
        self.agents.get(name).copied().unwrap_or(0)
    }

    /// Which limit keeps a local agent from one more run: its sentence, or `None`.
    pub(super) fn limit(&self, config: &Config, agent: &Agent, profile: u32) -> Option<String> {
        let (suite, own) = (config.limits.runs as usize, agent.runs as usize);
        if self.of_agent(&agent.name) >= own {
            let has = self.of_agent(&agent.name);
            return Some(format!(
                "agent {} is at its limit ({has} of {own})",
                agent.name
            ));
        }
        let p = &config.profiles[profile as usize];
        let has = self.profiles.get(&p.name).copied().unwrap_or(0);
        if let Some(most) = p.runs.filter(|most| has >= *most as usize) {
            return Some(format!(
                "profile {} is at its limit ({has} of {most})",
                p.name
            ));
        }
        let all = self.all;
        (all >= suite).then(|| format!("the suite is at its limit ({all} of {suite})"))
    }
}

impl Engine {
    /// The runs that are alive or just accepted.
    pub(super) fn load(&self) -> Load {
        let mut load = Load::default();
        for l in self.runs.values().chain(&self.accepted) {
            load.add(&l.pane.profile, &l.pane.agent);
        }
        load
    }

    /// Gives queued tasks to free agents until no task fits a free agent any more.
    pub(super) fn assign_tasks(&mut self, now: u64) -> DbResult<()> {
        let mut load = self.load();
        let mut closed = self.store.paused_agents()?;
        for a in &self.config.agents {
            if self.lacking_skill(a)?.is_some() {
                closed.push(a.name.clone());
            }
        }
        let mut heads = None;
        loop {
            let config = &self.config;
            let able = |a: &&Agent| match a.holder {
                Holder::Local(p) => {
                    let asleep = a.hours.is_some_and(|h| !h.hold(now));
                    !asleep && !closed.contains(&a.name) && load.limit(config, a, p).is_none()
                }
                Holder::External(_) => false,
            };
            let free: Vec<Free<'_>> = config
                .agents
                .iter()
                .filter(able)
                .map(|a| Free {
                    name: &a.name,
                    load: load.of_agent(&a.name),
                })
                .collect();
            if free.is_empty() {
                return Ok(());
            }
            if self.need_descriptor().is_err() {
                self.desk.rest_until = Some(Instant::now() + REST);
                self.desk.touched = true;
                return Ok(());
            }
            let heads = match &mut heads {
                Some(h) => h,
                none => none.insert(self.store.queue_heads()?),
            };
            let Some((at, agent)) = choose(heads, &free) else {
                return Ok(());
            };
            let agent = free[agent].name.to_owned();
            let head = heads[at].clone();
            if !self.host_lets(load.all) {
                return Ok(());
            }
            let profile = self.give(head.task, &agent, now)?;
            load.add(&profile, &agent);
            match self.store.queue_head(&head.fits)? {
                Some(next) => heads[at] = next,
                None => drop(heads.swap_remove(at)),
            }
        }
    }

    /// What waited for the host is queued again as soon as that allows launches.
    pub(super) fn release_tasks(&mut self) -> DbResult<()> {
        if self.store.any_for_host()? && self.host_launches() == Some(true) {
            self.queue_held()?;
        }
        Ok(())
    }

    fn queue_held(&mut self) -> DbResult<()> {
        for mut t in self.store.tasks_for_host()? {
            self.advance(&mut t, Happened::Ready, Actor::SUITE, "")?;
        }
        Ok(())
    }

    /// While the host allows no launch, the tasks that would be launched next wait for it: of those that
    /// only a launch can help, the first ones for each set of agents. Those behind them stay in the
    /// queue, so that a host that changes its mind moves few.
    pub(super) fn hold_tasks(&mut self) -> DbResult<()> {
        if self.host_holds() {
            let why = self.host_sentence().unwrap_or_default();
            for head in self.store.queue_heads()? {
                if !self.only_launches(&head.fits) {
                    continue;
                }
                let more = HELD_MAX.saturating_sub(self.store.held_for(&head.fits)?);
                for mut t in self.store.queued_for(&head.fits, more)? {
                    self.advance(&mut t, Happened::Held, Actor::SUITE, &why)?;
                }
            }
        }
        Ok(())
    }

    /// Whether all agents of a set are run by Colibri.
    fn only_launches(&self, fits: &str) -> bool {
        let mut agents = self.config.agents.iter().filter(|a| holds(fits, &a.name));
        agents.all(Agent::is_local)
    }

    /// When the hours of the next agent begin that is closed now.
    pub(super) fn next_opening(&self, now: u64) -> Option<u64> {
        let hours = self.config.agents.iter().filter_map(|a| a.hours);
        let closed = hours.filter(|h| !h.hold(now));
        closed.map(|h| h.begin_after(now)).min()
    }

    /// Gives a queued task to a local agent: a run, a claim, one move. Returns the profile.
    fn give(&mut self, task: u64, agent: &str, now: u64) -> DbResult<String> {
        let strange = || rusqlite::Error::QueryReturnedNoRows;
        let mut t = self.store.task(task)?.ok_or_else(strange)?;
        let holder = self.config.agent(agent).map(|a| a.holder.clone());
        let Some(Holder::Local(profile)) = holder else {
            return Err(strange());
        };
        let skills = self.skills_for(&t, agent)?;
        let prompt = CreateTask::prompt(&t.title, &t.description);
        let prompt = self.with_skills(&prompt, &skills)?;
        let (key, _) = self.accept_run(profile, agent, prompt, t.by_uid, Some(task))?;
        let claim = self.store.add_claim(&NewClaim {
            task,
            agent,
            run: Some(key.run),
            by_uid: None,
            at_ms: now,
            lease_ms: None,
        })?;
        self.store.use_skills(claim, &skills)?;
        (t.agent, t.run, t.claim) = (Some(agent.to_owned()), Some(key.run), Some(claim));
        if let Some(live) = self.accepted.last_mut() {
            live.task = Some(TaskTag::new(&t, claim));
        }
        self.advance(&mut t, Happened::Claimed, Actor::SUITE, "")?;
        Ok(self.config.profiles[profile as usize].name.clone())
    }

    /// Which agents a task fits depends on the config, which is new at a start.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) fn refit_tasks(&mut self) -> DbResult<()> {
        let decides = self.store.takes_decisions();
        if decides && self.store.new_generation(self.config.generation)? && self.refit_all()? {
            info!("open tasks fit other agents by the new config");
        }
        Ok(())
    }

    /// The agents have changed. Returns whether open tasks fit others now.
    pub(super) fn refit_all(&mut self) -> DbResult<bool> {
        let agents = &self.config.agents;
        let changed = self
            .store
            .refit(|required, only| join(&fits(required, only, agents)))?;
        // Some may not need a launch any more.
        self.queue_held()?;
        self.desk.touched = true;
        Ok(changed)
    }

    /// The agents that a task fits, joined.
    pub(super) fn fits(&self, required: &[String], only: Option<&str>) -> String {
        join(&fits(required, only, &self.config.agents))
    }

    /// Whether a claim made now by an external agent would hold; the moment it ends.
    pub(super) fn lease_ms(&self, asked: Option<u32>) -> (u64, u64) {
        let seconds = asked.unwrap_or(self.config.board.lease);
        let ms = u64::from(seconds) * 1000;
        (ms, sys::wall_ms().saturating_add(ms))
    }
}
