//! The catalogue of skills and artifacts: every version that was imported, which one counts, and what
//! was given to which attempt.

use libcolibri::skill::{Checked, File, Kind};
use rusqlite::{params, OptionalExtension, Row};

use super::pending::Sort;
use super::{DbResult, Store};

/// The catalogue's tables. A version is a set of files; its number grows. `skill_names` says which
/// version of a name counts, and only these are searched.
pub(super) const TABLES: &str = "
CREATE TABLE skills (
    skill INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    digest TEXT NOT NULL,
    description TEXT NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    source TEXT NOT NULL,
    by_uid INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    UNIQUE (name, digest)
) STRICT;
CREATE TABLE skill_files (
    skill INTEGER NOT NULL REFERENCES skills (skill),
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    text TEXT,
    PRIMARY KEY (skill, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE skill_names (
    name TEXT PRIMARY KEY,
    skill INTEGER NOT NULL REFERENCES skills (skill)
) STRICT, WITHOUT ROWID;
CREATE VIRTUAL TABLE skill_text USING fts5 (name, description, body);
CREATE TABLE claim_skills (
    claim INTEGER NOT NULL REFERENCES claims (claim) ON DELETE CASCADE,
    skill INTEGER NOT NULL REFERENCES skills (skill),
    place INTEGER NOT NULL,
    PRIMARY KEY (claim, skill)
) STRICT, WITHOUT ROWID;
CREATE INDEX claim_skills_skill ON claim_skills (skill, claim);
ALTER TABLE tasks ADD COLUMN skills TEXT NOT NULL DEFAULT '[]';
";

/// A version of a skill or an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkillRow {
    /// The version's number.
    pub skill: u64,
    /// Its name.
    pub name: String,
    /// `skill` or `artifact`.
    pub kind: String,
    /// Sum over its files.
    pub digest: String,
    /// What it is for.
    pub description: String,
    /// How many files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Where it was read, as whoever imported it said.
    pub source: String,
    /// Who imported it first.
    pub by_uid: u32,
    /// When.
    pub at_ms: u64,
}

impl SkillRow {
    /// Whether a task may name it.
    #[must_use]
    pub fn is_skill(&self) -> bool {
        self.kind == Kind::Skill.as_str()
    }
}

/// A version to be added.
pub struct NewSkill<'a> {
    /// What it is.
    pub checked: &'a Checked,
    /// Its files.
    pub files: &'a [File],
    /// Where it was read.
    pub source: &'a str,
    /// Who imports it.
    pub by_uid: u32,
    /// When.
    pub at_ms: u64,
}

const COLUMNS: &str = "s.skill, s.name, s.kind, s.digest, s.description, s.files, s.bytes,
    s.source, s.by_uid, s.at_ms FROM skills AS s";

fn skill_row(r: &Row<'_>) -> DbResult<SkillRow> {
    Ok(SkillRow {
        skill: r.get(0)?,
        name: r.get(1)?,
        kind: r.get(2)?,
        digest: r.get(3)?,
        description: r.get(4)?,
        files: r.get(5)?,
        bytes: r.get(6)?,
        source: r.get(7)?,
        by_uid: r.get(8)?,
        at_ms: r.get(9)?,
    })
}

