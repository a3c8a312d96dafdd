//! The command line of schedules.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use libcolibri::schedule::{CatchUp, Overlap};

use crate::cli_board::BudgetArgs;
use crate::time::{moment, now};

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Add a schedule; says how it was understood and when it comes
    Add(Box<AddArgs>),
    /// List schedules, declared and added ones
    List,
    /// Everything about one schedule, and when it comes next
    Show {
        /// Its name
        schedule: String,
    },
    /// When does it come next? Also of an expression alone
    Next(NextArgs),
    /// What would run in a span of time, without running it
    Preview(PreviewArgs),
    /// Let nothing come of it until it is resumed
    Pause {
        /// Its name
        schedule: String,
        /// Why
        #[arg(short, long, default_value = "")]
        reason: String,
    },
    /// Let it go on; failures are counted anew
    Resume {
        /// Its name
        schedule: String,
    },
    /// Make its task now, outside of the calendar
    Run {
        /// Its name
        schedule: String,
    },
    /// Remove a schedule; its history stays
    Rm {
        /// Its name
        schedule: String,
    },
    /// What became of its occurrences, newest first
    History {
        /// Its name
        schedule: String,
        /// At most so many
        #[arg(
            short, long, value_name = "N", default_value_t = 20,
            value_parser = clap::value_parser!(u32).range(1..=1000)
        )]
        number: u32,
    },
}

/// Arguments of `schedule add`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("when").required(true),
    override_usage = "colibri-ctl schedule add [OPTIONS] --cron|--every|--at <WHEN>\n       \
                      <NAME> <TITLE> [PROMPT]"
)]
pub struct AddArgs {
    /// Its name
    pub name: String,
    /// Title of its tasks; {planned} stands for the planned time
    pub title: String,
    /// What is to be done; - reads standard input
    pub prompt: Option<String>,
    /// Minute hour day month weekday, or @daily and such
    #[arg(long, value_name = "EXPRESSION", group = "when")]
    pub cron: Option<String>,
    /// An interval: 90s, 15m, 2h, 1d
    #[arg(long, value_name = "SPAN", group = "when", value_parser = seconds)]
    pub every: Option<u64>,
    /// Once: RFC 3339, or 90s, 15m, 2h, 1d from now
    #[arg(long, value_name = "TIME", group = "when", value_parser = |s: &str| moment(s, now()))]
    pub at: Option<String>,
    /// Time zone of the expression
    #[arg(short, long, value_name = "ZONE", default_value = "UTC")]
    pub zone: String,
    /// The interval begins when the one before has ended
    #[arg(long, requires = "every")]
    pub from_end: bool,
    /// Nothing before this time
    #[arg(long, value_name = "TIME", value_parser = |s: &str| moment(s, now()))]
    pub start: Option<String>,
    /// Nothing after this time
    #[arg(long, value_name = "TIME", value_parser = |s: &str| moment(s, now()))]
    pub end: Option<String>,
    /// skip, latest or all that was missed
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        default_value = "latest",
        hide_possible_values = true
    )]
    pub catch_up: CatchUpWord,
    /// At most so many with --catch-up all
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub catch_up_max: u32,
    /// How late one may be at most
    #[arg(long, value_name = "SPAN", value_parser = seconds)]
    pub late: Option<u64>,
    /// skip, queue, replace or allow
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        default_value = "skip",
        hide_possible_values = true
    )]
    pub overlap: OverlapWord,
    /// Tasks are spread over so long
    #[arg(long, value_name = "SPAN", default_value = "0s", value_parser = seconds)]
    pub jitter: u64,
    /// Pause it after so many failures in a row
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub pause_after: u32,
    /// What an agent should be able to do; may be repeated
    #[arg(short, long = "capability", value_name = "WORD")]
    pub capabilities: Vec<String>,
    /// The one agent that may do it
    #[arg(short, long, value_name = "NAME")]
    pub agent: Option<String>,
    /// -1000 to 1000; higher goes first
    #[arg(
        short,
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pub priority: i32,
    /// A skill that its agent is given; may be repeated
    #[arg(long = "skill", value_name = "NAME")]
    pub skills: Vec<String>,
    #[command(flatten)]
    pub budget: BudgetArgs,
}

/// Arguments of `schedule next`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub struct NextArgs {
    /// Its name
    #[arg(group = "what")]
    pub schedule: Option<String>,
    /// Of this expression instead
    #[arg(long, value_name = "EXPRESSION", group = "what")]
    pub cron: Option<String>,
    /// Time zone of the expression
    #[arg(short, long, value_name = "ZONE", requires = "cron")]
    pub zone: Option<String>,
    /// So many times
    #[arg(
        short, long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub number: u32,
}

/// Arguments of `schedule preview`.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// Only these
    pub schedules: Vec<String>,
    /// From this time on; default: now
    #[arg(long, value_name = "TIME", value_parser = |s: &str| moment(s, now()))]
    pub from: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = |s: &str| moment(s, now()))]
    pub to: String,
}

/// The words of `--catch-up`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum CatchUpWord {
    Skip,
    Latest,
    All,
}

impl From<CatchUpWord> for CatchUp {
    fn from(word: CatchUpWord) -> CatchUp {
        match word {
            CatchUpWord::Skip => CatchUp::Skip,
            CatchUpWord::Latest => CatchUp::Latest,
            CatchUpWord::All => CatchUp::All,
        }
    }
}

/// The words of `--overlap`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OverlapWord {
    Skip,
    Queue,
    Replace,
    Allow,
}

impl From<OverlapWord> for Overlap {
    fn from(word: OverlapWord) -> Overlap {
        match word {
            OverlapWord::Skip => Overlap::Skip,
            OverlapWord::Queue => Overlap::Queue,
            OverlapWord::Replace => Overlap::Replace,
            OverlapWord::Allow => Overlap::Allow,
        }
    }
}

/// `90s`, `15m`, `2h`, `1d` in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "must be a number with s, m, h or d, such as 15m".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let size = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(size).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_a_unit() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("2d"), Ok(172_800));
        for text in ["", "5", "m", "-1s", "1y", "99999999999999999d", "1é"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
