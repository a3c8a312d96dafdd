//! `skill …`.

use libcolibri::error::{Fatal, Result};
use serde_json::value::RawValue;

use super::Session;
use crate::cli_skill::{ImportArgs, ShowArgs, SkillCommand};
use crate::model::Request;
use crate::model_skill::{GetSkill, ListSkills, NewSkill, SearchSkills, Skills};
use crate::output::{read, skill as show, Style};
use crate::text::{clean, count};

/// Skills asked for at once.
const PAGE: u32 = 500;
/// Longest fields of a request, in bytes; the rest of the line is short.
const REQUEST_MAX: usize = 1024 * 1024 - 1024;

/// `skill …`.
///
/// # Errors
/// Not reachable, refused; of `import` also a skill that is not in order.
pub fn skill(s: &mut Session, command: &SkillCommand) -> Result<()> {
    match command {
        SkillCommand::Import(args) => import(s, args),
        SkillCommand::List => list(s),
        SkillCommand::Show(args) => one(s, args),
        SkillCommand::Search { words, number } => {
            let (query, limit) = (words.join(" "), *number);
            let query = SearchSkills {
                query: &query,
                limit,
            };
            let data = s.client.request(&Request::SearchSkills(query))?;
            s.out.data(&data, |l: &Skills, style: &Style| {
                show::skills(&l.skills, style)
            })
        }
    }
}

/// Each on its own: one that is not in order does not keep the others out.
fn import(s: &mut Session, a: &ImportArgs) -> Result<()> {
    let mut wrong = 0;
    for bundle in &a.bundles {
        let source = bundle.source.to_string_lossy();
        let done = match &bundle.read {
            Err(why) => Err(Fatal::new(why.clone())),
            Ok((files, _)) => {
                let new = NewSkill {
                    files,
                    source: &source,
                };
                send(s, new)
            }
        };
        match done {
            Ok(data) => s.out.data(&data, show::imported)?,
            Err(e) => {
                wrong += 1;
                s.out
                    .tell(&format!("{}: {}\n", clean(&source), clean(&e.message)));
            }
        }
    }
    match wrong {
        0 => Ok(()),
        n => {
            let what = count(n, "directory was", "directories were");
            Err(Fatal::new(format!("{what} not imported")))
        }
    }
}

/// One request, which colibrid would not read to its end if it were too long.
fn send(s: &mut Session, new: NewSkill<'_>) -> Result<Box<RawValue>> {
    let size = serde_json::to_string(&new).map_or(usize::MAX, |t| t.len());
    if size > REQUEST_MAX {
        let what = "its paths and texts are too long for one request of 1 MiB";
        return Err(Fatal::new(what));
    }
    s.client.request(&Request::ImportSkill(new))
}

/// All of them, page by page.
fn list(s: &mut Session) -> Result<()> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let limit = PAGE;
        let ask = ListSkills {
            limit,
            after: &after,
        };
        let data = s.client.request(&Request::ListSkills(ask))?;
        if s.out.is_json() {
            s.out.raw(data.get())?;
        }
        let page = read::<Skills>(&data)?.skills;
        let whole = page.len() < PAGE as usize;
        after = page.last().map_or(String::new(), |l| l.skill.clone());
        all.extend(page);
        if whole {
            break;
        }
    }
    match s.out.is_json() {
        true => Ok(()),
        false => s.out.print(&show::skills(&all, s.out.style())),
    }
}

fn one(s: &mut Session, a: &ShowArgs) -> Result<()> {
    let ask = GetSkill {
        skill: &a.skill,
        version: a.number,
    };
    let data = s.client.request(&Request::GetSkill(ask))?;
    s.out
        .data(&data, |d, style: &Style| show::skill(d, a.text, style))
}
