//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};

use crate::cli_board::{AgentCommand, AuditArgs, TaskCommand};
use crate::cli_schedule::ScheduleCommand;
use crate::cli_skill::SkillCommand;
use crate::fold::FoldArgs;

/// Where the help lists what each command takes.
const EVERYWHERE: &str = "Options of every command";

/// Watch and steer the agents that colibrid supervises.
#[derive(Debug, Parser)]
#[command(
    name = "colibri-ctl",
    version,
    about = "Watch and steer the agents that colibrid supervises",
    after_help = "Exit status: 0 done, 1 refused, failed or not reachable, 2 wrong usage.\n\
                  See colibri-ctl(8)."
)]
pub struct Cli {
    /// colibrid's public socket
    #[arg(
        short,
        long,
        global = true,
        help_heading = EVERYWHERE,
        value_name = "SOCKET",
        env = "COLIBRI_SOCKET",
        hide_env_values = true
    )]
    pub socket: Option<PathBuf>,

    /// Print JSON: one object per line
    #[arg(short, long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,

    /// Longest wait for an answer
    #[arg(
        short, long, global = true, help_heading = EVERYWHERE, value_name = "SECONDS",
        default_value_t = 15,
        value_parser = clap::value_parser!(u32).range(1..=3600)
    )]
    pub timeout: u32,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Does any agent need me? What each one is doing
    Status,
    /// Give a task to a new agent
    Run(RunArgs),
    /// List runs, newest first
    Runs(RunsArgs),
    /// Everything about one run: state, task, answer, questions, end
    Show {
        /// Number of the run
        run: u64,
    },
    /// Why a run is in its state, and what it waits for
    Explain {
        /// Number of the run
        run: u64,
    },
    /// Follow what happens, one line per event
    Tail(TailArgs),
    /// End a run and everything it started
    Stop {
        /// Number of the run
        run: u64,
        /// Wait until it is proven that nothing of it is left
        #[arg(short, long)]
        wait: bool,
    },
    /// Say something to an agent while it works
    Steer {
        /// Number of the run
        run: u64,
        /// What to say; - reads standard input
        text: String,
    },
    /// Stop the current work of an agent, but keep the agent
    Abort {
        /// Number of the run
        run: u64,
    },
    /// Answer an agent's question, or cancel it
    Answer(AnswerArgs),
    /// What is on the board
    Board,
    /// Watch runs and board live; answer, tell, stop
    Top,
    /// Take in updates of Telegram, or tasks, from a file
    Intake {
        /// JSON objects, one after the other; - is standard input
        file: String,
    },
    /// Who changed what, newest first
    Audit(AuditArgs),
    /// Tasks: work that waits for an agent that fits it
    #[command(subcommand)]
    Task(TaskCommand),
    /// Agents that take tasks
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Schedules: tasks that come by themselves
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Skills: what agents are given to know, and artifacts
    #[command(subcommand)]
    Skill(SkillCommand),
    /// The panes of all agents (clawdie.glasspane.snapshot.v1)
    Snapshot,
    /// Is colibrid healthy? One line, exit status 0 or 1
    Check {
        /// Compare the board, the monitors and the kernel's processes, too
        #[arg(short, long)]
        deep: bool,
    },
    /// Fold a recorded stream of an agent into its states, without colibrid
    Fold(FoldArgs),
    /// What this program was built from, and what it speaks
    Version,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Profile, as named in the config
    pub profile: String,
    /// Follow it and print its answer; exit status 1 if not done
    #[arg(short, long)]
    pub wait: bool,
    /// The task; - reads standard input
    pub prompt: String,
}

/// Arguments of `runs`.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// All of them
    #[arg(short, long, conflicts_with = "number")]
    pub all: bool,
    /// At most so many
    #[arg(
        short, long, value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub number: u32,
}

/// Arguments of `tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// Only this run
    pub run: Option<u64>,
    /// Begin behind the event of this number
    #[arg(short, long, value_name = "SEQ")]
    pub from: Option<u64>,
}

/// Arguments of `answer`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("reply").required(true))]
pub struct AnswerArgs {
    /// Number of the run
    pub run: u64,
    /// The question, as named by `show`
    pub request: String,
    /// yes, no, one of the options, or text; - reads standard input
    #[arg(group = "reply")]
    pub value: Option<String>,
    /// Do not answer: cancel the question
    #[arg(short, long, group = "reply")]
    pub cancel: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_table_of_commands_is_sound() {
        Cli::command().debug_assert();
    }

    /// What is wrong with the help of a command and of those below it: lines that are too long for a
    /// terminal, or two kinds of it.
    fn unhelpful(command: &clap::Command, path: &[&str]) -> Vec<String> {
        let [short, long] = ["-h", "--help"].map(|option| {
            let asked = Cli::try_parse_from(path.iter().chain([&option]));
            asked.expect_err("help").to_string()
        });
        let wide = long.lines().filter(|l| l.chars().count() > 80);
        let mut found: Vec<String> = wide.map(|l| format!("{path:?}: {l}")).collect();
        if short != long {
            found.push(format!("{path:?}: -h and --help differ"));
        }
        for below in command.get_subcommands() {
            found.extend(unhelpful(below, &[path, &[below.get_name()]].concat()));
        }
        found
    }

    #[test]
    fn help_fits_a_terminal() {
        assert_eq!(unhelpful(&Cli::command(), &["colibri-ctl"]), [""; 0]);
    }

    #[test]
    fn an_answer_is_a_value_or_a_cancellation() {
        let parse = |args: &[&str]| Cli::try_parse_from(args).is_ok();
        assert!(parse(&["x", "answer", "7", "r1", "yes"]));
        assert!(parse(&["x", "answer", "7", "r1", "--cancel"]));
        assert!(!parse(&["x", "answer", "7", "r1"]));
        assert!(!parse(&["x", "answer", "7", "r1", "yes", "--cancel"]));
        assert!(!parse(&["x", "runs", "--all", "-n", "3"]));
    }
}
