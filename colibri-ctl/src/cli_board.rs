//! The command line of tasks and agents.

use clap::{Args, Subcommand};
use libcolibri::budget::Budget;

use crate::time::{moment, now};

/// What to do with tasks.
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// Put a task on the board
    Add(Box<AddArgs>),
    /// List tasks, newest first
    List(ListArgs),
    /// Everything about one task: what came of it, its history
    Show {
        /// Number of the task
        task: u64,
    },
    /// Why does it wait?
    Explain {
        /// Number of the task
        task: u64,
    },
    /// End a task, and the run that works on it
    Cancel {
        /// Number of the task
        task: u64,
        /// Why
        #[arg(short, long, default_value = "")]
        reason: String,
    },
    /// Queue a task again that has failed, was cancelled or waits for a time
    Retry {
        /// Number of the task
        task: u64,
    },
}

/// Arguments of `task add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// What it is called; the agent is given it first
    pub title: String,
    /// What is to be done; - reads standard input
    pub description: Option<String>,
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
    /// A task that has to be done before; may be repeated
    #[arg(long, value_name = "TASK")]
    pub after: Vec<u64>,
    /// Not earlier: RFC 3339, or 90s, 15m, 2h, 1d from now
    #[arg(long, value_name = "TIME", value_parser = |s: &str| moment(s, now()))]
    pub not_before: Option<String>,
    /// To be finished by this time
    #[arg(long, value_name = "TIME", value_parser = |s: &str| moment(s, now()))]
    pub deadline: Option<String>,
    /// How often it is tried
    #[arg(long, value_name = "N")]
    pub attempts: Option<u32>,
    /// Try it again after this failure; may be repeated
    #[arg(long, value_name = "CLASS")]
    pub retry_on: Option<Vec<String>>,
    /// A skill that its agent is given; may be repeated
    #[arg(long = "skill", value_name = "NAME")]
    pub skills: Vec<String>,
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// Your own name for it: one key, one task
    #[arg(short, long)]
    pub key: Option<String>,
    /// Follow it, print its result; exit 1 if not done
    #[arg(short, long)]
    pub wait: bool,
}

/// What a task may cost.
#[derive(Debug, Args)]
pub struct BudgetArgs {
    /// It fails when its attempts have cost so many dollars
    #[arg(long, value_name = "USD")]
    pub budget_usd: Option<f64>,
    /// The same for tokens
    #[arg(long, value_name = "N")]
    pub budget_tokens: Option<u64>,
}

impl BudgetArgs {
    /// The budget, if one was given.
    #[must_use]
    pub fn budget(&self) -> Option<Budget> {
        let given = self.budget_usd.is_some() || self.budget_tokens.is_some();
        given.then(|| Budget::new(self.budget_usd, self.budget_tokens))
    }
}

/// Arguments of `task list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// waiting, queued, claimed, started, done, failed or cancelled
    pub status: Option<String>,
    /// Only those that this agent has or had last
    #[arg(short, long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Only those that require this
    #[arg(short, long, value_name = "WORD")]
    pub capability: Option<String>,
    /// At most so many
    #[arg(
        short, long, value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub number: u32,
    /// Only tasks older than this one
    #[arg(short, long, value_name = "TASK")]
    pub before: Option<u64>,
}

/// What to do with agents.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// The agents, what they do and what they have done
    List,
    /// One agent
    Show {
        /// Its name
        agent: String,
    },
    /// Give an agent no more tasks
    Pause {
        /// Its name
        agent: String,
    },
    /// Give it tasks again
    Resume {
        /// Its name
        agent: String,
    },
    /// Add an agent; it stays until it is removed
    Add(AgentAddArgs),
    /// Remove an agent that was added, and has no task
    Rm {
        /// Its name
        agent: String,
    },
}

/// Arguments of `agent add`.
#[derive(Debug, Args)]
pub struct AgentAddArgs {
    /// Its name
    pub agent: String,
    /// What it can do; may be repeated
    #[arg(short, long = "capability", value_name = "WORD")]
    pub capabilities: Vec<String>,
    /// Its profile; by default the one of its name
    #[arg(short, long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Or a user as whom it claims tasks; may be repeated
    #[arg(short, long = "user", value_name = "USER", conflicts_with = "profile")]
    pub users: Vec<String>,
    /// Tasks that it has at once
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub runs: u32,
    /// When it takes tasks, in UTC, such as 22:00-06:00
    #[arg(long, value_name = "SPAN")]
    pub hours: Option<String>,
    /// A skill for all its tasks; may be repeated
    #[arg(long = "skill", value_name = "NAME")]
    pub skills: Vec<String>,
    /// The users as numbers: looked up before the program is confined.
    #[arg(skip)]
    pub uids: Vec<u32>,
}

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only of this user
    #[arg(short, long)]
    pub uid: Option<u32>,
    /// Only of this command, such as cancel-task
    #[arg(short, long)]
    pub command: Option<String>,
    /// At most so many
    #[arg(
        short, long, value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub number: u32,
}
