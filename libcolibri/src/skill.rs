//! Skills and artifacts as they cross from `colibri-ctl` to colibrid: which files one consists of, its
//! name and description, its digest, and the form in which an agent is given it. Both sides check all
//! of it.
//!
//! Of the YAML in front of a SKILL.md only `name` and `description` are read, in the forms that people
//! write: plain, quoted or folded text. Own code, since every YAML crate that is still kept builds
//! the whole document and takes aliases that grow without bound.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::is_name;

/// Longest block that an agent is given of one skill, in bytes: its SKILL.md and its references.
pub const GIVEN_MAX: usize = 64 * 1024;
/// Most files of a skill or an artifact.
pub const FILES_MAX: usize = 1024;
/// Longest path of a file, in bytes.
pub const PATH_MAX: usize = 256;
/// Longest description, in bytes.
pub const DESCRIPTION_MAX: usize = 1024;
/// Longest run_manifest.json, in bytes.
pub const MANIFEST_MAX: usize = 256 * 1024;
/// Most skills that a task names, and most that an agent has by default.
pub const PER_TASK: usize = 4;

/// Checks which skills somebody names.
///
/// # Errors
/// What they must be.
pub fn check_names(skills: &[String]) -> Result<(), String> {
    match skills.len() <= PER_TASK && skills.iter().all(|s| is_name(s)) {
        true => Ok(()),
        false => Err(format!(
            "must be at most {PER_TASK} names of 1 to 64 letters, digits, dots, dashes or underscores"
        )),
    }
}

/// What makes a directory a skill.
pub const SKILL_FILE: &str = "SKILL.md";
/// What makes it an artifact, with the sums of its files in [`SUMS_FILE`].
pub const MANIFEST_FILE: &str = "run_manifest.json";
/// Lines as sha256sum(1) writes them.
pub const SUMS_FILE: &str = "artifacts.sha256";

/// The end of the block that an agent is given; no text may hold it.
const END: &str = "</skill>";
/// Deepest nesting of a manifest.
const DEPTH_MAX: usize = 32;

/// A file of a skill or an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Relative to the directory, with slashes.
    pub path: String,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// Size.
    pub bytes: u64,
    /// What it holds, of the files that are read: SKILL.md, references, run_manifest.json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What a set of files is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Instructions, which tasks may name.
    Skill,
    /// What a build or a test left, with its manifest.
    Artifact,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Skill => "skill",
            Kind::Artifact => "artifact",
        }
    }
}

/// A set of files that was found to be in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Which of the two.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// SHA-256 of the lines that sha256sum(1) writes of its files, in the order of their paths.
    pub digest: String,
}

/// Whether a file of a skill is read, and given to agents.
#[must_use]
pub fn is_read(path: &str) -> bool {
    path == SKILL_FILE || path.starts_with("references/")
}

