//! Cron expressions: five fields, compiled into sets of bits of a fixed size. The text is read
//! where it is given; what crosses a channel is the sets. colibri.conf(5) has the syntax.

mod describe;
mod parse;

use std::fmt;

use crate::wire::{Reader, WireError, Writer};

/// Longest expression, in bytes.
pub const CRON_MAX: usize = 256;

/// Which wall times are meant: every minute whose minute, hour and month are in their sets, on a
/// day that [`Cron::has_day`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    /// Bit n: minute n.
    pub minutes: u64,
    /// Bit n: hour n.
    pub hours: u32,
    /// Bit n: day n of the month, from 1.
    pub days: u32,
    /// Bit n: month n, from 1.
    pub months: u16,
    /// Bit n: weekday n, from 0 = Sunday.
    pub weekdays: u8,
    /// The day of the month is `*`.
    pub any_day: bool,
    /// The day of the week is `*`.
    pub any_weekday: bool,
}

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronError {
    /// The column, in characters from 1; one past the end if something is missing.
    pub column: usize,
    /// What was expected there.
    pub expected: String,
    /// What was found; empty at the end.
    pub found: String,
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: expected {}", self.column, self.expected)?;
        match self.found.as_str() {
            "" => write!(f, ", found the end"),
            found => write!(f, ", found {found:?}"),
        }
    }
}

impl std::error::Error for CronError {}

const MINUTES: u64 = (1 << 60) - 1;
const HOURS: u32 = (1 << 24) - 1;
const DAYS: u32 = 0xffff_fffe;
const MONTHS: u16 = 0x1ffe;
const WEEKDAYS: u8 = 0x7f;

impl Cron {
    /// Whether the day is meant: the standard's rule is that of two restricted day fields either
    /// is enough, and that `*` leaves the choice to the other.
    #[must_use]
    pub fn has_day(&self, day: u8, weekday: u8) -> bool {
        let by_day = self.days & 1 << day != 0;
        let by_weekday = self.weekdays & 1 << weekday != 0;
        match (self.any_day, self.any_weekday) {
            (true, true) => true,
            (true, false) => by_weekday,
            (false, true) => by_day,
            (false, false) => by_day || by_weekday,
        }
    }

    /// Whether some wall time is meant, and no bit lies outside of its field.
    fn is_sound(&self) -> bool {
        let filled = self.minutes != 0 && self.hours != 0 && self.days != 0;
        let inside = self.minutes & !MINUTES == 0
            && self.hours & !HOURS == 0
            && self.days & !DAYS == 0
            && self.months & !MONTHS == 0
            && self.weekdays & !WEEKDAYS == 0;
        filled && inside && self.months != 0 && self.weekdays != 0 && self.has_date()
    }

    /// Whether there is a day at all: 30 February is none.
    fn has_date(&self) -> bool {
        if self.any_day || !self.any_weekday {
            return true;
        }
        let longest = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let first = self.days.trailing_zeros();
        let fits =
            |(at, length): (usize, &u32)| self.months & 1 << (at + 1) != 0 && first <= *length;
        longest.iter().enumerate().any(fits)
    }

    pub(crate) fn put(&self, w: &mut Writer<'_>) {
        w.u64(self.minutes);
        w.u32(self.hours);
        w.u32(self.days);
        w.u32(self.months.into());
        w.u8(self.weekdays);
        w.u8(u8::from(self.any_day) | u8::from(self.any_weekday) << 1);
    }

    pub(crate) fn get(r: &mut Reader<'_>) -> Result<Cron, WireError> {
        let bad = WireError::Value("cron");
        let mut cron = Cron {
            minutes: r.u64()?,
            hours: r.u32()?,
            days: r.u32()?,
            months: u16::try_from(r.u32()?).map_err(|_| bad.clone())?,
            weekdays: r.u8()?,
            any_day: false,
            any_weekday: false,
        };
        let stars = r.u8()?;
        (cron.any_day, cron.any_weekday) = (stars & 1 != 0, stars & 2 != 0);
        if stars > 3 || !cron.is_sound() {
            return Err(bad);
        }
        Ok(cron)
    }
}
