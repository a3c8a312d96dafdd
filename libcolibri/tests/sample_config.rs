//! The sample config and colibri.conf(5) against the config reader: every key that the reader's
//! source declares must be in both, and what the sample calls a default must be one.

use std::collections::BTreeSet;
use std::path::Path;

use libcolibri::config::Config;

/// Keys whose commented line in the sample is an example, because leaving them out is the default.
const EXAMPLES: [(&str, &str); 22] = [
    ("host", "watchdog"),
    ("host", "hostd"),
    ("profile", "agent"),
    ("profile", "env"),
    ("profile", "jail"),
    ("profile", "root"),
    ("profile", "open_files"),
    ("profile", "processes"),
    ("profile", "file_bytes"),
    ("profile", "cpu_seconds"),
    ("profile", "run_memory"),
    ("profile", "run_processes"),
    ("profile", "run_cpu"),
    ("profile", "runs"),
    ("intake", "budget"),
    ("agent", "users"),
    ("agent", "hours"),
    ("schedule", "start"),
    ("schedule", "end"),
    ("schedule", "late"),
    ("schedule", "agent"),
    ("schedule", "budget"),
];

/// Keys that exclude another one which is in force in the sample.
const EXCLUDED: [(&str, &str); 2] = [("schedule", "every"), ("schedule", "at")];

fn read(path: &str) -> String {
    let full = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join(path);
    std::fs::read_to_string(&full).unwrap_or_else(|e| panic!("{}: {e}", full.display()))
}

/// The sample with the schedule in force that it shows.
fn sample() -> String {
    let mut text = read("../etc/colibri.conf.sample");
    for line in ["[schedule.review]", "cron = ", "title = "] {
        let shown = format!("\n#{line}");
        assert!(text.contains(&shown), "{line}");
        text = text.replacen(&shown, &format!("\n{line}"), 1);
    }
    text
}

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("sample"), text.as_bytes()).map_err(|f| f.message)
}

/// The fields of a struct in the reader's source, with their types.
fn fields<'a>(source: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let head = format!("struct {name} {{\n");
    let at = source.find(&head).unwrap_or_else(|| panic!("no {name}")) + head.len();
    let body = &source[at..];
    let body = &body[..body.find("\n}").unwrap()];
    body.lines()
        .map(str::trim)
        .filter(|l| !l.starts_with('#') && !l.starts_with("//"))
        .map(|l| l.strip_prefix("pub ").unwrap_or(l))
        .filter_map(|l| l.strip_suffix(',')?.split_once(": "))
        .collect()
}

/// Every key of the file as (table, key): `File` names the tables and the structs behind them.
fn keys() -> BTreeSet<(String, String)> {
    let source = read("src/config/raw.rs") + &read("src/schedule.rs");
    let mut all = BTreeSet::new();
    for (table, kind) in fields(&source, "File") {
        // A table of tables (the profiles) names its struct last.
        let kind = kind
            .trim_end_matches('>')
            .rsplit([' ', '<'])
            .next()
            .unwrap();
        for (key, _) in fields(&source, kind) {
            all.insert((table.to_owned(), key.to_owned()));
        }
    }
    all
}

/// The table that a header line of the sample opens.
fn table_of(line: &str) -> Option<&str> {
    let inner = line.strip_prefix('[')?.strip_suffix(']')?;
    Some(inner.split('.').next().unwrap_or(inner))
}

/// The key that a line of the sample sets, or would without its "#".
fn key_of(line: &str) -> Option<&str> {
    let line = line.strip_prefix('#').unwrap_or(line);
    let (key, _) = line.split_once(" = ")?;
    let plain = |b: u8| b.is_ascii_lowercase() || b == b'_';
    key.bytes().all(plain).then_some(key)
}

#[test]
fn the_reader_has_the_keys_that_this_test_looks_for() {
    let keys = keys();
    for (table, key) in [
        ("suite", "run_dir"),
        ("users", "monitor"),
        ("roles", "operator"),
        ("limits", "journal_bytes"),
        ("profile", "command"),
        ("profile", "stop_grace"),
        ("board", "attempts"),
        ("agent", "users"),
    ] {
        assert!(keys.contains(&(table.into(), key.into())), "{table}.{key}");
    }
}

#[test]
fn the_sample_has_every_key_of_the_reader_and_no_other() {
    let text = sample();
    let mut table = "";
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if let Some(t) = table_of(line) {
            table = t;
        } else if let Some(key) = key_of(line) {
            found.insert((table.to_owned(), key.to_owned()));
        }
    }
    assert_eq!(found, keys());
}

#[test]
fn the_manual_has_every_key_of_the_reader_and_no_other() {
    let page = read("../man/colibri.conf.5");
    let mut table = "";
    let mut found = BTreeSet::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix(".Ss ") {
            table = name.split_whitespace().next().unwrap_or("");
        } else if line.starts_with(".Sh ") {
            table = "";
        } else if let (Some(item), false) = (line.strip_prefix(".It Ic "), table.is_empty()) {
            let key = item.split_whitespace().next().unwrap_or("");
            found.insert((table.to_owned(), key.to_owned()));
        }
    }
    assert_eq!(found, keys());
}

#[test]
fn the_sample_parses() {
    let config = parse(&sample()).unwrap();
    assert_eq!(config.profiles.len(), 1);
    assert_eq!(
        config.profiles[0].command,
        ["/usr/local/bin/pi", "--mode", "rpc"]
    );
}

#[test]
fn what_the_sample_calls_a_default_is_one() {
    let text = sample();
    let mut plain = parse(&text).unwrap();
    plain.generation = 0;
    let mut tried = 0;
    let mut table = "";
    for (n, line) in text.lines().enumerate() {
        table = table_of(line).unwrap_or(table);
        let Some(key) = line.strip_prefix('#').and(key_of(line)) else {
            continue;
        };
        let changed: Vec<&str> = text
            .lines()
            .enumerate()
            .map(|(m, l)| if m == n { &l[1..] } else { l })
            .collect();
        if EXCLUDED.contains(&(table, key)) {
            assert!(parse(&changed.join("\n")).is_err(), "{key}");
            tried += 1;
            continue;
        }
        let mut config = parse(&changed.join("\n")).unwrap_or_else(|e| panic!("{key}: {e}"));
        config.generation = 0;
        if !EXAMPLES.contains(&(table, key)) {
            assert_eq!(config, plain, "{key}");
        } else if (table, key) != ("profile", "agent") {
            assert_ne!(config, plain, "{key}");
        }
        tried += 1;
    }
    // The six that the sample sets are the only ones without a commented line.
    assert_eq!(tried + 6, keys().len());
}