impl Store {
    /// Adds a version with its files, which does not count yet, and returns its number.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn add_skill(&self, new: &NewSkill<'_>) -> DbResult<u64> {
        let c = new.checked;
        let bytes: u64 = new.files.iter().map(|f| f.bytes).sum();
        self.write(
            Sort::Decision,
            "INSERT INTO skills (name, kind, digest, description, files, bytes, source, by_uid, at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                c.name,
                c.kind.as_str(),
                c.digest,
                c.description,
                new.files.len() as u64,
                bytes,
                new.source,
                new.by_uid,
                new.at_ms
            ],
        )?;
        let skill = self.db.last_insert_rowid() as u64;
        for f in new.files {
            self.write(
                Sort::Decision,
                "INSERT INTO skill_files VALUES (?1, ?2, ?3, ?4, ?5)",
                params![skill, f.path, f.sha256, f.bytes, f.text],
            )?;
        }
        Ok(skill)
    }

    /// Lets a version count from now on; of its name no other does. `body` is what is searched
    /// besides name and description.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn let_skill_count(&self, row: &SkillRow, body: &str) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "DELETE FROM skill_text WHERE rowid = (SELECT skill FROM skill_names WHERE name = ?1)",
            params![row.name],
        )?;
        self.write(
            Sort::Decision,
            "INSERT INTO skill_names VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET skill = ?2",
            params![row.name, row.skill],
        )?;
        self.write(
            Sort::Decision,
            "INSERT INTO skill_text (rowid, name, description, body) VALUES (?1, ?2, ?3, ?4)",
            params![row.skill, row.name, row.description, body],
        )
    }

    /// The version of a name that counts.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn skill(&self, name: &str) -> DbResult<Option<SkillRow>> {
        self.db
            .prepare_cached(&format!(
                "SELECT {COLUMNS} JOIN skill_names USING (skill) WHERE skill_names.name = ?1"
            ))?
            .query_row([name], skill_row)
            .optional()
    }

    /// A version by its content.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn skill_of_digest(&self, name: &str, digest: &str) -> DbResult<Option<SkillRow>> {
        self.db
            .prepare_cached(&format!(
                "SELECT {COLUMNS} WHERE s.name = ?1 AND s.digest = ?2"
            ))?
            .query_row([name, digest], skill_row)
            .optional()
    }

    /// The versions of a name, newest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn skill_versions(&self, name: &str, limit: u32) -> DbResult<Vec<SkillRow>> {
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} WHERE s.name = ?1 ORDER BY s.skill DESC LIMIT ?2"
        ))?;
        let rows = stmt.query_map(params![name, limit], skill_row)?;
        rows.collect()
    }

    /// The versions that count, by name.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn skills(&self, after: &str, limit: u32) -> DbResult<Vec<SkillRow>> {
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} JOIN skill_names USING (skill)
             WHERE skill_names.name > ?1 ORDER BY skill_names.name LIMIT ?2"
        ))?;
        let rows = stmt.query_map(params![after, limit], skill_row)?;
        rows.collect()
    }

    /// How many versions there are.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn count_skills(&self) -> DbResult<u64> {
        self.db
            .prepare_cached("SELECT count(*) FROM skills")?
            .query_row([], |r| r.get(0))
    }

    /// The files of a version, in the order of their paths.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn skill_files(&self, skill: u64) -> DbResult<Vec<File>> {
        let mut stmt = self.db.prepare_cached(
            "SELECT path, sha256, bytes, text FROM skill_files WHERE skill = ?1 ORDER BY path",
        )?;
        let rows = stmt.query_map([skill], |r| {
            Ok(File {
                path: r.get(0)?,
                sha256: r.get(1)?,
                bytes: r.get(2)?,
                text: r.get(3)?,
            })
        })?;
        rows.collect()
    }

    /// The versions that count and hold all of these words, the best first, each with where it
    /// holds them. `query` is in the language of FTS5.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn search_skills(&self, query: &str, limit: u32) -> DbResult<Vec<(SkillRow, String)>> {
        let mut stmt = self.db.prepare_cached(
            &format!(
                "SELECT {COLUMNS} JOIN
               (SELECT rowid AS found, rank AS place,
                       snippet(skill_text, -1, '', '', '…', 16) AS part
                FROM skill_text WHERE skill_text MATCH ?1 ORDER BY rank LIMIT ?2)
             ON s.skill = found ORDER BY place, s.name"
            )
            .replace("s.at_ms FROM", "s.at_ms, part FROM"),
        )?;
        let rows = stmt.query_map(params![query, limit], |r| Ok((skill_row(r)?, r.get(10)?)))?;
        rows.collect()
    }

    /// Notes what an attempt is given.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn use_skills(&self, claim: u64, skills: &[SkillRow]) -> DbResult<()> {
        for (place, s) in skills.iter().enumerate() {
            self.write(
                Sort::Decision,
                "INSERT INTO claim_skills VALUES (?1, ?2, ?3)",
                params![claim, s.skill, place as u64],
            )?;
        }
        Ok(())
    }

    /// What an attempt was given.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn skills_of_claim(&self, claim: u64) -> DbResult<Vec<SkillRow>> {
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} JOIN claim_skills USING (skill) WHERE claim = ?1 ORDER BY place"
        ))?;
        let rows = stmt.query_map([claim], skill_row)?;
        rows.collect()
    }

    /// The newest tasks with an attempt that was given this version.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn tasks_of_skill(&self, skill: u64, limit: u32) -> DbResult<Vec<u64>> {
        let mut stmt = self.db.prepare_cached(
            "SELECT DISTINCT task FROM claim_skills JOIN claims USING (claim)
             WHERE skill = ?1 ORDER BY task DESC LIMIT ?2",
        )?;
        let rows = stmt.query_map(params![skill, limit], |r| r.get(0))?;
        rows.collect()
    }
}
