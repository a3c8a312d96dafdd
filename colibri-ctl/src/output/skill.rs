//! Skills as text.

use std::fmt::Write;

use super::table::{draw, left, right, Column};
use super::Style;
use crate::model_skill::{Imported, Skill, SkillDetail};
use crate::text::{clean, clean_lines, count, pad, COLUMNS};
use crate::time::age;

/// The reply to one `import-skill`, on a line.
#[must_use]
pub fn imported(i: &Imported, _: &Style) -> String {
    let (result, name, kind) = (clean(&i.result), clean(&i.skill), clean(&i.kind));
    format!("{} {kind} {name}, version {}\n", pad(&result, 9), i.id)
}

/// `skill list`, `skill search`: one row for each.
#[must_use]
pub fn skills(skills: &[Skill], style: &Style) -> String {
    if skills.is_empty() {
        return "No such skills.\n".into();
    }
    const COLUMNS_OF_SKILLS: [Column; 5] = [
        left("SKILL", 24),
        left("KIND", 8),
        right("VERSION", 8),
        right("AGE", 8),
        left("ABOUT", COLUMNS),
    ];
    let row = |s: &Skill| {
        let about = match s.part.is_empty() {
            true => s.description.clone(),
            false => s.part.clone(),
        };
        [
            s.skill.clone(),
            s.kind.clone(),
            s.version.to_string(),
            age(&s.at, style.now),
            about,
        ]
    };
    let rows: Vec<_> = skills.iter().map(row).collect();
    draw(&COLUMNS_OF_SKILLS, &rows, style)
}

/// `skill show`: everything about a version; with `text`, what its files hold, too.
#[must_use]
pub fn skill(d: &SkillDetail, text: bool, style: &Style) -> String {
    let s = &d.skill;
    let counts = match s.version == d.counts {
        true => String::new(),
        false => format!(" (version {} counts)", d.counts),
    };
    let (name, kind) = (clean(&s.skill), clean(&s.kind));
    let mut out = format!("{kind} {name}, version {}{counts}\n", s.version);
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {}{}", pad(name, 12), clean(value));
        }
    };
    fact("about", &s.description);
    fact("digest", &s.digest);
    let since = age(&s.at, style.now);
    fact(
        "imported",
        &format!("{} by uid {} ({since} ago)", s.at, s.by_uid),
    );
    fact("from", &s.source);
    let list = |numbers: &mut dyn Iterator<Item = u64>| {
        let words: Vec<String> = numbers.map(|n| n.to_string()).collect();
        words.join(", ")
    };
    fact("versions", &list(&mut d.versions.iter().map(|v| v.version)));
    fact("tasks", &list(&mut d.tasks.iter().copied()));
    fact(
        "files",
        &format!("{}, {} bytes", count(s.files, "file", "files"), s.bytes),
    );
    for c in &d.contents {
        let sum: String = clean(&c.sha256).chars().take(12).collect();
        let _ = writeln!(
            out,
            "  {} {:>10}  {}",
            pad(&sum, 12),
            c.bytes,
            clean(&c.path)
        );
    }
    for c in d.contents.iter().filter(|_| text) {
        if let Some(t) = &c.text {
            let _ = write!(
                out,
                "\n== {}\n{}\n",
                clean(&c.path),
                clean_lines(t).trim_end()
            );
        }
    }
    out
}
