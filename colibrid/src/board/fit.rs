//! Which agents a task fits, and who gets which task: pure, the same inputs give the same choice.

use std::cmp::Reverse;

use libcolibri::config::Agent;

/// The agents that fit a task best, by name: those that cover the largest share of the required
/// capabilities, and at least one of them; all agents if it requires none. A task for one agent
/// fits that agent, whatever it requires.
#[must_use]
pub fn fits<'a>(required: &[String], only: Option<&str>, agents: &'a [Agent]) -> Vec<&'a str> {
    if let Some(name) = only {
        let named = agents.iter().filter(|a| a.name == name);
        return named.map(|a| a.name.as_str()).collect();
    }
    let covered = |a: &Agent| {
        let has = |c: &&String| a.capabilities.contains(c);
        required.iter().filter(has).count()
    };
    let best = agents.iter().map(covered).max().unwrap_or(0);
    if best == 0 && !required.is_empty() {
        return Vec::new();
    }
    let fitting = agents.iter().filter(|a| covered(a) == best);
    fitting.map(|a| a.name.as_str()).collect()
}

/// The names as one text, which is how tasks that fit the same agents are kept together.
#[must_use]
pub fn join(names: &[&str]) -> String {
    names.join(",")
}

/// Whether an agent is among the names of a joined text.
#[must_use]
pub fn holds(joined: &str, agent: &str) -> bool {
    joined.split(',').any(|name| name == agent)
}

/// The first of the tasks that wait for the same agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The agents, joined.
    pub fits: String,
    /// Higher goes first.
    pub priority: i32,
    /// Older goes first.
    pub task: u64,
}

/// An agent that can take a task now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Free<'a> {
    /// Its name.
    pub name: &'a str,
    /// Tasks that it has.
    pub load: usize,
}

/// The task that goes next and the agent that gets it, as indices: the first task by priority and
/// age that anybody free fits; of these agents the least loaded, then the first by name.
#[must_use]
pub fn choose(heads: &[Head], free: &[Free<'_>]) -> Option<(usize, usize)> {
    let agent_for = |head: &Head| {
        let fitting = free.iter().enumerate();
        let fitting = fitting.filter(|(_, a)| holds(&head.fits, a.name));
        let best = fitting.min_by_key(|(_, a)| (a.load, a.name));
        best.map(|(at, _)| at)
    };
    let able = heads.iter().enumerate();
    let able = able.filter_map(|(at, h)| agent_for(h).map(|a| (at, a)));
    able.min_by_key(|(at, _)| (Reverse(heads[*at].priority), heads[*at].task))
}

#[cfg(test)]
mod tests {
    use libcolibri::config::Holder;

    use super::*;

    fn agent(name: &str, capabilities: &[&str]) -> Agent {
        Agent {
            name: name.into(),
            capabilities: capabilities.iter().map(|c| (*c).to_owned()).collect(),
            holder: Holder::Local(0),
            runs: 1,
            hours: None,
            skills: Vec::new(),
        }
    }

    fn head(fits: &str, priority: i32, task: u64) -> Head {
        let fits = fits.into();
        Head {
            fits,
            priority,
            task,
        }
    }

    #[test]
    fn the_largest_share_fits_and_no_share_never_does() {
        let agents = [
            agent("a", &["rust"]),
            agent("b", &["rust", "bsd"]),
            agent("c", &["bsd", "rust", "x"]),
            agent("d", &[]),
        ];
        let of = |required: &[&str], only| {
            let required: Vec<String> = required.iter().map(|r| (*r).to_owned()).collect();
            fits(&required, only, &agents)
        };
        assert_eq!(of(&[], None), ["a", "b", "c", "d"]);
        assert_eq!(of(&["rust"], None), ["a", "b", "c"]);
        assert_eq!(of(&["rust", "bsd"], None), ["b", "c"]);
        assert_eq!(of(&["rust", "go"], None), ["a", "b", "c"]);
        assert!(of(&["go"], None).is_empty());
        assert_eq!(of(&["go"], Some("d")), ["d"]);
        assert!(of(&[], Some("z")).is_empty());
    }

    #[test]
    fn priority_then_age_then_load_then_name() {
        let free = |loads: &[(&'static str, usize)]| -> Vec<Free<'static>> {
            let one = |&(name, load)| Free { name, load };
            loads.iter().map(one).collect()
        };
        let heads = [head("a,b", 0, 7), head("b", 5, 9), head("c", 9, 1)];
        let both = free(&[("b", 0), ("a", 0)]);
        assert_eq!(choose(&heads, &both), Some((1, 0)));
        assert_eq!(choose(&heads[..1], &both), Some((0, 1)), "by name");
        let loaded = free(&[("b", 0), ("a", 1)]);
        assert_eq!(choose(&heads[..1], &loaded), Some((0, 0)), "by load");
        assert_eq!(choose(&heads, &free(&[("z", 0)])), None);
        let old = [head("a", 1, 9), head("b", 1, 8)];
        assert_eq!(choose(&old, &both), Some((1, 0)), "by age");
    }

    #[test]
    fn names_are_told_apart_whole() {
        assert!(holds("coder,reviewer", "coder"));
        assert!(!holds("coder,reviewer", "code"));
        assert!(!holds("", "coder"));
        assert_eq!(join(&["a", "b"]), "a,b");
    }
}