/// The sum of some bytes, in lower-case hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The sum of all that can be read, and how much that is.
///
/// # Errors
/// When it cannot be read, or is more than `most` bytes.
pub fn sha256_of(input: &mut impl Read, most: u64) -> io::Result<(String, u64)> {
    let mut sum = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        match input.read(&mut block) {
            Ok(0) => return Ok((hex(&sum.finalize()), bytes)),
            Ok(n) => {
                bytes += n as u64;
                if bytes > most {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                sum.update(&block[..n]);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Whether a text is a sum in the form of [`sha256`].
#[must_use]
pub fn is_sum(s: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    s.len() == 64 && s.bytes().all(digit)
}

/// Whether a text names a file below a directory, and nothing else.
#[must_use]
pub fn is_path(s: &str) -> bool {
    let part = |p: &str| !p.is_empty() && p != "." && p != "..";
    let odd = |c: char| c.is_control() || matches!(c, '"' | '<' | '>' | '\\');
    s.len() <= PATH_MAX && s.split('/').all(part) && !s.contains(odd)
}

/// Checks everything about a set of files, which are in the order of their paths.
///
/// # Errors
/// What is wrong, in one sentence.
pub fn check(files: &[File]) -> Result<Checked, String> {
    if files.len() > FILES_MAX {
        return Err(format!("it has more than {FILES_MAX} files"));
    }
    if !files.windows(2).all(|w| w[0].path < w[1].path) {
        return Err("its files are not in the order of their paths".into());
    }
    for f in files {
        check_file(f)?;
    }
    let text = |name: &str| {
        let found = files.iter().find(|f| f.path == name);
        found.and_then(|f| f.text.as_deref())
    };
    let (kind, name, description) = match (text(SKILL_FILE), text(MANIFEST_FILE)) {
        (Some(text), None) => {
            let front = front_matter(text)?;
            (Kind::Skill, front.name, front.description)
        }
        (None, Some(manifest)) => {
            let (name, title) = of_manifest(manifest)?;
            (Kind::Artifact, name, title)
        }
        _ => {
            return Err(format!(
                "it has neither {SKILL_FILE} nor {MANIFEST_FILE}, or both"
            ))
        }
    };
    let given = |path: &str| match kind {
        Kind::Skill => is_read(path),
        Kind::Artifact => path == MANIFEST_FILE,
    };
    if let Some(f) = files.iter().find(|f| f.text.is_some() != given(&f.path)) {
        return Err(format!("{}: its text is missing, or not wanted", f.path));
    }
    if kind == Kind::Skill && block(&name, u64::MAX, files).len() > GIVEN_MAX {
        let what = "SKILL.md and references are longer than 64 KiB together";
        return Err(what.into());
    }
    let lines: String = files
        .iter()
        .map(|f| format!("{}  {}\n", f.sha256, f.path))
        .collect();
    Ok(Checked {
        kind,
        name,
        description,
        digest: sha256(lines.as_bytes()),
    })
}

fn check_file(f: &File) -> Result<(), String> {
    if !is_path(&f.path) {
        return Err(format!(
            "a path is empty, odd, or longer than {PATH_MAX} bytes"
        ));
    }
    if !is_sum(&f.sha256) {
        return Err(format!("{}: its sum is none", f.path));
    }
    let Some(text) = &f.text else {
        return Ok(());
    };
    if text.len() > MANIFEST_MAX {
        return Err(format!("{}: longer than {MANIFEST_MAX} bytes", f.path));
    }
    if text.len() as u64 != f.bytes || sha256(text.as_bytes()) != f.sha256 {
        return Err(format!("{}: its text has another sum", f.path));
    }
    if text.contains('\0') || text.contains(END) {
        return Err(format!("{}: it holds a NUL or {END}", f.path));
    }
    Ok(())
}

/// Name and title of an artifact.
fn of_manifest(text: &str) -> Result<(String, String), String> {
    let bad = |what: &str| format!("{MANIFEST_FILE}: {what}");
    if depth(text.as_bytes()) > DEPTH_MAX {
        return Err(bad("nested too deep"));
    }
    #[derive(Deserialize)]
    struct Manifest {
        skill_id: String,
        #[serde(default)]
        display_name: String,
    }
    let m: Manifest = serde_json::from_str(text)
        .map_err(|_| bad("must be a JSON object with the text skill_id"))?;
    let title = m
        .display_name
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    if !is_name(&m.skill_id) {
        return Err(bad(
            "skill_id must be 1 to 64 letters, digits, dots, dashes or underscores",
        ));
    }
    if title.len() > DESCRIPTION_MAX {
        return Err(bad("display_name is longer than 1024 bytes"));
    }
    Ok((m.skill_id, title))
}

/// Deepest nesting of brackets outside strings. Cheap, so that a parser that recurses never sees
/// what is too deep.
#[must_use]
pub fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for b in json {
        match (in_string, b) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// All that the files say, without the head of SKILL.md.
#[must_use]
pub fn body(files: &[File]) -> String {
    let texts = files.iter().filter_map(|f| {
        let text = f.text.as_deref()?;
        Some(match f.path.as_str() {
            SKILL_FILE => front_matter(text).map_or(text, |front| &text[front.body..]),
            _ => text,
        })
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// What an agent is given of a skill: the form in which Pi itself puts a skill that is called by name
/// into a conversation, with the references behind the text, since there are no files of it.
#[must_use]
pub fn block(name: &str, version: u64, files: &[File]) -> String {
    let mut out = format!("<skill name=\"{name}\" location=\"colibri:{name}@{version}\">\n");
    let text = |f: &File| f.text.clone().unwrap_or_default();
    if let Some(f) = files.iter().find(|f| f.path == SKILL_FILE) {
        let whole = text(f);
        let body = front_matter(&whole).map_or(0, |front| front.body);
        let others = files.len() > 1 && files.iter().any(|f| f.path.starts_with("references/"));
        if others {
            out.push_str("Its references follow below, each under its path.\n\n");
        }
        out.push_str(whole[body..].trim());
        out.push('\n');
    }
    for f in files
        .iter()
        .filter(|f| f.path != SKILL_FILE && f.text.is_some())
    {
        let body = text(f);
        out.push_str(&format!(
            "\n<file path=\"{}\">\n{}\n</file>\n",
            f.path,
            body.trim_end()
        ));
    }
    out.push_str(END);
    out
}

/// What stands behind the skills of a prompt.
#[must_use]
pub fn without_blocks(mut prompt: &str) -> &str {
    while prompt.starts_with("<skill name=\"") {
        match prompt.split_once("\n</skill>\n\n") {
            Some((_, rest)) => prompt = rest,
            None => break,
        }
    }
    prompt
}

/// The head of a SKILL.md.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// Its name.
    pub name: String,
    /// When it is of use, on one line.
    pub description: String,
    /// Where the text behind it begins.
    pub body: usize,
}

/// Longest head, in bytes.
const FRONT_MAX: usize = 16 * 1024;

/// A field as it stands in the head: its line, the text behind the colon, the lines below it.
type Field<'a> = (usize, &'a str, Vec<&'a str>);

/// Reads the head of a SKILL.md.
///
/// # Errors
/// What is wrong and in which line.
pub fn front_matter(text: &str) -> Result<Front, String> {
    let bad = |line: usize, what: &str| Err(format!("{SKILL_FILE}:{line}: {what}"));
    let mut fields: [Option<Field<'_>>; 2] = [None, None];
    // Which of them the lines with an indent belong to.
    let mut open: Option<usize> = None;
    let mut at = 0;
    for (n, whole) in text.split_inclusive('\n').enumerate() {
        let line = whole.trim_end_matches(['\n', '\r']);
        at += whole.len();
        if at > FRONT_MAX {
            return bad(n + 1, "the front matter is longer than 16 KiB");
        }
        if n == 0 {
            if line.trim_start_matches('\u{feff}').trim_end() != "---" {
                return bad(1, "must begin with front matter: a line of three dashes");
            }
        } else if line.trim_end() == "---" {
            return front(&fields, at);
        } else if line.starts_with([' ', '\t']) || line.is_empty() {
            if let Some((_, _, below)) = open.and_then(|f| fields[f].as_mut()) {
                below.push(line);
            }
        } else if line.starts_with('-') && open.is_none() {
            // An item of a list of no interest.
        } else if !line.starts_with('#') {
            let Some((key, value)) = line.split_once(':') else {
                return bad(n + 1, "must be a key, a colon and a value");
            };
            if !value.is_empty() && !value.starts_with([' ', '\t']) {
                return bad(n + 1, "a blank must follow the colon");
            }
            open = ["name", "description"]
                .iter()
                .position(|k| *k == key.trim_end());
            if let Some(f) = open {
                if fields[f]
                    .replace((n + 1, value.trim(), Vec::new()))
                    .is_some()
                {
                    return bad(n + 1, "the key stands there twice");
                }
            }
        }
    }
    bad(1, "the front matter has no end: a line of three dashes")
}

fn front(fields: &[Option<Field<'_>>; 2], body: usize) -> Result<Front, String> {
    let value = |f: usize, key: &str| {
        let Some(field) = &fields[f] else {
            return Err(format!("{SKILL_FILE}: the front matter has no {key}"));
        };
        let text = scalar(field).map_err(|e| format!("{SKILL_FILE}:{}: {key}: {e}", field.0))?;
        match text.is_empty() {
            true => Err(format!("{SKILL_FILE}:{}: {key} is empty", field.0)),
            false => Ok((field.0, text)),
        }
    };
    let (line, name) = value(0, "name")?;
    if !is_name(&name) {
        let what = "must be 1 to 64 letters, digits, dots, dashes or underscores";
        return Err(format!("{SKILL_FILE}:{line}: name: {what}"));
    }
    let (line, description) = value(1, "description")?;
    if description.len() > DESCRIPTION_MAX || description.contains(char::is_control) {
        let what = "must be at most 1024 bytes, without control characters";
        return Err(format!("{SKILL_FILE}:{line}: description: {what}"));
    }
    Ok(Front {
        name,
        description,
        body,
    })
}

/// A text of YAML on one line.
fn scalar((_, first, below): &Field<'_>) -> Result<String, &'static str> {
    let folded = |first: &str| {
        let lines = std::iter::once(first).chain(below.iter().copied());
        let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
        words.join(" ")
    };
    match first.chars().next() {
        Some('|' | '>') => match first[1..]
            .chars()
            .all(|c| matches!(c, '+' | '-' | '1'..='9'))
        {
            true => Ok(folded("")),
            false => Err("nothing may follow | or > on its line"),
        },
        Some(quote @ ('"' | '\'')) => quoted(&folded(first)[1..], quote),
        Some('&' | '*' | '!' | '%' | '@' | '`' | '[' | '{' | ',' | ']' | '}' | '?') => {
            Err("this form of YAML is not understood: put it in quotes")
        }
        _ => {
            let text = folded(first);
            // A comment begins behind a blank.
            let text = text.split(" #").next().unwrap_or("");
            match text.contains(": ") || text.ends_with(':') {
                true => Err("with a colon and a blank in it, it must be in quotes"),
                false => Ok(text.to_owned()),
            }
        }
    }
}

/// The text up to the closing quote, behind which only a comment may stand.
fn quoted(text: &str, quote: char) -> Result<String, &'static str> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == quote {
            if quote == '\'' && chars.next_if_eq(&'\'').is_some() {
                out.push('\'');
                continue;
            }
            let rest: String = chars.collect();
            return match rest.is_empty() || rest.starts_with(" #") {
                true => Ok(out),
                false => Err("something stands behind the closing quote"),
            };
        }
        match (quote, c) {
            ('"', '\\') => out.push(match chars.next() {
                Some(c @ ('"' | '\\' | '/')) => c,
                Some('n' | 't' | ' ') => ' ',
                _ => return Err("this escape is not understood"),
            }),
            _ => out.push(c),
        }
    }
    Err("the closing quote is missing")
}

#[cfg(test)]
mod tests;
