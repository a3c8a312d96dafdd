//! The hours in which an agent takes tasks.

use std::fmt;
use std::str::FromStr;

/// Milliseconds of a minute and of a day.
const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;

/// From one minute of the day up to another, in UTC; over midnight if the second is not later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    from: u64,
    to: u64,
}

impl Hours {
    /// Whether a time, in milliseconds since 1970, lies within.
    #[must_use]
    pub fn hold(self, at_ms: u64) -> bool {
        let minute = at_ms % DAY / MINUTE;
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }

    /// The next time that they begin, after a time that lies outside; both in milliseconds since
    /// 1970.
    #[must_use]
    pub fn begin_after(self, at_ms: u64) -> u64 {
        let today = at_ms - at_ms % DAY + self.from * MINUTE;
        if today > at_ms {
            today
        } else {
            today + DAY
        }
    }
}

impl FromStr for Hours {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Hours, &'static str> {
        let minute = |s: &str| {
            let (h, m) = s.split_once(':')?;
            let two = |n: &str| n.len() == 2 && n.bytes().all(|b| b.is_ascii_digit());
            let (h, m): (u64, u64) = match (two(h) && two(m)).then(|| (h.parse(), m.parse()))? {
                (Ok(h), Ok(m)) => (h, m),
                _ => return None,
            };
            (h < 24 && m < 60).then_some(h * 60 + m)
        };
        let parts = s.split_once('-');
        match parts.and_then(|(from, to)| minute(from).zip(minute(to))) {
            Some((from, to)) => Ok(Hours { from, to }),
            None => Err("must be two times of the day in UTC, such as 08:00-18:00"),
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from, self.to);
        write!(
            f,
            "{:02}:{:02} to {:02}:{:02} UTC",
            from / 60,
            from % 60,
            to / 60,
            to % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 00:00 UTC.
    const MIDNIGHT: u64 = 1_795_305_600_000;

    fn at(hour: u64, minute: u64) -> u64 {
        MIDNIGHT + (hour * 60 + minute) * MINUTE
    }

    #[test]
    fn a_day_has_an_inside_and_an_outside() {
        assert_eq!(MIDNIGHT % DAY, 0);
        let day: Hours = "08:00-18:30".parse().unwrap();
        assert!(day.hold(at(8, 0)) && day.hold(at(18, 29)));
        assert!(!day.hold(at(7, 59)) && !day.hold(at(18, 30)));
        assert_eq!(day.begin_after(at(7, 59)), at(8, 0));
        assert_eq!(day.begin_after(at(18, 30)), at(32, 0));
        assert_eq!(day.to_string(), "08:00 to 18:30 UTC");
    }

    #[test]
    fn a_night_goes_over_midnight_and_a_whole_day_has_no_outside() {
        let night: Hours = "22:00-06:00".parse().unwrap();
        assert!(night.hold(at(23, 0)) && night.hold(at(0, 0)) && night.hold(at(5, 59)));
        assert!(!night.hold(at(6, 0)) && !night.hold(at(21, 59)));
        assert_eq!(night.begin_after(at(6, 0)), at(22, 0));
        let always: Hours = "00:00-00:00".parse().unwrap();
        assert!((0..24).all(|h| always.hold(at(h, 30))));
    }

    #[test]
    fn wherever_it_begins_it_holds() {
        for text in ["08:00-18:00", "22:00-06:00", "23:59-00:00"] {
            let hours: Hours = text.parse().unwrap();
            for minute in (0..24 * 60).filter(|m| !hours.hold(at(0, *m))) {
                let begins = hours.begin_after(at(0, minute));
                assert!(begins > at(0, minute) && begins <= at(24, minute), "{text}");
                assert!(
                    hours.hold(begins) && !hours.hold(begins - 1),
                    "{text} {minute}"
                );
            }
        }
    }

    #[test]
    fn other_texts_are_no_hours() {
        for text in [
            "",
            "8-18",
            "08:00",
            "08:00-24:00",
            "08:60-09:00",
            "+8:00-09:00",
            "08:00 - 09:00",
        ] {
            assert!(text.parse::<Hours>().is_err(), "{text}");
        }
    }
}
