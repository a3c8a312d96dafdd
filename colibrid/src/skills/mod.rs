//! The catalogue of skills: what was imported, who is given what.
//!
//! Nothing here writes skills: they come from `colibri-ctl skill import`, one way, and importing the
//! same again changes nothing. A version is never changed or removed, so what an attempt was given
//! stays to be seen.

pub mod ask;

use libcolibri::config::Agent;
use libcolibri::record::clip;
use libcolibri::skill::{block, body, Checked};
use libcolibri::sys;
use serde_json::{json, Value};

use crate::board::Actor;
use crate::engine::Engine;
use crate::request::Refusal;
use crate::serve::unavailable;
use crate::store::{DbResult, NewSkill, SkillRow, TaskRow};
use crate::time::rfc3339;
use ask::{Ask, Import, One};

/// Most versions, of all names.
pub const VERSIONS_MAX: u64 = 10_000;
/// Versions of one name that are shown.
const VERSIONS_SHOWN: u32 = 100;
/// Tasks of one version that are shown.
const TASKS_SHOWN: u32 = 20;

type Reply = Result<Value, Refusal>;

impl Engine {
    /// Does what was asked about skills.
    pub(crate) fn skills(&mut self, actor: Actor, ask: Ask) -> Reply {
        match ask {
            Ask::Import(i, checked) => {
                let taken = self.import_skill(actor, &i, &checked);
                self.unless_half(taken)
            }
            Ask::List(l) => {
                let rows = db(self.store.skills(&l.after, l.limit))?;
                Ok(json!({"skills": rows.iter().map(view).collect::<Vec<_>>()}))
            }
            Ask::Get(o) => self.get_skill(&o),
            Ask::Search(query, limit) => {
                let found = db(self.store.search_skills(&query, limit))?;
                let found = found.iter().map(|(row, part)| {
                    let mut v = view(row);
                    v["part"] = part.as_str().into();
                    v
                });
                Ok(json!({"skills": found.collect::<Vec<_>>()}))
            }
        }
    }

    fn import_skill(&mut self, actor: Actor, i: &Import, checked: &Checked) -> Reply {
        if let Some(s) = &self.stuck {
            return Err(s.refusal());
        }
        let name = &checked.name;
        let counts = db(self.store.skill(name))?;
        let known = db(self.store.skill_of_digest(name, &checked.digest))?;
        let reply = |row: &SkillRow, result: &str| {
            json!({"id": row.skill, "skill": row.name, "kind": row.kind, "digest": row.digest,
                "result": result})
        };
        let result = match (&counts, &known) {
            (Some(c), Some(k)) if c.skill == k.skill => return Ok(reply(k, "unchanged")),
            (_, Some(_)) => "restored",
            (Some(_), None) => "updated",
            (None, None) => "added",
        };
        if let Some(c) = counts.filter(|c| c.kind != checked.kind.as_str()) {
            let message = format!(
                "{name} is the name of {} {} already",
                article(&c.kind),
                c.kind
            );
            return Err(Refusal::new("conflict", message));
        }
        let row = match known {
            Some(row) => row,
            None => self.add_skill(actor, i, checked)?,
        };
        db(self.store.let_skill_count(&row, &body(&i.files)))?;
        // An agent may have waited for it.
        self.desk.touched = true;
        Ok(reply(&row, result))
    }

    fn add_skill(&self, actor: Actor, i: &Import, checked: &Checked) -> Result<SkillRow, Refusal> {
        if db(self.store.count_skills())? >= VERSIONS_MAX {
            let message = format!("there are {VERSIONS_MAX} versions of skills already");
            return Err(Refusal::new("too-many", message));
        }
        db(self.store.add_skill(&NewSkill {
            checked,
            files: &i.files,
            source: &i.source,
            by_uid: actor.uid.unwrap_or(0),
            at_ms: sys::wall_ms(),
        }))?;
        let added = db(self.store.skill_of_digest(&checked.name, &checked.digest))?;
        added.ok_or_else(|| no_such(&checked.name))
    }

