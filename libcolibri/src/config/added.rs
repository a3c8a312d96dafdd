//! An agent that is added while the suite runs: the same as in the config, except that users are numbers,
//! since names cannot be looked up any more.

use serde::{Deserialize, Serialize};

use super::board::{Agent, Holder, CAPABILITIES_MAX, RUNS_MAX};
use super::{is_name, OnSettled, Profile, Subject, NAME};
use crate::skill::check_names;

/// Most users that speak for an agent that is added.
const USERS_MAX: usize = 64;

/// What is said of such an agent. It is run by Colibri with a profile, by default the one of its own name,
/// or claims tasks as one of its users.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AddedAgent {
    /// What it can do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The profile that Colibri runs it with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Users by number, of one that is not run by Colibri.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uids: Vec<u32>,
    /// Tasks that it has at once; 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<u32>,
    /// When it takes tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours: Option<String>,
    /// What it is given to know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<String>,
}

impl AddedAgent {
    /// The agent that this is, under a name.
    ///
    /// # Errors
    /// The field that is wrong, and what it must be.
    pub fn agent(&self, name: &str, profiles: &[Profile]) -> Result<Agent, (&'static str, String)> {
        if !is_name(name) {
            return Err(("agent_id", NAME.into()));
        }
        let mut capabilities = self.capabilities.clone();
        if capabilities.len() > CAPABILITIES_MAX || !capabilities.iter().all(|c| is_name(c)) {
            let what = format!("{NAME}; at most {CAPABILITIES_MAX} of them");
            return Err(("capabilities", what));
        }
        capabilities.sort_unstable();
        capabilities.dedup();
        check_names(&self.skills).map_err(|what| ("skills", what))?;
        let runs = self.runs.unwrap_or(1);
        if runs == 0 || runs > RUNS_MAX {
            return Err(("runs", format!("must be from 1 to {RUNS_MAX}")));
        }
        let hours = self.hours.as_deref().map(str::parse).transpose();
        Ok(Agent {
            name: name.to_owned(),
            capabilities,
            holder: self.holder(name, profiles)?,
            runs,
            hours: hours.map_err(|what: &str| ("hours", what.to_owned()))?,
            skills: self.skills.clone(),
        })
    }

    fn holder(&self, name: &str, profiles: &[Profile]) -> Result<Holder, (&'static str, String)> {
        if self.uids.len() > USERS_MAX {
            return Err(("uids", format!("must be at most {USERS_MAX}")));
        }
        match (&self.profile, self.uids.is_empty()) {
            (Some(_), false) => Err(("profile", "profile and uids exclude each other".into())),
            (None, false) => Ok(Holder::External(
                self.uids.iter().copied().map(Subject::Uid).collect(),
            )),
            (profile, true) => {
                let named = profile.as_deref().unwrap_or(name);
                let at = profiles.iter().position(|p| p.name == named);
                let Some(at) = at else {
                    return Err(("profile", format!("there is no profile {named:?}")));
                };
                if profiles[at].on_settled == OnSettled::Stay {
                    let what = "has on_settled = \"stay\": a task would never be done";
                    return Err(("profile", what.into()));
                }
                Ok(Holder::Local(at as u32))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn of(json: &str) -> Result<Agent, String> {
        let text = "[profile.a]\nmode = \"rpc\"\ncommand = [\"/pi\"]\n\
             [profile.s]\nmode = \"rpc\"\ncommand = [\"/pi\"]\non_settled = \"stay\"\n";
        let config = Config::parse(Path::new("c"), text.as_bytes()).map_err(|e| e.message)?;
        let added: AddedAgent = serde_json::from_str(json).map_err(|e| e.to_string())?;
        let agent = added.agent("a", &config.profiles);
        agent.map_err(|(field, what)| format!("{field} {what}"))
    }

    #[test]
    fn one_is_run_by_a_profile_or_by_somebody_else() {
        let local = of(r#"{"capabilities":["x","b","x"],"runs":3}"#).unwrap();
        assert_eq!((local.holder, local.runs), (Holder::Local(0), 3));
        assert_eq!(local.capabilities, ["b", "x"]);
        let far = of(r#"{"uids":[7],"hours":"22:00-06:00"}"#).unwrap();
        assert_eq!(far.holder, Holder::External(vec![Subject::Uid(7)]));
        assert!(far.hours.is_some());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, field) in [
            (r#"{"profile":"x"}"#, "profile"),
            (r#"{"profile":"s"}"#, "profile"),
            (r#"{"profile":"a","uids":[7]}"#, "profile"),
            (r#"{"capabilities":["a b"]}"#, "capabilities"),
            (r#"{"runs":0}"#, "runs"),
            (r#"{"hours":"8-18"}"#, "hours"),
            (r#"{"skills":[""]}"#, "skills"),
        ] {
            let wrong = of(json).unwrap_err();
            assert!(wrong.starts_with(field), "{json}: {wrong}");
        }
        for json in [r#"{"uids":["root"]}"#, r#"{"colour":"red"}"#] {
            assert!(of(json).is_err(), "{json}");
        }
    }
}
