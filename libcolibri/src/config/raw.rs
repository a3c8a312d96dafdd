//! From TOML to the checked config: the shapes of the file and every rule about its values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::{board, host, limits, schedule};
use super::{
    hash, is_name, AgentLimits, Config, OnSettled, Paths, Place, Profile, Roles, Subject, NAME,
    PROFILES_MAX,
};
use crate::budget::Budget;
use crate::record::Mode;
use crate::schedule::Schedule;
use crate::sys::cell::RunLimits;

pub(super) type Field<T> = Option<Spanned<T>>;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    suite: Suite,
    users: Users,
    roles: RawRoles,
    limits: RawLimits,
    board: RawBoard,
    intake: RawIntake,
    host: RawHost,
    profile: BTreeMap<Spanned<String>, RawProfile>,
    agent: BTreeMap<Spanned<String>, RawAgent>,
    schedule: BTreeMap<Spanned<String>, Schedule>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Suite {
    run_dir: Field<PathBuf>,
    state_dir: Field<PathBuf>,
    tmp_dir: Field<PathBuf>,
    zoneinfo: Field<PathBuf>,
    separate: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Users {
    colibrid: Field<String>,
    monitor: Field<String>,
    schedd: Field<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawRoles {
    operator: Vec<Spanned<String>>,
    agent: Vec<Spanned<String>>,
    intake: Vec<Spanned<String>>,
    observer: Vec<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    pub runs: Field<u32>,
    pub runs_kept: Field<u64>,
    pub clients: Field<u32>,
    pub clients_per_user: Field<u32>,
    pub client_memory: Field<u64>,
    pub requests_per_second: Field<u32>,
    pub events: Field<u64>,
    pub journal_bytes: Field<u64>,
    pub tasks: Field<u64>,
    pub tasks_kept: Field<u64>,
    pub audit: Field<u64>,
    pub schedules: Field<u64>,
    pub occurrences_kept: Field<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawBoard {
    pub attempts: Field<u32>,
    pub retry_delay: Field<u32>,
    pub retry_delay_max: Field<u32>,
    pub lease: Field<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawIntake {
    pub operators: Vec<i64>,
    pub askers: Vec<i64>,
    pub capabilities: Vec<Spanned<String>>,
    pub skills: Vec<Spanned<String>>,
    pub budget: Field<Budget>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHost {
    pub watchdog: Field<PathBuf>,
    pub hostd: Field<PathBuf>,
    pub unreachable: Field<String>,
    pub fresh: Field<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAgent {
    pub capabilities: Vec<Spanned<String>>,
    pub profile: Field<String>,
    pub users: Option<Vec<Spanned<String>>>,
    pub runs: Field<u32>,
    pub hours: Field<String>,
    pub skills: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    agent: Field<String>,
    mode: Spanned<RawMode>,
    command: Spanned<Vec<String>>,
    user: Field<String>,
    #[serde(default)]
    groups: Vec<Spanned<String>>,
    cwd: Field<PathBuf>,
    #[serde(default)]
    env: BTreeMap<Spanned<String>, Spanned<String>>,
    jail: Field<String>,
    root: Field<PathBuf>,
    nice: Field<i32>,
    open_files: Option<u64>,
    processes: Option<u64>,
    file_bytes: Option<u64>,
    cpu_seconds: Option<u64>,
    runs: Field<u32>,
    run_memory: Field<u64>,
    run_processes: Field<u64>,
    run_cpu: Field<u64>,
    on_settled: Option<RawSettled>,
    start_timeout: Field<u32>,
    stall_after: Field<u32>,
    stop_grace: Field<u32>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RawMode {
    Rpc,
    Json,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RawSettled {
    End,
    Stay,
}

/// Turns positions in the text into "FILE:LINE: field: what".
pub(super) struct Where<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Where<'_> {
    pub(super) fn at(&self, offset: usize, field: &str, what: &str) -> String {
        let offset = offset.min(self.text.len());
        let line = 1 + self.text.as_bytes()[..offset]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        let file = self.file.display();
        if field.is_empty() {
            format!("{file}:{line}: {what}")
        } else {
            format!("{file}:{line}: {field}: {what}")
        }
    }

    /// Where the key is set in the table that begins at `offset`, or else that place itself.
    pub(super) fn key_after(&self, offset: usize, key: &str) -> usize {
        let mut at = offset;
        for (n, line) in self.text[offset..].split_inclusive('\n').enumerate() {
            let named = line.trim_start().strip_prefix(key);
            if named.is_some_and(|rest| rest.trim_start().starts_with('=')) {
                return at;
            }
            if n > 0 && line.trim_start().starts_with('[') {
                break;
            }
            at += line.len();
        }
        offset
    }

    pub(super) fn err<T>(&self, value: &Spanned<T>, field: &str, what: &str) -> String {
        self.at(value.span().start, field, what)
    }

    /// The field that a position of a syntax or type error belongs to: the last table header
    /// above it and the key on its line.
    fn field_at(&self, offset: usize) -> String {
        let offset = offset.min(self.text.len());
        let start = self.text[..offset].rfind('\n').map_or(0, |n| n + 1);
        let line = self.text[start..].lines().next().unwrap_or("");
        let header = |l: &str| {
            let l = l.trim();
            let inner = l.strip_prefix('[')?.split(']').next()?;
            Some(inner.trim_matches('[').trim().to_owned())
        };
        if let Some(h) = header(line) {
            return h;
        }
        let table = self.text[..start].lines().rev().find_map(header);
        let key = match line.split_once('=') {
            Some((k, _)) => k.trim(),
            None => "",
        };
        match (table, key) {
            (Some(t), "") => t,
            (Some(t), k) => format!("{t}.{k}"),
            (None, k) => k.to_owned(),
        }
    }
}

/// Checks the text of a config.
pub(super) fn parse(file: &Path, text: &[u8]) -> Result<Config, String> {
    let generation = hash(text);
    let text = std::str::from_utf8(text).map_err(|e| {
        let line = 1 + text[..e.valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        format!("{}:{line}: not UTF-8", file.display())
    })?;
    let w = Where { file, text };
    let raw: File = toml::from_str(text).map_err(|e| {
        let at = e.span().map_or(0, |s| s.start);
        w.at(
            at,
            &w.field_at(at),
            e.message().lines().next().unwrap_or(""),
        )
    })?;
    if raw.profile.len() > PROFILES_MAX {
        return Err(w.at(0, "profile", &format!("more than {PROFILES_MAX} profiles")));
    }
    let mut profiles = Vec::with_capacity(raw.profile.len());
    for (name, p) in raw.profile {
        profiles.push(profile(&w, &name, p)?);
    }
    let separate = raw.suite.separate.unwrap_or(true);
    let agents = board::agents(&w, raw.agent, &profiles)?;
    Ok(Config {
        file: file.to_owned(),
        generation,
        paths: Paths {
            run_dir: absolute(&w, raw.suite.run_dir, "suite.run_dir", "/var/run/colibri")?,
            state_dir: absolute(
                &w,
                raw.suite.state_dir,
                "suite.state_dir",
                "/var/db/colibri",
            )?,
            tmp_dir: absolute(&w, raw.suite.tmp_dir, "suite.tmp_dir", "/var/tmp/colibri")?,
            zoneinfo: absolute(
                &w,
                raw.suite.zoneinfo,
                "suite.zoneinfo",
                "/usr/share/zoneinfo",
            )?,
        },
        separate,
        user_colibrid: user(&w, raw.users.colibrid, "users.colibrid", "_colibri")?,
        user_monitor: user(&w, raw.users.monitor, "users.monitor", "_colibri_run")?,
        user_schedd: user(&w, raw.users.schedd, "users.schedd", "_colibri_sched")?,
        roles: roles(&w, raw.roles)?,
        limits: limits::limits(&w, raw.limits)?,
        profiles,
        agents,
        board: board::board(&w, raw.board)?,
        intake: board::intake(&w, raw.intake)?,
        host: host::host(&w, raw.host)?,
        schedules: schedule::schedules(&w, raw.schedule)?,
    })
}

pub(super) fn absolute(
    w: &Where<'_>,
    value: Field<PathBuf>,
    field: &str,
    default: &str,
) -> Result<PathBuf, String> {
    let Some(v) = value else {
        return Ok(PathBuf::from(default));
    };
    let p = v.get_ref();
    let dots = p
        .components()
        .any(|c| matches!(c, std::path::Component::ParentDir));
    if !p.is_absolute()
        || dots
        || p.as_os_str().len() > 512
        || p.as_os_str().as_encoded_bytes().iter().any(|b| *b < b' ')
    {
        let what = "must be an absolute path without .. and control characters";
        return Err(w.err(&v, field, what));
    }
    Ok(v.into_inner())
}

fn user(w: &Where<'_>, value: Field<String>, field: &str, default: &str) -> Result<String, String> {
    let Some(v) = value else {
        return Ok(default.to_owned());
    };
    is_user(v.get_ref()).map_err(|e| w.err(&v, field, e))?;
    Ok(v.into_inner())
}

/// A login name or `uid:gid`.
fn is_user(s: &str) -> Result<(), &'static str> {
    if let Some((uid, gid)) = s.split_once(':') {
        return match (uid.parse::<u32>(), gid.parse::<u32>()) {
            (Ok(_), Ok(_)) => Ok(()),
            _ => Err("must be a user name or uid:gid in numbers"),
        };
    }
    match s.parse::<Subject>() {
        Ok(Subject::User(_)) => Ok(()),
        _ => Err("must be a user name or uid:gid in numbers"),
    }
}

fn roles(w: &Where<'_>, raw: RawRoles) -> Result<Roles, String> {
    let list = |field: &str, names: Vec<Spanned<String>>| {
        let mut out = Vec::with_capacity(names.len());
        for n in names {
            out.push(
                n.get_ref()
                    .parse()
                    .map_err(|e: String| w.err(&n, field, &e))?,
            );
        }
        Ok::<_, String>(out)
    };
    Ok(Roles {
        operator: list("roles.operator", raw.operator)?,
        agent: list("roles.agent", raw.agent)?,
        intake: list("roles.intake", raw.intake)?,
        observer: list("roles.observer", raw.observer)?,
    })
}

pub(super) fn number<T: PartialOrd + Copy + std::fmt::Display>(
    w: &Where<'_>,
    value: Field<T>,
    field: &str,
    range: std::ops::RangeInclusive<T>,
    default: T,
) -> Result<T, String> {
    let Some(v) = value else {
        return Ok(default);
    };
    if !range.contains(v.get_ref()) {
        let what = format!("must be from {} to {}", range.start(), range.end());
        return Err(w.err(&v, field, &what));
    }
    Ok(v.into_inner())
}

/// A number that may be left out.
fn some<T: PartialOrd + Copy + std::fmt::Display>(
    w: &Where<'_>,
    value: Field<T>,
    field: &str,
    range: std::ops::RangeInclusive<T>,
) -> Result<Option<T>, String> {
    let least = *range.start();
    match value {
        None => Ok(None),
        given => number(w, given, field, range, least).map(Some),
    }
}

fn profile(w: &Where<'_>, name: &Spanned<String>, raw: RawProfile) -> Result<Profile, String> {
    let at = |f: &str| format!("profile.{}.{f}", name.get_ref());
    if !is_name(name.get_ref()) {
        return Err(w.err(name, "profile", NAME));
    }
    if let Some(a) = raw.agent.as_ref().filter(|a| !is_name(a.get_ref())) {
        return Err(w.err(a, &at("agent"), NAME));
    }
    if let Some(u) = &raw.user {
        is_user(u.get_ref()).map_err(|e| w.err(u, &at("user"), e))?;
    }
    for g in &raw.groups {
        let named = matches!(g.get_ref().parse::<Subject>(), Ok(Subject::User(_)));
        if !named {
            return Err(w.err(g, &at("groups"), "must be group names or numbers"));
        }
    }
    let mode = match raw.mode.get_ref() {
        RawMode::Rpc => Mode::Rpc,
        RawMode::Json => Mode::Json,
    };
    Ok(Profile {
        name: name.get_ref().clone(),
        agent: raw
            .agent
            .map_or_else(|| name.get_ref().clone(), Spanned::into_inner),
        mode,
        command: command(w, &at("command"), raw.command, mode)?,
        user: raw.user.map(Spanned::into_inner),
        groups: raw.groups.into_iter().map(Spanned::into_inner).collect(),
        cwd: absolute(w, raw.cwd, &at("cwd"), "/")?,
        env: environment(w, &at("env"), raw.env)?,
        place: place(w, &at("jail"), &at("root"), raw.jail, raw.root)?,
        nice: number(w, raw.nice, &at("nice"), 10..=19, 10)?,
        limits: AgentLimits {
            open_files: raw.open_files,
            processes: raw.processes,
            file_bytes: raw.file_bytes,
            cpu_seconds: raw.cpu_seconds,
        },
        runs: some(w, raw.runs, &at("runs"), 1..=10_000)?,
        run_limits: RunLimits {
            memory: some(w, raw.run_memory, &at("run_memory"), 1 << 20..=1 << 50)?,
            processes: some(w, raw.run_processes, &at("run_processes"), 1..=1 << 20)?,
            cpu: some(w, raw.run_cpu, &at("run_cpu"), 1..=100_000)?,
        },
        on_settled: match raw.on_settled {
            Some(RawSettled::Stay) => OnSettled::Stay,
            _ => OnSettled::End,
        },
        start_timeout: number(w, raw.start_timeout, &at("start_timeout"), 1..=3600, 60)?,
        stall_after: number(w, raw.stall_after, &at("stall_after"), 1..=604_800, 900)?,
        stop_grace: number(w, raw.stop_grace, &at("stop_grace"), 1..=600, 5)?,
    })
}

/// The program must be absolute; the mode's option is added where it is missing, refused where
/// it says something else.
fn command(
    w: &Where<'_>,
    field: &str,
    raw: Spanned<Vec<String>>,
    mode: Mode,
) -> Result<Vec<String>, String> {
    let args = raw.get_ref();
    let bad = |what: &str| Err(w.err(&raw, field, what));
    if !args.first().is_some_and(|p| p.starts_with('/')) {
        return bad("must begin with an absolute path");
    }
    if args.len() > 256 || args.iter().any(|a| a.len() > 4096 || a.contains('\0')) {
        return bad("at most 256 arguments of at most 4096 bytes, without NUL");
    }
    let word = match mode {
        Mode::Rpc => "rpc",
        Mode::Json => "json",
    };
    let mut args = args.clone();
    match args.iter().position(|a| a == "--mode") {
        Some(n) if args.get(n + 1).map(String::as_str) != Some(word) => {
            return bad(&format!("--mode must be {word}, as the field mode says"));
        }
        Some(_) => {}
        None => args.extend(["--mode".to_owned(), word.to_owned()]),
    }
    Ok(args)
}

fn environment(
    w: &Where<'_>,
    field: &str,
    raw: BTreeMap<Spanned<String>, Spanned<String>>,
) -> Result<BTreeMap<String, String>, String> {
    if raw.len() > 256 {
        return Err(w.at(0, field, "more than 256 variables"));
    }
    let mut env = BTreeMap::new();
    for (k, v) in raw {
        let name = k.get_ref();
        let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || name.len() > 256 || !name.bytes().all(ok) {
            return Err(w.err(
                &k,
                field,
                "variable names are letters, digits and underscores",
            ));
        }
        if v.get_ref().len() > 32 * 1024 || v.get_ref().contains('\0') {
            return Err(w.err(&v, field, "at most 32768 bytes, without NUL"));
        }
        env.insert(k.into_inner(), v.into_inner());
    }
    Ok(env)
}

fn place(
    w: &Where<'_>,
    jail_field: &str,
    root_field: &str,
    jail: Field<String>,
    root: Field<PathBuf>,
) -> Result<Place, String> {
    match (jail, root) {
        (None, None) => Ok(Place::Host),
        (Some(_), Some(r)) => Err(w.err(&r, root_field, "jail and root exclude each other")),
        (None, root) => Ok(Place::Root(absolute(w, root, root_field, "/")?)),
        (Some(j), None) => {
            let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            let name = j.get_ref();
            if name.is_empty() || name.len() > 128 || !name.bytes().all(ok) {
                return Err(w.err(&j, jail_field, "must be the name of a jail"));
            }
            Ok(Place::Jail(j.into_inner()))
        }
    }
}

#[cfg(test)]
mod tests;
