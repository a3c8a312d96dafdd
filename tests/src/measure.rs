//! What the benchmarks share: the clock, medians, the conditions of a run, aligned tables.

use nix::time::{clock_gettime, ClockId};
use std::process::Command;

/// Nanoseconds of the monotonic clock, which all processes of a machine share.
///
/// # Panics
/// When the system has none.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a monotonic clock");
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    part(now.tv_sec()) * 1_000_000_000 + part(now.tv_nsec())
}

/// Measured values of one kind.
#[derive(Debug, Clone, Default)]
pub struct Values {
    all: Vec<f64>,
}

impl Values {
    /// Adds one.
    pub fn push(&mut self, value: f64) {
        self.all.push(value);
    }

    /// Adds the time since `from_ns` of [`monotonic_ns`], in milliseconds.
    pub fn since(&mut self, from_ns: u64) {
        self.between(from_ns, monotonic_ns());
    }

    /// Adds the time from one to the other stamp of [`monotonic_ns`], in milliseconds.
    pub fn between(&mut self, from_ns: u64, to_ns: u64) {
        self.push(to_ns.saturating_sub(from_ns) as f64 / 1e6);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The value below which the share `q` (0 to 1) of all lies, by nearest rank.
    ///
    /// # Panics
    /// When there is no value.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.all.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted[rank.clamp(1, sorted.len()) - 1]
    }

    /// The middle one.
    ///
    /// # Panics
    /// When there is no value.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Median, p99 and the number of values, for a table; `unit` follows each number.
    ///
    /// # Panics
    /// When there is no value.
    #[must_use]
    pub fn cells(&self, unit: &str) -> Vec<String> {
        vec![
            format!("{:.3} {unit}", self.median()),
            format!("{:.3} {unit}", self.quantile(0.99)),
            self.count().to_string(),
        ]
    }
}

/// How this program was built, for the conditions of a measurement.
const BUILD: &str = if cfg!(debug_assertions) {
    "debug, which says nothing about speed"
} else {
    "release"
};

/// What the figures depend on, in one line each: machine, load, build.
#[must_use]
pub fn conditions() -> String {
    let run = |program: &str, args: &[&str]| {
        let out = Command::new(program).args(args).output();
        out.map_or_else(
            |_| format!("{program} is missing"),
            |o| String::from_utf8_lossy(&o.stdout).trim().to_owned(),
        )
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let uptime = run("uptime", &[]);
    let load = uptime.split("average").nth(1).unwrap_or(&uptime);
    let user = if crate::suite::is_root() {
        "root, users separated"
    } else {
        "an ordinary user"
    };
    format!(
        "system  {}, {cores} cores, {}\nload    {}\nbuild   {BUILD}; run as {user}",
        run("uname", &["-srm"]),
        cpu(),
        load.trim_start_matches(['s', ':', ' ']),
    )
}

/// The processor's name where the system tells it in a file.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find(|l| l.starts_with("model name"));
    let name = name.and_then(|l| l.split_once(':')).map(|(_, n)| n.trim());
    name.unwrap_or("processor unknown").to_owned()
}

/// Rows in aligned columns, the first one flush left, the others flush right.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|r| r.get(at));
        cells.map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (at, cell) in row.iter().enumerate() {
            let width = widths[at];
            if at == 0 {
                line.push_str(&format!("{cell:<width$}"));
            } else {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A row of a table from anything that can be shown.
#[must_use]
pub fn row<S: Into<String>>(cells: impl IntoIterator<Item = S>) -> Vec<String> {
    cells.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let mut v = Values::default();
        for n in (1..=100).rev() {
            v.push(f64::from(n));
        }
        assert_eq!(v.median(), 50.0);
        assert_eq!(v.quantile(0.99), 99.0);
        assert_eq!(v.quantile(1.0), 100.0);
        assert_eq!(v.cells("ms"), ["50.000 ms", "99.000 ms", "100"]);
    }

    #[test]
    fn columns_line_up() {
        let rows = [row(["a", "1.0"]), row(["long", "10.0"])];
        assert_eq!(table(&rows), "  a      1.0\n  long  10.0\n");
    }
}