    fn get_skill(&self, o: &One) -> Reply {
        let versions = db(self.store.skill_versions(&o.skill, VERSIONS_SHOWN))?;
        let counts = db(self.store.skill(&o.skill))?.ok_or_else(|| no_such(&o.skill))?;
        let wanted = o.version.unwrap_or(counts.skill);
        let row = versions.iter().chain([&counts]).find(|r| r.skill == wanted);
        let Some(row) = row else {
            let message = format!(
                "skill {} has no version {wanted} among the newest {VERSIONS_SHOWN}",
                counts.name
            );
            return Err(Refusal::new("not-found", message));
        };
        let mut v = view(row);
        v["counts"] = counts.skill.into();
        v["contents"] = json!(db(self.store.skill_files(row.skill))?);
        v["tasks"] = json!(db(self.store.tasks_of_skill(row.skill, TASKS_SHOWN))?);
        v["versions"] = versions
            .iter()
            .map(|r| json!({"version": r.skill, "digest": r.digest, "at": rfc3339(r.at_ms)}))
            .collect();
        Ok(v)
    }

    /// Refuses skills that there are not, or that are none.
    pub(crate) fn need_skills(&self, names: &[String]) -> Result<(), Refusal> {
        for name in names {
            match db(self.store.skill(name))? {
                None => return Err(no_such(name)),
                Some(s) if !s.is_skill() => {
                    let message = format!("{name} is {} {}", article(&s.kind), s.kind);
                    return Err(Refusal::new("conflict", message));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The first of an agent's own skills that there is not.
    pub(crate) fn lacking_skill<'a>(&self, a: &'a Agent) -> DbResult<Option<&'a str>> {
        for name in &a.skills {
            if !self.store.skill(name)?.is_some_and(|s| s.is_skill()) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// What an attempt at a task is given: the skills that the task names, then those of its agent,
    /// in the versions that count now.
    pub(crate) fn skills_for(&self, t: &TaskRow, agent: &str) -> DbResult<Vec<SkillRow>> {
        let own = self.config.agent(agent).map(|a| a.skills.as_slice());
        let mut rows: Vec<SkillRow> = Vec::new();
        for name in t.skills.iter().chain(own.unwrap_or_default()) {
            if let Some(row) = self.store.skill(name)?.filter(SkillRow::is_skill) {
                if !rows.contains(&row) {
                    rows.push(row);
                }
            }
        }
        Ok(rows)
    }

    /// A prompt with the skills before it.
    pub(crate) fn with_skills(&self, prompt: &str, skills: &[SkillRow]) -> DbResult<String> {
        let mut text = String::new();
        for s in skills {
            text.push_str(&block(&s.name, s.skill, &self.store.skill_files(s.skill)?));
            text.push_str("\n\n");
        }
        text.push_str(prompt);
        Ok(text)
    }

    /// What an attempt was given, as clients see it.
    pub(crate) fn skills_view(&self, claim: u64) -> DbResult<Value> {
        let given = self.store.skills_of_claim(claim)?;
        let given = given.iter();
        Ok(given
            .map(|s| json!({"skill": s.name, "version": s.skill, "digest": s.digest}))
            .collect())
    }
}

fn view(s: &SkillRow) -> Value {
    json!({
        "skill": s.name,
        "kind": s.kind,
        "version": s.skill,
        "digest": s.digest,
        "description": s.description,
        "files": s.files,
        "bytes": s.bytes,
        "source": s.source,
        "by_uid": s.by_uid,
        "at": rfc3339(s.at_ms),
    })
}

fn article(kind: &str) -> &'static str {
    match kind {
        "artifact" => "an",
        _ => "a",
    }
}

fn no_such(name: &str) -> Refusal {
    let message = format!("there is no skill {:?}", clip(name, 64));
    Refusal::new("not-found", message)
}

fn db<T>(result: DbResult<T>) -> Result<T, Refusal> {
    result.map_err(|e| unavailable(&e))
}
