//! Times: colibrid writes them as RFC 3339 in UTC; people want to know how long ago.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Seconds since 1970 by the system's clock.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// Seconds since 1970 of `2026-11-22T11:26:35Z`, with or without a fraction, `Z` or an offset;
/// `None` for anything else.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    if b.len() < 20 || !text.is_ascii() {
        return None;
    }
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|&(at, mark)| b[at] != mark) {
        return None;
    }
    let (year, month, day) = (digits(&b[..4])?, digits(&b[5..7])?, digits(&b[8..10])?);
    let clock = digits(&b[11..13])? * 3600 + digits(&b[14..16])? * 60 + digits(&b[17..19])?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || clock > 86_400 {
        return None;
    }
    let zone = text[19..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    Some(days(year, month, day) * 86_400 + clock - offset(zone)?)
}

/// A time as colibrid takes it: RFC 3339 as it is, or `90s`, `15m`, `2h`, `1d` after `now`.
///
/// # Errors
/// What it should have been.
pub fn moment(text: &str, now: i64) -> Result<String, String> {
    if parse(text).is_some() {
        return Ok(text.to_owned());
    }
    let wrong = || "give a time as in RFC 3339, or 90s, 15m, 2h or 1d".to_owned();
    let unit = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        Some(b'd') => 86_400,
        _ => return Err(wrong()),
    };
    let n = &text.as_bytes()[..text.len() - 1];
    let seconds = match digits(n) {
        Some(n) if (1..=7).contains(&text[..text.len() - 1].len()) => n * unit,
        _ => return Err(wrong()),
    };
    Timestamp::from_second(now.saturating_add(seconds))
        .map(|t| t.to_string())
        .map_err(|_| wrong())
}

/// The clock part, `11:26:35`, of a time; blanks for a time that is not one.
#[must_use]
pub fn clock(text: &str) -> String {
    match parse(text) {
        Some(at) => {
            let s = at.rem_euclid(86_400);
            format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
        }
        None => "        ".into(),
    }
}

/// A span as its two largest units: `12s`, `3m12s`, `2h05m`, `4d07h`. A clock that differs from
/// colibrid's must not show negative ages: below zero is `0s`.
#[must_use]
pub fn span(seconds: i64) -> String {
    let s = seconds.max(0);
    match s {
        0..=59 => format!("{s}s"),
        60..=3599 => format!("{}m{:02}s", s / 60, s % 60),
        3600..=86_399 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

/// How long before `now` the time `text` was; `-` when it is not a time.
#[must_use]
pub fn age(text: &str, now: i64) -> String {
    parse(text).map_or_else(|| "-".into(), |at| span(now.saturating_sub(at)))
}

fn digits(b: &[u8]) -> Option<i64> {
    b.iter().try_fold(0i64, |n, c| {
        c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0'))
    })
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    let b = zone.as_bytes();
    match b {
        [b'Z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let ahead = digits(&[*h1, *h2])? * 3600 + digits(&[*m1, *m2])? * 60;
            Some(if *sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, with years that begin in March so
/// that the leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_colibrid_writes() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse("2000-02-29T12:00:00.123Z"), Some(951_825_600));
        assert_eq!(parse("2026-11-22T11:26:35Z"), Some(1_795_346_795));
        assert_eq!(parse("1970-01-01T01:00:00+01:00"), Some(0));
        let wrong = [
            "",
            "yesterday",
            "2026-11-22 11:26:35Z",
            "2026-13-22T11:26:35Z",
            "2026-11-22T11:26:35",
            "2026-11-22T11:26:35é",
            "2026-11-22T1x:26:35Z",
        ];
        for w in wrong {
            assert_eq!(parse(w), None, "{w}");
        }
    }

    #[test]
    fn moments_are_times_or_spans_from_now() {
        let at = |text| moment(text, 951_825_600);
        assert_eq!(at("90s"), Ok("2000-02-29T12:01:30Z".into()));
        assert_eq!(at("1d"), Ok("2000-03-01T12:00:00Z".into()));
        let exact = "2026-11-22T11:26:35Z";
        assert_eq!(at(exact), Ok(exact.into()));
        for wrong in ["", "s", "tomorrow", "-5m", "5", "99999999d", "5\u{e9}"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_show_two_units() {
        let shown: Vec<String> = [-5, 0, 59, 192, 7500, 371_000].map(span).into();
        assert_eq!(shown, ["0s", "0s", "59s", "3m12s", "2h05m", "4d07h"]);
        assert_eq!(age("1970-01-01T00:00:10Z", 22), "12s");
        assert_eq!(age("never", 22), "-");
    }

    #[test]
    fn the_clock_is_the_time_of_day() {
        assert_eq!(clock("2026-11-22T11:26:35.5Z"), "11:26:35");
        assert_eq!(clock("x"), "        ");
    }
}
