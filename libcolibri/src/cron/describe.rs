//! A cron expression in words, for people who want to see what was understood.

use super::Cron;

impl Cron {
    /// What is meant, in English: "at 09:30, monday to friday".
    #[must_use]
    pub fn describe(&self) -> String {
        let mut words = vec![self.times()];
        let number = |n: u32| n.to_string();
        let weekday = |n: u32| WEEKDAYS[n as usize].to_owned();
        let days = || {
            format!(
                "on day {} of the month",
                list(self.days.into(), 1, 31, number)
            )
        };
        let weekdays = || list(self.weekdays.into(), 0, 6, weekday);
        match (self.any_day, self.any_weekday) {
            (true, true) => {}
            (false, true) => words.push(days()),
            (true, false) => words.push(format!("on {}", weekdays())),
            (false, false) => words.push(format!("{} and on every {}", days(), weekdays())),
        }
        if self.months.count_ones() < 12 {
            let month = |n: u32| MONTHS[n as usize - 1].to_owned();
            words.push(format!("in {}", list(self.months.into(), 1, 12, month)));
        }
        words.join(", ")
    }

    fn times(&self) -> String {
        let (minutes, hours) = (self.minutes.count_ones(), self.hours.count_ones());
        let number = |n: u32| n.to_string();
        if minutes == 1 && hours <= 6 {
            let minute = self.minutes.trailing_zeros();
            let clock = |h: u32| format!("{h:02}:{minute:02}");
            // Times of day are told one by one: a range of them would be read as a span.
            let all = (0..24).filter(|h| self.hours & 1 << h != 0).map(clock);
            return format!("at {}", join(all.collect()));
        }
        let of_hour = match minutes {
            60 => "every minute".to_owned(),
            _ => match every(self.minutes, 60) {
                Some(step) => format!("every {step} minutes"),
                None => format!("at minute {}", list(self.minutes, 0, 59, number)),
            },
        };
        match hours {
            24 if minutes == 60 => of_hour,
            24 => format!("{of_hour} of every hour"),
            _ => format!(
                "{of_hour} of hour {}",
                list(self.hours.into(), 0, 23, number)
            ),
        }
    }
}

/// The step of a set that is 0, step, 2 step … and nothing else.
fn every(bits: u64, size: u32) -> Option<u32> {
    let step = (bits & !1).trailing_zeros();
    let whole = (0..size).step_by(step.max(1) as usize);
    let same = whole.fold(0u64, |b, n| b | 1 << n) == bits;
    (same && step > 1 && size.is_multiple_of(step)).then_some(step)
}

/// The members of a set, runs of three and more as ranges.
fn list(bits: u64, first: u32, last: u32, word: impl Fn(u32) -> String) -> String {
    let has = |n: u32| n <= last && bits & 1 << n != 0;
    let mut parts = Vec::new();
    let mut n = first;
    while n <= last {
        if !has(n) {
            n += 1;
            continue;
        }
        let mut end = n;
        while has(end + 1) {
            end += 1;
        }
        match end - n {
            0 => parts.push(word(n)),
            1 => parts.extend([word(n), word(end)]),
            _ => parts.push(format!("{} to {}", word(n), word(end))),
        }
        n = end + 1;
    }
    join(parts)
}

fn join(mut parts: Vec<String>) -> String {
    match parts.pop() {
        None => String::new(),
        Some(last) if parts.is_empty() => last,
        Some(last) => format!("{} and {last}", parts.join(", ")),
    }
}

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_meant() {
        for (text, words) in [
            ("* * * * *", "every minute"),
            ("*/15 * * * *", "every 15 minutes of every hour"),
            (
                "*/7 * * * *",
                "at minute 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour",
            ),
            ("0 * * * *", "at minute 0 of every hour"),
            ("30 9 * * mon-fri", "at 09:30, on Monday to Friday"),
            ("0 0,12 1 * *", "at 00:00 and 12:00, on day 1 of the month"),
            (
                "0 0 13 * fri",
                "at 00:00, on day 13 of the month and on every Friday",
            ),
            (
                "*/5 9-17 * jun,jul *",
                "every 5 minutes of hour 9 to 17, in June and July",
            ),
            ("@yearly", "at 00:00, on day 1 of the month, in January"),
        ] {
            assert_eq!(text.parse::<Cron>().unwrap().describe(), words, "{text}");
        }
    }
}
