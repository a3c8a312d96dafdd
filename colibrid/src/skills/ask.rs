//! Requests about skills: every limit is checked before anything is stored.

use libcolibri::record::SHORT;
use libcolibri::skill::{check, check_names, Checked, File};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::request::{hundred, of, page, Refusal};

/// Longest query, in bytes.
const QUERY_MAX: usize = 256;
/// Most words of one.
const WORDS_MAX: usize = 16;

/// The commands about skills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Take in a version.
    Import,
    /// All of them.
    List,
    /// One, with what it holds.
    Get,
    /// Which hold these words?
    Search,
}

/// A request about skills, whole and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// `import-skill`
    Import(Box<Import>, Checked),
    /// `list-skills`
    List(List),
    /// `get-skill`
    Get(One),
    /// `search-skills`, in the language of FTS5
    Search(String, u32),
}

/// Fields of `import-skill`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// In the order of their paths.
    pub files: Vec<File>,
    /// Where they were read; only shown.
    #[serde(default)]
    pub source: String,
}

/// Fields of `list-skills`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// At most so many.
    #[serde(default = "hundred")]
    pub limit: u32,
    /// Only names behind this.
    #[serde(default)]
    pub after: String,
}

/// Fields of `get-skill`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct One {
    /// Its name.
    pub skill: String,
    /// Another version than the one that counts.
    pub version: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    query: String,
    #[serde(default = "hundred")]
    limit: u32,
}

impl Verb {
    /// Checks the fields of a command.
    ///
    /// # Errors
    /// Missing, unknown, wrong or over-long fields.
    pub fn ask(self, f: Map<String, Value>) -> Result<Ask, Refusal> {
        let bad = |what: String| Refusal::new("bad-request", what);
        Ok(match self {
            Verb::Import => {
                let i: Import = of(f)?;
                if i.source.len() > SHORT {
                    let message = format!("source is longer than {SHORT} bytes");
                    return Err(Refusal::new("too-long", message));
                }
                let checked = check(&i.files).map_err(bad)?;
                Ask::Import(Box::new(i), checked)
            }
            Verb::List => {
                let l: List = of(f)?;
                page(l.limit)?;
                Ask::List(l)
            }
            Verb::Get => Ask::Get(of(f)?),
            Verb::Search => {
                let s: Search = of(f)?;
                page(s.limit)?;
                Ask::Search(query(&s.query).map_err(bad)?, s.limit)
            }
        })
    }
}

/// All words as FTS5 is asked for them: each a text of its own, so that none is an operator.
fn query(text: &str) -> Result<String, String> {
    if text.len() > QUERY_MAX {
        return Err(format!("query is longer than {QUERY_MAX} bytes"));
    }
    let letter = |c: char| c.is_alphanumeric();
    let words = text.split_whitespace().filter(|w| w.contains(letter));
    let words: Vec<String> = words
        .map(|w| format!("\"{}\"", w.replace(['"', '\0'], " ")))
        .collect();
    match words.len() {
        0 => Err("query has no word".into()),
        n if n > WORDS_MAX => Err(format!("query has more than {WORDS_MAX} words")),
        _ => Ok(words.join(" ")),
    }
}

/// Checks which skills somebody names, and leaves each once.
///
/// # Errors
/// Too many, or what is no name.
pub fn names(skills: &mut Vec<String>) -> Result<(), Refusal> {
    check_names(skills).map_err(|what| Refusal::new("bad-request", format!("skills: {what}")))?;
    let mut seen = std::collections::BTreeSet::new();
    skills.retain(|s| seen.insert(s.clone()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_words_and_nothing_else() {
        assert_eq!(query("rust  NEAR(x").as_deref(), Ok("\"rust\" \"NEAR(x\""));
        assert_eq!(query("a\"b* - OR").as_deref(), Ok("\"a b*\" \"OR\""));
        assert!(query(" - * ").is_err() && query(&"x ".repeat(17)).is_err());
        assert!(query(&"x".repeat(257)).is_err());
    }
}
