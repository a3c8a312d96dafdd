//! From text to sets. Every refusal says where and what was expected.

use std::str::FromStr;

use super::{Cron, CronError, CRON_MAX};
use crate::record::clip;

/// A field: its name, its range, the names of its values from the first one on.
struct Field {
    what: &'static str,
    first: u8,
    last: u8,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    field("a minute from 0 to 59", 0, 59, &[]),
    field("an hour from 0 to 23", 0, 23, &[]),
    field("a day of the month from 1 to 31", 1, 31, &[]),
    field("a month from 1 to 12 or jan to dec", 1, 12, &MONTHS),
    field(
        "a day of the week from 0 to 7 or sun to sat",
        0,
        7,
        &WEEKDAYS,
    ),
];
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const fn field(what: &'static str, first: u8, last: u8, names: &'static [&'static str]) -> Field {
    Field {
        what,
        first,
        last,
        names,
    }
}

/// The text and how far it has been read.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error<T>(&self, expected: impl Into<String>) -> Result<T, CronError> {
        let found = self.rest().split([' ', '\t', ',']).next().unwrap_or("");
        // A separator itself is what was found if it stands where a value should.
        let found = match (found, self.rest().chars().next()) {
            ("", Some(c)) => c.to_string(),
            (found, _) => clip(found, 32).to_owned(),
        };
        Err(CronError {
            column: self.text[..self.at].chars().count() + 1,
            expected: expected.into(),
            found,
        })
    }

    fn skip_blanks(&mut self) -> bool {
        let rest = self.rest().trim_start_matches([' ', '\t']);
        let before = self.at;
        self.at = self.text.len() - rest.len();
        self.at > before
    }

    fn take(&mut self, c: char) -> bool {
        let there = self.rest().starts_with(c);
        self.at += if there { c.len_utf8() } else { 0 };
        there
    }

    /// The letters and digits from here on.
    fn word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric());
        &rest[..end.unwrap_or(rest.len())]
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Cron, CronError> {
        let mut c = Cursor { text, at: 0 };
        if text.len() > CRON_MAX {
            c.at = clip(text, CRON_MAX).len();
            return c.error(format!("at most {CRON_MAX} bytes"));
        }
        c.skip_blanks();
        if c.rest().starts_with('@') {
            return nickname(&c);
        }
        let mut sets = [(0u64, false); 5];
        for (n, f) in FIELDS.iter().enumerate() {
            if n > 0 && !c.skip_blanks() && !c.rest().is_empty() {
                return c.error("a blank, a comma, a dash or a slash");
            }
            sets[n] = set(&mut c, f)?;
        }
        c.skip_blanks();
        if !c.rest().is_empty() {
            return c.error("the end after five fields");
        }
        let [minutes, hours, days, months, weekdays] = sets;
        let cron = Cron {
            minutes: minutes.0,
            hours: hours.0 as u32,
            days: days.0 as u32,
            months: months.0 as u16,
            // 7 is Sunday too.
            weekdays: (weekdays.0 & 0x7f | weekdays.0 >> 7) as u8,
            any_day: days.1,
            any_weekday: weekdays.1,
        };
        if !cron.has_date() {
            c.at = text.len();
            return c.error("a day that one of the months has");
        }
        Ok(cron)
    }
}

fn nickname(c: &Cursor<'_>) -> Result<Cron, CronError> {
    let word = c.rest().trim_end_matches([' ', '\t']).to_ascii_lowercase();
    match NICKNAMES.iter().find(|(name, _)| *name == word) {
        Some((_, means)) => means.parse(),
        None => c.error("@yearly, @annually, @monthly, @weekly, @daily, @midnight or @hourly"),
    }
}

/// One field: its bits, and whether it is nothing but `*`.
fn set(c: &mut Cursor<'_>, f: &Field) -> Result<(u64, bool), CronError> {
    if c.rest().is_empty() {
        return c.error(f.what);
    }
    let start = c.at;
    let mut bits = 0;
    loop {
        bits |= element(c, f)?;
        if !c.take(',') {
            break;
        }
    }
    Ok((bits, &c.text[start..c.at] == "*"))
}

/// `*`, `*/step`, `value`, `from-to` or `from-to/step`.
fn element(c: &mut Cursor<'_>, f: &Field) -> Result<u64, CronError> {
    // Sunday counts once in steps over the whole week.
    let last = if f.names.len() == 7 { 6 } else { f.last };
    let (from, to, ranged) = if c.take('*') {
        (f.first, last, true)
    } else {
        let from = value(c, f)?;
        if c.take('-') {
            let at = c.at;
            let to = value(c, f)?;
            if to < from {
                c.at = at;
                return c.error(format!("the end of a range that begins with {from}"));
            }
            (from, to, true)
        } else {
            (from, from, false)
        }
    };
    let mut step = 1;
    if c.rest().starts_with('/') {
        if !ranged {
            return c.error("a blank or a comma: a step follows * or a range");
        }
        c.take('/');
        step = number(c, 1, f.last, &format!("a step from 1 to {}", f.last))?;
    }
    let values = (from..=to).step_by(usize::from(step));
    Ok(values.fold(0, |bits, v| bits | 1 << v))
}

