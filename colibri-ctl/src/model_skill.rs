//! What colibrid says about skills, as far as this program reads it.

use libcolibri::skill::File;
use serde::{Deserialize, Serialize};

/// The fields of `import-skill`.
#[derive(Debug, Serialize)]
pub struct NewSkill<'a> {
    /// In the order of their paths.
    pub files: &'a [File],
    /// Where they were read.
    pub source: &'a str,
}

/// The fields of `list-skills`.
#[derive(Debug, Serialize)]
pub struct ListSkills<'a> {
    /// Most in the page.
    pub limit: u32,
    /// Only names behind this.
    pub after: &'a str,
}

/// The fields of `get-skill`.
#[derive(Debug, Serialize)]
pub struct GetSkill<'a> {
    /// Its name.
    pub skill: &'a str,
    /// Another version than the one that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// The fields of `search-skills`.
#[derive(Debug, Serialize)]
pub struct SearchSkills<'a> {
    /// Words.
    pub query: &'a str,
    /// At most so many.
    pub limit: u32,
}

/// Reply to `import-skill`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Imported {
    /// Number of the version.
    pub id: u64,
    /// Its name.
    pub skill: String,
    /// `skill` or `artifact`.
    pub kind: String,
    /// `added`, `updated`, `restored` or `unchanged`.
    pub result: String,
}

/// Reply to `list-skills` and `search-skills`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Skills {
    /// By name, or the best first.
    pub skills: Vec<Skill>,
}

/// A version of a skill or an artifact.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Skill {
    /// Its name.
    pub skill: String,
    /// `skill` or `artifact`.
    pub kind: String,
    /// Its number.
    pub version: u64,
    /// Sum over its files.
    pub digest: String,
    /// What it is for.
    pub description: String,
    /// How many files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Where it was read.
    pub source: String,
    /// Who imported it.
    pub by_uid: u64,
    /// When.
    pub at: String,
    /// `search-skills`: where it holds the words.
    pub part: String,
}

/// Reply to `get-skill`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SkillDetail {
    /// What `list-skills` says of it.
    #[serde(flatten)]
    pub skill: Skill,
    /// The version that counts.
    pub counts: u64,
    /// Its files.
    pub contents: Vec<Content>,
    /// The newest tasks that were given it.
    pub tasks: Vec<u64>,
    /// All versions of the name, newest first.
    pub versions: Vec<Version>,
}

/// A file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Content {
    /// Relative to its directory.
    pub path: String,
    /// Its sum.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// What it holds, of files that are read.
    pub text: Option<String>,
}

/// A version in the list of all.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// When it was imported.
    pub at: String,
}
