//! The board's part of the config: the agents that take tasks, and how tasks are tried again.

use std::collections::BTreeMap;

use toml::Spanned;

use crate::budget::Budget;
use crate::skill::PER_TASK;

use super::raw::{number, Field, RawAgent, RawBoard, RawIntake, Where};
use super::{is_name, Hours, OnSettled, Profile, Subject, NAME};

/// Most capabilities of an agent, and most that a task may require.
pub const CAPABILITIES_MAX: usize = 64;
/// Most tasks that an agent has at once.
pub(super) const RUNS_MAX: u32 = 10_000;
/// Most agents, declared and added.
pub const AGENTS_MAX: usize = 1024;

/// Who runs an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Colibri, by the profile of this index.
    Local(u32),
    /// Another program or host, which claims tasks as one of these users.
    External(Vec<Subject>),
}

/// A teammate: a name that tasks are given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name, also on the glasspane.
    pub name: String,
    /// What it can do, sorted.
    pub capabilities: Vec<String>,
    /// Who runs it.
    pub holder: Holder,
    /// Tasks that it has at once.
    pub runs: u32,
    /// When it takes tasks; `None` = always.
    pub hours: Option<Hours>,
    /// What it is given to know, whatever its task.
    pub skills: Vec<String>,
}

impl Agent {
    /// Whether Colibri runs it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.holder, Holder::Local(_))
    }
}

/// Defaults of tasks that say nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// How often a task is tried.
    pub attempts: u32,
    /// Seconds before it is tried a second time; doubled each time.
    pub retry_delay: u32,
    /// Most seconds before it is tried again.
    pub retry_delay_max: u32,
    /// Seconds that an external agent's claim holds without a heartbeat.
    pub lease: u32,
}

/// Which chats may do what, by the numbers that the chat service gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intake {
    /// May ask for work, answer, steer and cancel.
    pub operators: Vec<i64>,
    /// May ask for work.
    pub askers: Vec<i64>,
    /// What tasks from chats require, sorted.
    pub capabilities: Vec<String>,
    /// What their agents are given to know.
    pub skills: Vec<String>,
    /// What each of them may cost.
    pub budget: Option<Budget>,
}

/// Checks the table of chats.
pub(super) fn intake(w: &Where<'_>, raw: RawIntake) -> Result<Intake, String> {
    if let Some((b, Err(what))) = raw.budget.as_ref().map(|b| (b, b.get_ref().check())) {
        return Err(w.err(b, "intake.budget", &what));
    }
    Ok(Intake {
        operators: raw.operators,
        askers: raw.askers,
        capabilities: capabilities(w, "intake.capabilities", raw.capabilities)?,
        skills: skills(w, "intake.skills", raw.skills)?,
        budget: raw.budget.map(Spanned::into_inner),
    })
}

/// Checks the table of defaults.
pub(super) fn board(w: &Where<'_>, raw: RawBoard) -> Result<Board, String> {
    Ok(Board {
        attempts: number(w, raw.attempts, "board.attempts", 1..=100, 3)?,
        retry_delay: number(w, raw.retry_delay, "board.retry_delay", 0..=86_400, 30)?,
        retry_delay_max: number(
            w,
            raw.retry_delay_max,
            "board.retry_delay_max",
            0..=604_800,
            3600,
        )?,
        lease: number(w, raw.lease, "board.lease", 1..=86_400, 300)?,
    })
}

/// Checks the agents; a local one names a profile that there is.
pub(super) fn agents(
    w: &Where<'_>,
    raw: BTreeMap<Spanned<String>, RawAgent>,
    profiles: &[Profile],
) -> Result<Vec<Agent>, String> {
    if raw.len() > AGENTS_MAX {
        return Err(w.at(0, "agent", &format!("more than {AGENTS_MAX} agents")));
    }
    let checked = raw.into_iter().map(|(n, a)| agent(w, &n, a, profiles));
    checked.collect()
}

fn agent(
    w: &Where<'_>,
    name: &Spanned<String>,
    raw: RawAgent,
    profiles: &[Profile],
) -> Result<Agent, String> {
    if !is_name(name.get_ref()) {
        return Err(w.err(name, "agent", NAME));
    }
    let at = |f: &str| format!("agent.{}.{f}", name.get_ref());
    Ok(Agent {
        name: name.get_ref().clone(),
        capabilities: capabilities(w, &at("capabilities"), raw.capabilities)?,
        holder: match (raw.users, raw.profile) {
            (Some(_), Some(p)) => {
                return Err(w.err(&p, &at("profile"), "profile and users exclude each other"))
            }
            (Some(users), None) => external(w, name, &at("users"), users)?,
            (None, profile) => local(w, name, &at("profile"), profile, profiles)?,
        },
        runs: number(w, raw.runs, &at("runs"), 1..=RUNS_MAX, 1)?,
        hours: match raw.hours {
            None => None,
            Some(h) => {
                let parsed = h.get_ref().parse();
                Some(parsed.map_err(|e| w.err(&h, &at("hours"), e))?)
            }
        },
        skills: skills(w, &at("skills"), raw.skills)?,
    })
}