fn value(c: &mut Cursor<'_>, f: &Field) -> Result<u8, CronError> {
    let word = c.word();
    let named = f.names.iter().position(|n| n.eq_ignore_ascii_case(word));
    if let Some(n) = named {
        c.at += word.len();
        return Ok(f.first + n as u8);
    }
    number(c, f.first, f.last, f.what)
}

fn number(c: &mut Cursor<'_>, first: u8, last: u8, what: &str) -> Result<u8, CronError> {
    let word = c.word();
    let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    match word.parse::<u8>() {
        Ok(n) if digits && (first..=last).contains(&n) => {
            c.at += word.len();
            Ok(n)
        }
        _ => c.error(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn fields_are_sets() {
        let c = cron("0,30 9-17/2 1,15 jan,JUL mon-fri");
        assert_eq!(c.minutes, 1 | 1 << 30);
        assert_eq!(c.hours, 1 << 9 | 1 << 11 | 1 << 13 | 1 << 15 | 1 << 17);
        assert_eq!(c.days, 1 << 1 | 1 << 15);
        assert_eq!(c.months, 1 << 1 | 1 << 7);
        assert_eq!(c.weekdays, 0b011_1110);
        assert!(!c.any_day && !c.any_weekday);
        let every = cron("\t* *  * * *\t");
        assert_eq!(every.minutes.count_ones(), 60);
        assert!(every.any_day && every.any_weekday);
        assert_eq!(cron("0 0 * * 5-7").weekdays, 0b110_0001);
        assert_eq!(cron("0 0 * * */2").weekdays, 0b101_0101);
        assert_eq!(cron("@Weekly"), cron("0 0 * * sun"));
        // What the system replaced by this one took for 10 to 19 is one minute.
        assert_eq!(cron("1 * * * *").minutes, 2);
    }

    #[test]
    fn either_of_two_restricted_days_is_enough() {
        let c = cron("0 0 13 * fri");
        assert!(c.has_day(13, 1) && c.has_day(6, 5) && !c.has_day(6, 1));
        let c = cron("0 0 13 * *");
        assert!(c.has_day(13, 1) && !c.has_day(6, 5));
        let c = cron("0 0 * * fri");
        assert!(!c.has_day(13, 1) && c.has_day(6, 5));
        // Only a bare star leaves the choice to the other field.
        let c = cron("0 0 */2 * fri");
        assert!(c.has_day(2, 5) && c.has_day(3, 1) && !c.has_day(2, 1));
    }

    #[test]
    fn a_refusal_says_where_and_what_was_expected() {
        for (text, expect) in [
            (
                "",
                "column 1: expected a minute from 0 to 59, found the end",
            ),
            (
                "60 * * * *",
                "column 1: expected a minute from 0 to 59, found \"60\"",
            ),
            ("* 24 * * *", "column 3: expected an hour"),
            (
                "* * 0 * *",
                "column 5: expected a day of the month from 1 to 31, found \"0\"",
            ),
            ("* * * foo *", "column 7: expected a month"),
            ("* * * * 8", "column 9: expected a day of the week"),
            ("* * * *", "column 8: expected a day of the week"),
            (
                "* * * * * *",
                "column 11: expected the end after five fields",
            ),
            (
                "5-1 * * * *",
                "column 3: expected the end of a range that begins with 5",
            ),
            ("5/10 * * * *", "column 2: expected a blank or a comma"),
            (
                "*/0 * * * *",
                "column 3: expected a step from 1 to 59, found \"0\"",
            ),
            (
                "1,,2 * * * *",
                "column 3: expected a minute from 0 to 59, found \",\"",
            ),
            ("1, 2 * * * *", "column 3: expected a minute"),
            ("1x * * * *", "column 1: expected a minute"),
            ("*5 * * * *", "column 2: expected a blank, a comma"),
            ("+1 * * * *", "column 1: expected a minute"),
            ("* * L * *", "column 5: expected a day of the month"),
            (
                "* * * * 5#2",
                "column 10: expected the end after five fields",
            ),
            (
                "0 0 31 feb,apr *",
                "column 17: expected a day that one of the months has",
            ),
            ("@reboot", "column 1: expected @yearly"),
            ("é * * * *", "column 1: expected a minute"),
        ] {
            let e = text.parse::<Cron>().unwrap_err().to_string();
            assert!(e.starts_with(expect), "{text:?}: {e}");
        }
        let long = "é".repeat(CRON_MAX);
        assert!(long.parse::<Cron>().unwrap_err().expected.contains("256"));
    }
}