/// Names of skills; whether there are such is not known here.
fn skills(w: &Where<'_>, field: &str, raw: Vec<Spanned<String>>) -> Result<Vec<String>, String> {
    let mut out: Vec<String> = Vec::with_capacity(raw.len());
    for s in raw {
        if !is_name(s.get_ref()) || out.len() == PER_TASK || out.contains(s.get_ref()) {
            let what = format!("{NAME}; at most {PER_TASK} of them, each once");
            return Err(w.err(&s, field, &what));
        }
        out.push(s.into_inner());
    }
    Ok(out)
}

/// Words in order, each once.
fn capabilities(
    w: &Where<'_>,
    field: &str,
    raw: Vec<Spanned<String>>,
) -> Result<Vec<String>, String> {
    let mut out = Vec::with_capacity(raw.len());
    for c in raw {
        if !is_name(c.get_ref()) || out.len() == CAPABILITIES_MAX {
            let what = format!("{NAME}; at most {CAPABILITIES_MAX} of them");
            return Err(w.err(&c, field, &what));
        }
        out.push(c.into_inner());
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

/// Users only: the groups of a client are not kept.
fn external(
    w: &Where<'_>,
    name: &Spanned<String>,
    field: &str,
    users: Vec<Spanned<String>>,
) -> Result<Holder, String> {
    let mut subjects = Vec::with_capacity(users.len());
    for u in users {
        match u.get_ref().parse() {
            Ok(s @ (Subject::User(_) | Subject::Uid(_))) => subjects.push(s),
            _ => return Err(w.err(&u, field, "must be a user name or uid:N")),
        }
    }
    if subjects.is_empty() {
        return Err(w.err(name, field, "must name a user"));
    }
    Ok(Holder::External(subjects))
}

/// The profile of the agent's own name unless another is named. An agent that stays when its work
/// is done would never finish a task.
fn local(
    w: &Where<'_>,
    name: &Spanned<String>,
    field: &str,
    profile: Field<String>,
    profiles: &[Profile],
) -> Result<Holder, String> {
    let named = profile.as_ref().unwrap_or(name);
    let at = profiles.iter().position(|p| p.name == *named.get_ref());
    let Some(at) = at else {
        let what = format!("there is no profile {:?}", named.get_ref());
        return Err(w.err(named, field, &what));
    };
    if profiles[at].on_settled == OnSettled::Stay {
        let what = "its profile has on_settled = \"stay\": a task would never be done";
        return Err(w.err(named, field, what));
    }
    Ok(Holder::Local(at as u32))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn check(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("c"), text.as_bytes()).map_err(|e| e.message)
    }

    const PROFILES: &str = "[profile.a]\nmode = \"rpc\"\ncommand = [\"/pi\"]\n\
         [profile.s]\nmode = \"rpc\"\ncommand = [\"/pi\"]\non_settled = \"stay\"\n";

    #[test]
    fn an_agent_is_run_by_a_profile_or_by_somebody_else() {
        let text = format!(
            "{PROFILES}[agent.a]\ncapabilities = [\"x\", \"b\", \"x\"]\n\
             [agent.far]\nusers = [\"uid:7\"]\nruns = 9\n"
        );
        let c = check(&text).unwrap();
        let a = c.agent("a").unwrap();
        assert_eq!((a.holder.clone(), a.runs), (Holder::Local(0), 1));
        assert_eq!(a.capabilities, ["b", "x"]);
        let far = c.agent("far").unwrap();
        assert_eq!(far.holder, Holder::External(vec![Subject::Uid(7)]));
        assert!(!far.is_local());
    }

    #[test]
    fn wrong_agents_are_named() {
        for (text, expect) in [
            ("[agent.b]\n", "c:8: agent.b.profile: there is no profile"),
            (
                "[agent.s]\n",
                "c:8: agent.s.profile: its profile has on_settled",
            ),
            (
                "[agent.a]\ncapabilities = \"x\"\n",
                "c:9: agent.a.capabilities: invalid type",
            ),
            (
                "[agent.a]\ncapabilities = [\"\"]\n",
                "c:9: agent.a.capabilities: must be 1 to 64",
            ),
            (
                "[agent.a]\nskills = [\"s\", \"s\"]\n",
                "c:9: agent.a.skills: must be 1 to 64",
            ),
            (
                "[agent.a]\nusers = []\n",
                "c:8: agent.a.users: must name a user",
            ),
            (
                "[agent.a]\nusers = [\"@g\"]\n",
                "c:9: agent.a.users: must be a user",
            ),
            (
                "[agent.a]\nprofile = \"a\"\nusers = [\"u\"]\n",
                "c:9: agent.a.profile: profile and users exclude",
            ),
            (
                "[intake]\nbudget = {}\n",
                "c:9: intake.budget: must have usd, tokens or both",
            ),
            (
                "[intake]\nbudget = { usd = 0 }\n",
                "c:9: intake.budget: usd must be above 0",
            ),
            (
                "[intake]\nskills = [\"a b\"]\n",
                "c:9: intake.skills: must be 1 to 64",
            ),
            (
                "[board]\nattempts = 0\n",
                "c:9: board.attempts: must be from 1 to 100",
            ),
            (
                "[agent.a]\nhours = \"8-18\"\n",
                "c:9: agent.a.hours: must be two times",
            ),
        ] {
            let got = check(&format!("{PROFILES}{text}")).unwrap_err();
            assert!(got.starts_with(expect), "{text:?}: {got}");
        }
    }
}
